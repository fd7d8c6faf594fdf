// The body of the GPU kernels, run thread by thread on the CPU: for machines without a GPU. See test_gpu_body.py.
#include <algorithm>

#include "shift_body.h"

namespace visagent::gpu {
template <> struct Number<double> {
  static double load(const double* from) { return *from; }
  static void store(double* to, double value) { *to = value; }
};
}  // namespace visagent::gpu

using namespace visagent::gpu;

namespace {

struct Problem {
  int64_t batch, channels;
  int in[3], out[3], stride[3], padding[3];
  bool quantize, away;
  int64_t plane() const { return static_cast<int64_t>(in[1]) * in[2]; }
  int64_t out_plane() const { return static_cast<int64_t>(out[1]) * out[2]; }
};

Problem problem(const int64_t* sizes, const int64_t* stride, const int64_t* padding, int quantize, int away) {
  Problem p{sizes[0], sizes[2], {}, {}, {}, {}, quantize != 0, away != 0};
  const int64_t lengths[3] = {sizes[1], sizes[3], sizes[4]};
  for (int d = 0; d < 3; ++d) {
    p.in[d] = static_cast<int>(lengths[d]), p.stride[d] = static_cast<int>(stride[d]), p.padding[d] = static_cast<int>(padding[d]);
    p.out[d] = (p.in[d] + 2 * p.padding[d] - 1) / p.stride[d] + 1;
  }
  return p;
}

void axes(const Problem& p, const double* shift, int64_t c, Axis<double>* all) {
  for (int d = 0; d < 3; ++d) all[d] = axis<double>(shift[d * p.channels + c], p.in[d], p.out[d], p.stride[d], p.padding[d], p.quantize, p.away);
}

template <bool kAdjoint, int kPixels>
void resample_all(const Problem& p, const double* in, const double* shift, double* out) {
  const int64_t from_plane = kAdjoint ? p.out_plane() : p.plane(), to_plane = kAdjoint ? p.plane() : p.out_plane();
  const int64_t from_frames = kAdjoint ? p.out[0] : p.in[0], to_frames = kAdjoint ? p.in[0] : p.out[0];
  const int rows = kAdjoint ? p.in[1] : p.out[1], columns = kAdjoint ? p.in[2] : p.out[2];
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t c = 0; c < p.channels; ++c) {
      Axis<double> all[3];
      axes(p, shift, c, all);
      for (int h = 0; h < rows; ++h)
        for (int w = 0; w < columns; w += kPixels)
          resample<double, double, kAdjoint, kPixels>(in + (n * from_frames * p.channels + c) * from_plane, p.channels * from_plane,
                                                      out + (n * to_frames * p.channels + c) * to_plane, p.channels * to_plane, all[0], all[1], all[2], h,
                                                      w, std::min(kPixels, columns - w));
    }
}

template <int kPixels>
void differentiate_all(const Problem& p, const double* grad, const double* x, const double* shift, double* by_x, double* by_shift) {
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t c = 0; c < p.channels; ++c) {
      Axis<double> all[3];
      axes(p, shift, c, all);
      const int64_t first = (n * p.in[0] * p.channels + c) * p.plane();
      const double* upstream = grad + (n * p.out[0] * p.channels + c) * p.out_plane();
      double sums[3] = {0, 0, 0};
      for (int h = 0; h < p.out[1]; ++h)
        for (int w = 0; w < p.out[2]; w += kPixels) {
          double* to = by_x == nullptr ? nullptr : by_x + first;
          const int pixels = std::min(kPixels, p.out[2] - w);
          const int64_t g_step = p.channels * p.out_plane(), x_step = p.channels * p.plane();
          if (all[0].count == 2) {
            differentiate<double, double, kPixels, 2>(upstream, g_step, x + first, x_step, to, all[0], all[1], all[2], h, w, pixels, sums);
          } else {
            differentiate<double, double, kPixels, 3>(upstream, g_step, x + first, x_step, to, all[0], all[1], all[2], h, w, pixels, sums);
          }
        }
      for (int d = 0; d < 3; ++d) by_shift[d * p.channels + c] += sums[d];
    }
}

}  // namespace

extern "C" {

void forward(const int64_t* sizes, const int64_t* stride, const int64_t* padding, int quantize, int away, int pixels, const double* x, const double* shift,
             double* out) {
  const Problem p = problem(sizes, stride, padding, quantize, away);
  switch (pixels) {
    case 1: return resample_all<false, 1>(p, x, shift, out);
    case 2: return resample_all<false, 2>(p, x, shift, out);
    default: return resample_all<false, 4>(p, x, shift, out);
  }
}

void backward(const int64_t* sizes, const int64_t* stride, const int64_t* padding, int quantize, int away, int pixels, int fused, const double* grad,
              const double* x, const double* shift, double* by_x, double* by_shift) {
  const Problem p = problem(sizes, stride, padding, quantize, away);
  double* to = fused ? by_x : nullptr;
  switch (pixels) {
    case 1: differentiate_all<1>(p, grad, x, shift, to, by_shift); break;
    case 2: differentiate_all<2>(p, grad, x, shift, to, by_shift); break;
    default: differentiate_all<4>(p, grad, x, shift, to, by_shift);
  }
  if (fused) return;
  switch (pixels) {
    case 1: return resample_all<true, 1>(p, grad, shift, by_x);
    case 2: return resample_all<true, 2>(p, grad, shift, by_x);
    default: return resample_all<true, 4>(p, grad, shift, by_x);
  }
}
}

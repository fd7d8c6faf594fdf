// The body of the GPU kernels, run thread by thread on the CPU: for machines without a GPU. See test_gpu_body.py.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

// What a GPU would stop at.
int misaligned = 0;
#define VISAGENT_ALIGNED(address, bytes) misaligned += reinterpret_cast<uintptr_t>(address) % (bytes) != 0

#include "shift_tile.h"

namespace visagent::gpu {
template <> struct Number<double> {
  static double load(const double* from) { return *from; }
  static void store(double* to, double value) { *to = value; }
};
template <> struct Number<float> {
  static float load(const float* from) { return *from; }
  static void store(float* to, float value) { *to = value; }
};
struct BFloat16 {
  uint16_t bits;
};
template <> struct Number<BFloat16> {
  static float load(const BFloat16* from) { return std::bit_cast<float>(static_cast<uint32_t>(from->bits) << 16); }
  static void store(BFloat16* to, float value) {  // ties to even, as the hardware
    const uint32_t all = std::bit_cast<uint32_t>(value);
    to->bits = static_cast<uint16_t>(std::isnan(value) ? 0x7fc0 : (all + 0x7fff + (all >> 16 & 1)) >> 16);
  }
  static void split(uint32_t word, float* first, float* second) {
    *first = std::bit_cast<float>(word << 16), *second = std::bit_cast<float>(word & 0xffff0000u);
  }
  static uint32_t join(float first, float second) {
    BFloat16 both[2];
    store(both, first), store(both + 1, second);
    return std::bit_cast<uint32_t>(both);
  }
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

// What a block of the tiled kernels has in shared memory: several stages, here full of what must not be read.
template <class S>
struct Stages {
  static constexpr int kCount = 2;
  std::vector<S> values;
  int each;
  explicit Stages(const Tiling& tiling) : values(kCount * tiling.stage + kVector<S>), each(tiling.stage) {}
  S* operator[](int step) {
    const uintptr_t start = (reinterpret_cast<uintptr_t>(values.data()) + 15) / 16 * 16;
    return reinterpret_cast<S*>(start) + (step % kCount) * each;
  }
  void poison(int step) {
    for (int i = 0; i < each; ++i) Number<S>::store((*this)[step] + i, NAN);
  }
};

template <class S, class A, class Body>
void run_block(const Shape& p, const Tiling& tiling, const A* shift, std::vector<Body>& threads, int first_channel) {
  std::vector<Visit> visits;
  for (int g = 0; g < threads[0].channels; ++g) visits.push_back(Body::visit(p, shift, first_channel + g));
  Stages<S> stages(tiling);
  const auto bring = [&](int step) {
    stages.poison(step);
    for (int i = 0; i < tiling.threads; ++i) threads[i].clear(tiling, stages[step], i);
    for (const Body& thread : threads) thread.bring(tiling, stages[step], visits.data(), step);
  };
  bring(0);
  for (int step = 0; step < threads[0].steps; ++step) {
    if (step + 1 < threads[0].steps) bring(step + 1);
    for (Body& thread : threads) thread.look(stages[step], visits.data(), step);
  }
}

Shape shape(const Problem& p) {
  Shape all{static_cast<int>(p.batch), p.in[0], static_cast<int>(p.channels), p.in[1], p.in[2], p.out[0], p.out[1], p.out[2], {}, {}, p.quantize, p.away};
  for (int d = 0; d < 3; ++d) all.stride[d] = p.stride[d], all.padding[d] = p.padding[d];
  return all;
}

template <class S>
bool is_aligned(const Problem& p, const S* tensor) {
  return reinterpret_cast<uintptr_t>(tensor) % 16 == 0 && p.channels * p.plane() % kVector<S> == 0 && p.channels * p.out_plane() % kVector<S> == 0;
}

// How frames were divided: whole (1) or not (2), plus ten times the columns of a thread; -1 where an address was not aligned as it must be.
int report(const Tiling& tiling) {
  const int wrong = misaligned;
  misaligned = 0;
  return wrong > 0 ? -1 : (tiling.whole ? 1 : 2) + 10 * tiling.wide;
}

template <class S, class A, bool kAdjoint, bool kUnit>
int resample_tiled(const Problem& p, const S* in, const A* shift, S* out, int64_t bytes) {
  const Shape s = shape(p);
  const bool aligned = is_aligned(p, in);
  Tiling tiling;
  if (!divide_resampling<S>(s, kAdjoint, Stages<S>::kCount, bytes, aligned, &tiling)) return 0;
  with_width<S, kUnit>(tiling, [&]<int kWide, int kTall>() {
    for (int group = 0; group < s.batch * tiling.groups; ++group)
      for (int chunk = 0; chunk < tiling.chunks; ++chunk) {
        std::vector<Resampling<S, A, kAdjoint, kUnit, kWide, kTall>> threads;
        for (int thread = 0; thread < tiling.threads; ++thread) threads.emplace_back(in, shift, out, s, tiling, group, chunk, thread);
        run_block<S>(s, tiling, shift, threads, group % tiling.groups * tiling.channels);
      }
  });
  return report(tiling);
}

template <class S, class A, bool kUnit>
int differentiate_tiled(const Problem& p, const S* grad, const S* x, const A* shift, double* by_shift, int64_t bytes) {
  const Shape s = shape(p);
  const bool aligned = is_aligned(p, grad) && is_aligned(p, x);
  Tiling tiling;
  if (!divide_differentiation<S>(s, Stages<S>::kCount, bytes, aligned, &tiling)) return 0;
  with_width<S, kUnit>(tiling, [&]<int kWide, int kTall>() {
    for (int group = 0; group < s.batch * tiling.groups; ++group)
      for (int chunk = 0; chunk < tiling.chunks; ++chunk) {
        std::vector<Differentiation<S, A, kUnit, kWide, kTall>> threads;
        for (int thread = 0; thread < tiling.threads; ++thread) threads.emplace_back(grad, x, shift, s, tiling, group, chunk, thread);
        run_block<S>(s, tiling, shift, threads, group % tiling.groups * tiling.channels);
        for (const auto& thread : threads)
          for (int d = 0; d < 3 && thread.rows > 0; ++d) by_shift[d * p.channels + thread.first_channel + thread.channel] += thread.sums[d];
      }
  });
  return report(tiling);
}

template <class S, class A>
int forward_tiled(const Problem& p, const void* x, const void* shift, void* out, int64_t bytes) {
  const S* in = static_cast<const S*>(x);
  const A* moves = static_cast<const A*>(shift);
  if (p.stride[1] == 1) return resample_tiled<S, A, false, true>(p, in, moves, static_cast<S*>(out), bytes);
  return resample_tiled<S, A, false, false>(p, in, moves, static_cast<S*>(out), bytes);
}

}  // namespace

extern "C" {

// In rooms of so many bytes; `type`: 0 double, 1 float, 2 bfloat16. Returns 0 where it does not fit, else what `report` says.
int tiled_forward(const int64_t* sizes, const int64_t* stride, const int64_t* padding, int quantize, int away, int type, int64_t bytes, const void* x,
                  const void* shift, void* out) {
  const Problem p = problem(sizes, stride, padding, quantize, away);
  switch (type) {
    case 0: return forward_tiled<double, double>(p, x, shift, out, bytes);
    case 1: return forward_tiled<float, float>(p, x, shift, out, bytes);
    default: return forward_tiled<BFloat16, float>(p, x, shift, out, bytes);
  }
}

// The gradient by x alone.
int tiled_adjoint(const int64_t* sizes, const int64_t* stride, const int64_t* padding, int quantize, int away, int type, int64_t bytes, const void* grad,
                  const void* shift, void* by_x) {
  const Problem p = problem(sizes, stride, padding, quantize, away);
  const auto of = [&]<class S, class A>(S* to, A*) {
    const S* upstream = static_cast<const S*>(grad);
    const A* moves = static_cast<const A*>(shift);
    if (p.stride[1] == 1) return resample_tiled<S, A, true, true>(p, upstream, moves, to, bytes);
    return resample_tiled<S, A, true, false>(p, upstream, moves, to, bytes);
  };
  switch (type) {
    case 0: return of(static_cast<double*>(by_x), static_cast<double*>(nullptr));
    case 1: return of(static_cast<float*>(by_x), static_cast<float*>(nullptr));
    default: return of(static_cast<BFloat16*>(by_x), static_cast<float*>(nullptr));
  }
}

// The gradient by the shift alone.
int tiled_slope(const int64_t* sizes, const int64_t* stride, const int64_t* padding, int quantize, int away, int type, int64_t bytes, const void* grad,
                const void* x, const void* shift, double* by_shift) {
  const Problem p = problem(sizes, stride, padding, quantize, away);
  const auto of = [&]<class S, class A>(S*, A*) {
    const S *upstream = static_cast<const S*>(grad), *values = static_cast<const S*>(x);
    const A* moves = static_cast<const A*>(shift);
    if (p.stride[1] == 1) return differentiate_tiled<S, A, true>(p, upstream, values, moves, by_shift, bytes);
    return differentiate_tiled<S, A, false>(p, upstream, values, moves, by_shift, bytes);
  };
  switch (type) {
    case 0: return of(static_cast<double*>(nullptr), static_cast<double*>(nullptr));
    case 1: return of(static_cast<float*>(nullptr), static_cast<float*>(nullptr));
    default: return of(static_cast<BFloat16*>(nullptr), static_cast<float*>(nullptr));
  }
}

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

// visagent::rubiks_shift and its backward for the CPU, on PyTorch's stable ABI.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <vector>

#include "shift.h"

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using visagent::Dense;
using visagent::Kernels;
using visagent::Pair;
using visagent::Taps;
using visagent::Window;

// Of the running processor; VISAGENT_ISA=baseline takes those that any one runs (for tests).
const Kernels* best() {
#if defined(__x86_64__)
  const char* wanted = std::getenv("VISAGENT_ISA");
  const bool any = wanted != nullptr && std::strcmp(wanted, "baseline") == 0;
  if (!any && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) return visagent::avx2::kernels();
#endif
  return visagent::baseline::kernels();
}

const Kernels& kernels(const Tensor& x) {
  static const Kernels* table = best();
  switch (x.scalar_type()) {
    case ScalarType::Double: return table[visagent::kDouble];
    case ScalarType::Float: return table[visagent::kFloat];
    case ScalarType::BFloat16: return table[visagent::kBFloat16];
    case ScalarType::Half: return table[visagent::kHalf];
    default: STD_TORCH_CHECK(false, "rubiks_shift: expected float64, float32, bfloat16 or float16");
  }
}

std::vector<double> numbers(const Tensor& shift) {
  std::vector<double> out(shift.numel());
  const void* data = shift.const_data_ptr();
  const bool is_double = shift.scalar_type() == ScalarType::Double;
  for (size_t i = 0; i < out.size(); ++i) out[i] = is_double ? static_cast<const double*>(data)[i] : static_cast<const float*>(data)[i];
  return out;
}

struct Axis {
  int length, stride, padding;
  int out() const { return (length + 2 * padding - 1) / stride + 1; }
};

// Bytes of a result that some cache may still hold when it is read.
constexpr int64_t kCached = 24 << 20;

// Far shifts read nothing but zeros; bounded, so that they fit an int. One that is not finite is dealt with before.
double bounded(double shift, const Axis& axis) {
  const double far = axis.length + axis.padding + static_cast<double>(axis.out()) * axis.stride + 2;
  return std::min(far, std::max(-far, shift));
}

// The places that the interpolation reads, or the one that is nearest, halves up.
Pair pair(double shift, bool quantize) {
  const double floor = std::floor(shift), rest = shift - floor;
  Pair all;
  all.low = static_cast<int>(floor);
  if (quantize) {
    all.low += rest < 0.5 ? 0 : 1;
  } else if (rest > 0) {
    all.two = true, all.weight[0] = 1 - rest, all.weight[1] = rest;
  }
  return all;
}

Window window(double shift, const Axis& axis) {
  const Pair linear = pair(shift, false);
  Window all;
  all.in = axis.length, all.out = axis.out(), all.stride = axis.stride, all.padding = axis.padding;
  if (linear.two) {
    all.start = linear.low, all.count = 2;
    all.value[0] = linear.weight[0], all.value[1] = linear.weight[1];
    all.derivative[0] = -1, all.derivative[1] = 1;
  } else {  // a kink: the central difference
    all.start = linear.low - 1, all.count = 3;
    all.value[1] = 1, all.derivative[0] = -0.5, all.derivative[2] = 0.5;
  }
  return all;
}

// A half that is rounded away from zero instead of up reads -1, not 0, where the place is -1/2.
bool is_tie(double shift) { return shift - std::floor(shift) == 0.5; }

// The taps of one axis. Its adjoint, input and output exchanged, has the same form.
Taps taps(double shift, const Axis& axis, bool quantize, bool away, bool adjoint) {
  const Pair places = pair(shift, quantize);
  const bool tie = quantize && away && is_tie(shift);
  const int in = axis.length, out = axis.out();
  Taps all;
  all.in = adjoint ? out : in, all.out = adjoint ? in : out;
  all.first.assign(all.out, -1), all.second.assign(all.out, -1);
  all.first_weight.assign(all.out, 0), all.second_weight.assign(all.out, 0);
  for (int i = 0; i < out; ++i)
    for (int tap = 0; tap < (places.two ? 2 : 1); ++tap) {
      const int j = i * axis.stride - axis.padding + places.low + tap;
      if (j < 0 || j >= in || (tie && j == 0)) continue;
      const int to = adjoint ? j : i, from = adjoint ? i : j;
      const bool free = all.first[to] < 0;
      (free ? all.first : all.second)[to] = from;
      (free ? all.first_weight : all.second_weight)[to] = places.weight[tap];
    }
  return all;
}

struct Problem {
  int64_t batch, time, channels, height, width;
  std::array<Axis, 3> axes;
  std::vector<double> shift;
  std::vector<char> undefined;  // by channel: a component of its shift is infinite or not a number, and all that follows from it is none

  Problem(const Tensor& x, const Tensor& moves, const std::vector<int64_t>& stride, const std::vector<int64_t>& padding) {
    STD_TORCH_CHECK(x.dim() == 5, "rubiks_shift: expected x [N, T, C, H, W]");
    STD_TORCH_CHECK(moves.dim() == 2 && moves.size(0) == 3 && moves.size(1) == x.size(2), "rubiks_shift: expected shift [3, C]");
    STD_TORCH_CHECK(moves.scalar_type() == (x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float),
                    "rubiks_shift: expected a shift of float64 for x of float64, of float32 for any other");
    STD_TORCH_CHECK(stride.size() == 3 && padding.size() == 3, "rubiks_shift: expected three strides and paddings");
    batch = x.size(0), time = x.size(1), channels = x.size(2), height = x.size(3), width = x.size(4);
    const int64_t lengths[3] = {time, height, width};
    for (int d = 0; d < 3; ++d) {
      STD_TORCH_CHECK(stride[d] >= 1 && padding[d] >= 0 && lengths[d] >= 1 && lengths[d] < (1 << 28), "rubiks_shift: a size, stride or padding is out of range");
      axes[d] = {static_cast<int>(lengths[d]), static_cast<int>(stride[d]), static_cast<int>(padding[d])};
    }
    shift = numbers(torch::stable::contiguous(moves));
    undefined.assign(channels, 0);
    for (int d = 0; d < 3; ++d)
      for (int64_t c = 0; c < channels; ++c) {
        double& component = shift[d * channels + c];
        if (!std::isfinite(component)) undefined[c] = 1, component = 0;
        component = bounded(component, axes[d]);
      }
  }
  double at(int axis, int64_t channel) const { return shift[axis * channels + channel]; }
  int64_t out_plane() const { return static_cast<int64_t>(axes[1].out()) * axes[2].out(); }
  // The vectorised kernels know neither padding nor a stride in time, nor the one rounding that is no whole shift.
  bool dense(int64_t channel, bool quantize, bool away) const {
    const bool tie = quantize && away && (is_tie(at(0, channel)) || is_tie(at(1, channel)) || is_tie(at(2, channel)));
    return axes[0].stride == 1 && axes[0].padding == 0 && axes[1].padding == 0 && axes[2].padding == 0 && !tie;
  }
  Dense shape(int64_t written) const {
    return {axes[0].length, axes[1].length, axes[2].length, axes[1].out(), axes[2].out(), axes[1].stride, axes[2].stride, written > kCached};
  }
  std::vector<int64_t> out_sizes() const { return {batch, axes[0].out(), channels, axes[1].out(), axes[2].out()}; }
};

// All bits set is a NaN in every dtype.
void fill_with_nan(char* frames, int64_t count, int64_t step, int64_t length) {
  for (int64_t i = 0; i < count; ++i) std::memset(frames + i * step, 0xff, length);
}

const char* bytes(const Tensor& t) { return static_cast<const char*>(t.const_data_ptr()); }

Tensor forward(Tensor x, Tensor shift, std::vector<int64_t> stride, std::vector<int64_t> padding, bool quantize, bool away) {
  const Problem p(x, shift, stride, padding);
  const Tensor in = torch::stable::contiguous(x);
  Tensor out = torch::stable::new_empty(in, p.out_sizes());
  const Kernels& kernel = kernels(in);
  const Dense shape = p.shape(out.numel() * out.element_size());
  const int64_t size = in.element_size(), plane = p.height * p.width, out_plane = p.out_plane(), frames = p.axes[0].out();
  const char* from = bytes(in);
  char* to = static_cast<char*>(out.mutable_data_ptr());
  torch::stable::parallel_for(0, p.batch * p.channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t n = item / p.channels, c = item % p.channels;
      const char* source = from + (n * p.time * p.channels + c) * plane * size;
      char* target = to + (n * frames * p.channels + c) * out_plane * size;
      if (p.undefined[c]) {
        fill_with_nan(target, frames, p.channels * out_plane * size, out_plane * size);
      } else if (p.dense(c, quantize, away)) {
        const Pair axes[3] = {pair(p.at(0, c), quantize), pair(p.at(1, c), quantize), pair(p.at(2, c), quantize)};
        kernel.forward(source, p.channels * plane, target, p.channels * out_plane, shape, axes);
      } else {
        Taps axes[3];
        for (int d = 0; d < 3; ++d) axes[d] = taps(p.at(d, c), p.axes[d], quantize, away, false);
        kernel.resample(source, p.channels * plane, target, p.channels * out_plane, axes);
      }
    }
  });
  return out;
}

std::tuple<Tensor, Tensor> backward(
    Tensor grad, Tensor x, Tensor shift, std::vector<int64_t> stride, std::vector<int64_t> padding, bool quantize, bool away) {
  const Problem p(x, shift, stride, padding);
  const Tensor upstream = torch::stable::contiguous(grad), values = torch::stable::contiguous(x);
  STD_TORCH_CHECK(upstream.scalar_type() == values.scalar_type(), "rubiks_shift_backward: expected grad and x of one dtype");
  const auto wanted = p.out_sizes();
  for (int d = 0; d < 5; ++d) STD_TORCH_CHECK(upstream.dim() == 5 && upstream.size(d) == wanted[d], "rubiks_shift_backward: grad has not the output's shape");
  Tensor by_x = torch::stable::empty_like(values);

  const Kernels& kernel = kernels(values);
  const Dense shape = p.shape(by_x.numel() * by_x.element_size());
  const int64_t size = values.element_size(), plane = p.height * p.width, out_plane = p.out_plane(), frames = p.axes[0].out();
  const char *from_grad = bytes(upstream), *from_x = bytes(values);
  char* to = static_cast<char*>(by_x.mutable_data_ptr());
  std::vector<double> sums(p.batch * p.channels * 3, 0.0);
  torch::stable::parallel_for(0, p.batch * p.channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t n = item / p.channels, c = item % p.channels;
      const int64_t place = (n * p.time * p.channels + c) * plane * size;
      const char* g = from_grad + (n * frames * p.channels + c) * out_plane * size;
      if (p.undefined[c]) {
        fill_with_nan(to + place, p.time, p.channels * plane * size, plane * size);
        std::fill_n(&sums[item * 3], 3, std::nan(""));
        continue;
      }
      const Window windows[3] = {window(p.at(0, c), p.axes[0]), window(p.at(1, c), p.axes[1]), window(p.at(2, c), p.axes[2])};
      const int64_t g_step = p.channels * out_plane, x_step = p.channels * plane;
      // The shift's gradient is that of the interpolation, whatever the forward pass rounded.
      if (p.dense(c, false, false)) {
        const Pair linear[3] = {pair(p.at(0, c), false), pair(p.at(1, c), false), pair(p.at(2, c), false)};
        kernel.backward(g, g_step, from_x + place, x_step, quantize ? nullptr : to + place, shape, linear, windows, &sums[item * 3]);
        if (!quantize) continue;
      } else {
        kernel.slope(g, g_step, from_x + place, x_step, windows, &sums[item * 3]);
      }
      if (quantize && p.dense(c, quantize, away)) {
        const Pair whole[3] = {pair(p.at(0, c), true), pair(p.at(1, c), true), pair(p.at(2, c), true)};
        const Window around[3] = {window(whole[0].low, p.axes[0]), window(whole[1].low, p.axes[1]), window(whole[2].low, p.axes[2])};
        double unused[3];
        kernel.backward(g, g_step, from_x + place, x_step, to + place, shape, whole, around, unused);
      } else {
        Taps axes[3];
        for (int d = 0; d < 3; ++d) axes[d] = taps(p.at(d, c), p.axes[d], quantize, away, true);
        kernel.resample(g, g_step, to + place, x_step, axes);
      }
    }
  });
  Tensor by_shift = torch::stable::empty_like(torch::stable::contiguous(shift));
  void* target = by_shift.mutable_data_ptr();
  for (int d = 0; d < 3; ++d)
    for (int64_t c = 0; c < p.channels; ++c) {
      double sum = 0;  // over the samples in order, whatever the threads did
      for (int64_t n = 0; n < p.batch; ++n) sum += sums[(n * p.channels + c) * 3 + d];
      const int64_t place = d * p.channels + c;
      if (by_shift.scalar_type() == ScalarType::Double) {
        static_cast<double*>(target)[place] = sum;
      } else {
        static_cast<float*>(target)[place] = static_cast<float>(sum);
      }
    }
  return {by_x, by_shift};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(visagent, CPU, m) {
  m.impl("rubiks_shift", TORCH_BOX(&forward));
  m.impl("rubiks_shift_backward", TORCH_BOX(&backward));
}

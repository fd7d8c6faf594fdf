// visagent::rubiks_shift and its backward for the CPU, on PyTorch's stable ABI.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <array>
#include <cmath>
#include <tuple>
#include <vector>

#include "shift.h"

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using visagent::Kernels;
using visagent::Slope;
using visagent::Taps;

const Kernels* best() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return visagent::avx512::kernels();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) return visagent::avx2::kernels();
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
  for (size_t i = 0; i < out.size(); ++i) switch (shift.scalar_type()) {
      case ScalarType::Double: out[i] = static_cast<const double*>(data)[i]; break;
      case ScalarType::Float: out[i] = static_cast<const float*>(data)[i]; break;
      case ScalarType::BFloat16: out[i] = static_cast<float>(static_cast<const c10::BFloat16*>(data)[i]); break;
      default: out[i] = static_cast<float>(static_cast<const c10::Half*>(data)[i]);
    }
  return out;
}

struct Axis {
  int length, stride, padding;
  int out() const { return (length + 2 * padding - 1) / stride + 1; }
};

// Far shifts read nothing but zeros; bounded, so that they fit an int whatever they are.
double bounded(double shift, const Axis& axis) {
  const double far = axis.length + axis.padding + static_cast<double>(axis.out()) * axis.stride + 2;
  return std::isnan(shift) ? far : std::min(far, std::max(-far, shift));
}

// The taps of one axis. Its adjoint, input and output exchanged, has the same form.
Taps taps(double shift, const Axis& axis, bool quantize, bool away, bool adjoint) {
  const double floor = std::floor(shift), rest = shift - floor;
  int low = static_cast<int>(floor);
  double weights[2] = {1 - rest, rest};
  if (quantize) {
    low += rest < 0.5 ? 0 : 1;
    weights[0] = 1, weights[1] = 0;
  }
  // A half that is rounded away from zero instead of up reads -1, not 0, where the place is -1/2.
  const bool tie = quantize && away && rest == 0.5;
  const int in = axis.length, out = axis.out();
  Taps all;
  all.in = adjoint ? out : in, all.out = adjoint ? in : out;
  all.first.assign(all.out, -1), all.second.assign(all.out, -1);
  all.first_weight.assign(all.out, 0), all.second_weight.assign(all.out, 0);
  const auto put = [&](int to, int from, double weight) {
    if (weight == 0) return;
    if (all.first_weight[to] == 0) {
      all.first[to] = from, all.first_weight[to] = weight;
    } else {
      all.second[to] = from, all.second_weight[to] = weight;
    }
  };
  int hole = -1;
  for (int i = 0; i < out; ++i)
    for (int tap = 0; tap < 2; ++tap) {
      const int j = i * axis.stride - axis.padding + low + tap;
      if (j < 0 || j >= in) continue;
      if (tie && j == 0) {
        hole = adjoint ? 0 : i;
        continue;
      }
      if (adjoint) {
        put(j, i, weights[tap]);
      } else {
        put(i, j, weights[tap]);
      }
    }
  if (axis.stride == 1) {
    all.regular = true, all.hole = hole;
    all.offset = adjoint ? axis.padding - low - (quantize ? 0 : 1) : low - axis.padding;
    all.weight[0] = adjoint && !quantize ? weights[1] : weights[0], all.weight[1] = adjoint && !quantize ? weights[0] : weights[1];
  }
  return all;
}

Slope slope(double shift, const Axis& axis) {
  const double floor = std::floor(shift), rest = shift - floor;
  Slope all;
  all.in = axis.length, all.out = axis.out(), all.stride = axis.stride, all.start = static_cast<int>(floor) - axis.padding;
  all.value[1] = 1 - rest, all.value[2] = rest;
  if (rest == 0) {  // a kink: the central difference
    all.derivative[0] = -0.5, all.derivative[2] = 0.5;
  } else {
    all.derivative[1] = -1, all.derivative[2] = 1;
  }
  return all;
}

struct Problem {
  int64_t batch, time, channels, height, width;
  std::array<Axis, 3> axes;
  std::vector<double> shift;

  Problem(const Tensor& x, const Tensor& moves, const std::vector<int64_t>& stride, const std::vector<int64_t>& padding) {
    STD_TORCH_CHECK(x.dim() == 5, "rubiks_shift: expected x [N, T, C, H, W]");
    STD_TORCH_CHECK(moves.dim() == 2 && moves.size(0) == 3 && moves.size(1) == x.size(2), "rubiks_shift: expected shift [3, C]");
    STD_TORCH_CHECK(moves.scalar_type() == x.scalar_type(), "rubiks_shift: expected x and shift of one dtype");
    STD_TORCH_CHECK(stride.size() == 3 && padding.size() == 3, "rubiks_shift: expected three strides and paddings");
    batch = x.size(0), time = x.size(1), channels = x.size(2), height = x.size(3), width = x.size(4);
    const int64_t lengths[3] = {time, height, width};
    for (int d = 0; d < 3; ++d) {
      STD_TORCH_CHECK(stride[d] >= 1 && padding[d] >= 0 && lengths[d] >= 1 && lengths[d] < (1 << 28), "rubiks_shift: a size, stride or padding is out of range");
      axes[d] = {static_cast<int>(lengths[d]), static_cast<int>(stride[d]), static_cast<int>(padding[d])};
    }
    shift = numbers(torch::stable::contiguous(moves));
    for (int d = 0; d < 3; ++d)
      for (int64_t c = 0; c < channels; ++c) shift[d * channels + c] = bounded(shift[d * channels + c], axes[d]);
  }
  double at(int axis, int64_t channel) const { return shift[axis * channels + channel]; }
  int64_t out_plane() const { return static_cast<int64_t>(axes[1].out()) * axes[2].out(); }
  std::vector<int64_t> out_sizes() const { return {batch, axes[0].out(), channels, axes[1].out(), axes[2].out()}; }
};

const char* bytes(const Tensor& t) { return static_cast<const char*>(t.const_data_ptr()); }

// Runs `resample` for every sample and channel, forwards or as the adjoint.
void run(const Problem& p, const Tensor& in, const Tensor& out, bool quantize, bool away, bool adjoint) {
  const Kernels& kernel = kernels(in);
  const int64_t size = in.element_size(), plane = p.height * p.width, out_plane = p.out_plane(), frames = p.axes[0].out();
  const int64_t in_plane = adjoint ? out_plane : plane, to_plane = adjoint ? plane : out_plane;
  const int64_t in_frames = adjoint ? frames : p.time, to_frames = adjoint ? p.time : frames;
  const char* from = bytes(in);
  char* to = static_cast<char*>(out.mutable_data_ptr());
  torch::stable::parallel_for(0, p.batch * p.channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t n = item / p.channels, c = item % p.channels;
      Taps axes[3];
      for (int d = 0; d < 3; ++d) axes[d] = taps(p.at(d, c), p.axes[d], quantize, away, adjoint);
      kernel.resample(from + (n * in_frames * p.channels + c) * in_plane * size, p.channels * in_plane,
                      to + (n * to_frames * p.channels + c) * to_plane * size, p.channels * to_plane, axes);
    }
  });
}

Tensor forward(Tensor x, Tensor shift, std::vector<int64_t> stride, std::vector<int64_t> padding, bool quantize, bool away) {
  const Problem p(x, shift, stride, padding);
  const Tensor in = torch::stable::contiguous(x);
  Tensor out = torch::stable::new_empty(in, p.out_sizes());
  run(p, in, out, quantize, away, false);
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
  run(p, upstream, by_x, quantize, away, true);

  const Kernels& kernel = kernels(values);
  const int64_t size = values.element_size(), plane = p.height * p.width, out_plane = p.out_plane(), frames = p.axes[0].out();
  std::vector<double> sums(p.batch * p.channels * 3, 0.0);
  torch::stable::parallel_for(0, p.batch * p.channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t n = item / p.channels, c = item % p.channels;
      Slope axes[3];
      for (int d = 0; d < 3; ++d) axes[d] = slope(p.at(d, c), p.axes[d]);
      kernel.slope(bytes(upstream) + (n * frames * p.channels + c) * out_plane * size, p.channels * out_plane,
                   bytes(values) + (n * p.time * p.channels + c) * plane * size, p.channels * plane, axes, &sums[item * 3]);
    }
  });
  Tensor by_shift = torch::stable::new_empty(values, {3, p.channels});
  void* to = by_shift.mutable_data_ptr();
  for (int d = 0; d < 3; ++d)
    for (int64_t c = 0; c < p.channels; ++c) {
      double sum = 0;  // over the samples in order, whatever the threads did
      for (int64_t n = 0; n < p.batch; ++n) sum += sums[(n * p.channels + c) * 3 + d];
      const int64_t place = d * p.channels + c;
      switch (values.scalar_type()) {
        case ScalarType::Double: static_cast<double*>(to)[place] = sum; break;
        case ScalarType::Float: static_cast<float*>(to)[place] = static_cast<float>(sum); break;
        case ScalarType::BFloat16: static_cast<c10::BFloat16*>(to)[place] = static_cast<float>(sum); break;
        default: static_cast<c10::Half*>(to)[place] = static_cast<float>(sum);
      }
    }
  return {by_x, by_shift};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(visagent, CPU, m) {
  m.impl("rubiks_shift", TORCH_BOX(&forward));
  m.impl("rubiks_shift_backward", TORCH_BOX(&backward));
}

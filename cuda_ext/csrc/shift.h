// One axis of one channel's shift, and the kernels that every instruction set provides. Meaning and notation: cuda_ext/reference.py.
#pragma once

#include <cstdint>
#include <vector>

namespace visagent {

// out[i] = first_weight[i] * in[first[i]] + second_weight[i] * in[second[i]]; an index of -1 reads zero.
struct Taps {
  int in = 0, out = 0;
  std::vector<int> first, second;
  std::vector<double> first_weight, second_weight;
};

// What is read around b(i) + low: `count` places from b(i) + start on, with the weights of the interpolation and of its derivative. At a
// whole shift the interpolation has one place, the central difference two more.
struct Window {
  int in = 0, out = 0, stride = 1, padding = 0;
  int start = 0, count = 0;
  double value[3] = {0, 0, 0}, derivative[3] = {0, 0, 0};
};

// The interpolation alone: places b(i) + low and, where `two`, b(i) + low + 1.
struct Pair {
  int low = 0;
  bool two = false;
  double weight[2] = {1, 0};
};

// A channel of a clip: `frames` dense frames of height x width, b(i) = i * stride in space and b(i) = i in time.
struct Dense {
  int frames, height, width, out_height, out_width, stride_height, stride_width;
  bool streams;  // write past the caches: the whole result is larger than they are
};

// A frame of a channel is dense; `step` is the distance between two frames of the same channel, in elements.
struct Kernels {
  // Without padding or a stride in time. `axes`: T, H, W.
  void (*forward)(const void* in, int64_t in_step, void* out, int64_t out_step, const Dense& shape, const Pair* axes);
  // Adds to `sums` the three gradients by the shift; with `by_x` also writes the gradient by x (the adjoint of the interpolation).
  void (*backward)(const void* grad, int64_t grad_step, const void* x, int64_t x_step, void* by_x, const Dense& shape, const Pair* axes,
                   const Window* windows, double* sums);
  // For every stride and padding, element by element.
  void (*resample)(const void* in, int64_t in_step, void* out, int64_t out_step, const Taps* axes);
  void (*slope)(const void* grad, int64_t grad_step, const void* x, int64_t x_step, const Window* windows, double* sums);
};

enum Dtype { kDouble = 0, kFloat = 1, kBFloat16 = 2, kHalf = 3, kDtypes = 4 };

namespace baseline { const Kernels* kernels(); }
#if defined(__x86_64__)
namespace avx2 { const Kernels* kernels(); }
#endif

}  // namespace visagent

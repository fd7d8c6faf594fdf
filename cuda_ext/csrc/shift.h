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
  // With a stride of one the indices are i + offset and i + offset + 1 and the weights do not change, but for `hole`, which reads zero.
  bool regular = false;
  int offset = 0, hole = -1;
  double weight[2] = {0, 0};
};

// For the gradient by the shift: the places around b(i) + f, three weights of the interpolation and three of its derivative.
struct Slope {
  int in = 0, out = 0, stride = 1, start = 0;  // the middle place of output i is i * stride + start
  double value[3] = {0, 0, 0}, derivative[3] = {0, 0, 0};
};

// A frame of a channel is dense; `step` is the distance between two frames of the same channel.
struct Kernels {
  void (*resample)(const void* in, int64_t in_step, void* out, int64_t out_step, const Taps* axes);
  void (*slope)(const void* grad, int64_t grad_step, const void* x, int64_t x_step, const Slope* axes, double* sums);
};

enum Dtype { kDouble = 0, kFloat = 1, kBFloat16 = 2, kHalf = 3, kDtypes = 4 };

namespace baseline { const Kernels* kernels(); }
#if defined(__x86_64__)
namespace avx2 { const Kernels* kernels(); }
namespace avx512 { const Kernels* kernels(); }
#endif

}  // namespace visagent

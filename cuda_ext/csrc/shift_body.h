// What one GPU thread does for one or several pixels of a channel through all frames. Plain C++ but for the qualifiers, so that a compiler
// without CUDA can run it too (tests/op/test_gpu_body.py). Meaning and notation: cuda_ext/reference.py.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define VISAGENT_BOTH __host__ __device__ __forceinline__
#else
#define VISAGENT_BOTH inline
#include <cmath>
#endif
#ifndef VISAGENT_ALIGNED
#define VISAGENT_ALIGNED(address, bytes)  // tests on the CPU look whether it is
#endif

namespace visagent::gpu {

// One axis of one channel.
template <class A>
struct Axis {
  int in, out, stride, padding;
  int low;       // the lower of the places that are read, relative to b(i)
  bool two;      // whether low + 1 is read as well
  int lowest;    // the first index that may be read: 1 where a half was rounded away from zero to -1
  A weight[2];
  int start, count;  // the gradient's window: places b(i) + start on
  A value[3], derivative[3];
};

struct Shape {
  int batch, time, channels, height, width;  // of x
  int out_time, out_height, out_width;
  int stride[3], padding[3];
  bool quantize, away;
};

template <class A>
VISAGENT_BOTH Axis<A> axis(A shift, int in, int out, int stride, int padding, bool quantize, bool away) {
  Axis<A> all;
  all.in = in, all.out = out, all.stride = stride, all.padding = padding;
  const A far = static_cast<A>(in) + padding + static_cast<A>(out) * stride + 2;
  const A undefined = shift - shift;  // not a number where the shift is infinite or not one itself
  const bool number = undefined == 0;
  if (!number) shift = 0;
  if (shift > far) shift = far;
  if (shift < -far) shift = -far;
  const A floor_ = floor(shift), rest = shift - floor_;
  const int low = static_cast<int>(floor_);
  all.low = quantize && rest >= A(0.5) ? low + 1 : low;
  all.two = !quantize && rest > 0;
  all.lowest = quantize && away && rest == A(0.5) ? 1 : 0;
  all.weight[0] = all.two ? 1 - rest : A(1), all.weight[1] = all.two ? rest : A(0);
  const bool between = rest > 0;
  all.start = between ? low : low - 1, all.count = between ? 2 : 3;
  all.value[0] = between ? 1 - rest : A(0), all.value[1] = between ? rest : A(1), all.value[2] = 0;
  all.derivative[0] = between ? A(-1) : A(-0.5), all.derivative[1] = between ? A(1) : A(0), all.derivative[2] = A(0.5);
  if (!number) all.weight[0] = undefined;
  return all;
}

// What a place has that reads nothing: zero, or NaN where a component of the shift is not finite, as all that follows from it.
template <class A>
VISAGENT_BOTH A nothing(const Axis<A>& time, const Axis<A>& height, const Axis<A>& width) {
  return A(0) * (time.weight[0] + height.weight[0] + width.weight[0]);
}

// Where position `at` reads (or, as the adjoint, what read it) by its tap; -1 for nothing.
template <bool kAdjoint, class A>
VISAGENT_BOTH int place(const Axis<A>& axis, int at, int tap) {
  if constexpr (kAdjoint) {
    if (at < axis.lowest) return -1;
    const int from = at + axis.padding - axis.low - tap;
    if (from < 0 || from % axis.stride != 0) return -1;
    const int i = from / axis.stride;
    return i < axis.out ? i : -1;
  } else {
    const int j = at * axis.stride - axis.padding + axis.low + tap;
    return j >= axis.lowest && j < axis.in ? j : -1;
  }
}

// A value of the frame's storage type as a number, and back.
template <class S> struct Number;

template <class S, class A>
VISAGENT_BOTH A read(const S* frame, int row, int column, int columns) {
  return row < 0 || column < 0 ? A(0) : Number<S>::load(frame + static_cast<int64_t>(row) * columns + column);
}

// The interpolation of one frame in space, at kPixels neighbours along a row from (h, w) on. Neighbours share what they read.
template <class S, class A, bool kAdjoint, int kPixels>
VISAGENT_BOTH void sample(const S* frame, const Axis<A>& height, const Axis<A>& width, int h, int w, A* out) {
  const int columns = kAdjoint ? width.out : width.in;
#pragma unroll
  for (int k = 0; k < kPixels; ++k) out[k] = 0;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = i == 0 || height.two ? place<kAdjoint>(height, h, i) : -1;
    if (row < 0) continue;
    A before = read<S, A>(frame, row, place<kAdjoint>(width, w, kAdjoint && width.two ? 1 : 0), columns);
#pragma unroll
    for (int k = 0; k < kPixels; ++k) {
      if (!width.two) {
        out[k] += height.weight[i] * before;
        if (k + 1 < kPixels) before = read<S, A>(frame, row, place<kAdjoint>(width, w + k + 1, 0), columns);
        continue;
      }
      // With a stride of one the second tap of a pixel is the first one of the next; otherwise there is one pixel.
      const A after = read<S, A>(frame, row, place<kAdjoint>(width, w + k, kAdjoint ? 0 : 1), columns);
      out[k] += height.weight[i] * (kAdjoint ? width.weight[1] * before + width.weight[0] * after : width.weight[0] * before + width.weight[1] * after);
      before = after;
    }
  }
}

// All frames of kPixels pixels: out[t] = weight[0] * S(first) + weight[1] * S(second). A frame is sampled once where its neighbour in time is next.
template <class S, class A, bool kAdjoint, int kPixels>
VISAGENT_BOTH void resample(const S* in, int64_t in_step, S* out, int64_t out_step, const Axis<A>& time, const Axis<A>& height, const Axis<A>& width,
                            int h, int w, int pixels) {
  const int frames = kAdjoint ? time.in : time.out, columns = kAdjoint ? width.in : width.out;
  const A empty = nothing(time, height, width);
  A kept[kPixels] = {};
  int kept_frame = -2;
  for (int t = 0; t < frames; ++t) {
    A total[kPixels];
    for (int k = 0; k < kPixels; ++k) total[k] = empty;
    // The earlier frame first, so that the later one can be kept.
#pragma unroll
    for (int order = 0; order < 2; ++order) {
      const int tap = kAdjoint ? 1 - order : order;
      const int frame = tap == 0 || time.two ? place<kAdjoint>(time, t, tap) : -1;
      if (frame < 0) continue;
      if (frame != kept_frame) {
        sample<S, A, kAdjoint, kPixels>(in + frame * in_step, height, width, h, w, kept);
        kept_frame = frame;
      }
#pragma unroll
      for (int k = 0; k < kPixels; ++k) total[k] += time.weight[tap] * kept[k];
    }
    S* to = out + t * out_step + static_cast<int64_t>(h) * columns + w;
#pragma unroll
    for (int k = 0; k < kPixels; ++k)
      if (k < pixels) Number<S>::store(to + k, total[k]);
  }
}

// What a frame of x enters the gradient by the shift through: its interpolation and that by the derivatives in height and in width.
template <class A, int kPixels>
struct Around {
  A value[kPixels], by_height[kPixels], by_width[kPixels];
};

template <class S, class A, int kPixels>
VISAGENT_BOTH void look_around(const S* x, int64_t x_step, int frame, int frames, const Axis<A>& height, const Axis<A>& width, int h, int w,
                               Around<A, kPixels>& out) {
  for (int k = 0; k < kPixels; ++k) out.value[k] = out.by_height[k] = out.by_width[k] = 0;
  if (frame < 0 || frame >= frames) return;
  const int begin = w * width.stride - width.padding + width.start;
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    const int row = h * height.stride - height.padding + height.start + i;
    if (i >= height.count || row < 0 || row >= height.in) continue;
    const S* from = x + frame * x_step + static_cast<int64_t>(row) * width.in;
    A line[kPixels + 2];  // neighbours read the same places
#pragma unroll
    for (int j = 0; j < kPixels + 2; ++j) {
      const bool there = j < kPixels - 1 + width.count && begin + j >= 0 && begin + j < width.in;
      line[j] = there ? A(Number<S>::load(from + begin + j)) : A(0);
    }
#pragma unroll
    for (int k = 0; k < kPixels; ++k) {
      const A third = width.count == 3 ? line[k + 2] : A(0);
      const A along = width.value[0] * line[k] + width.value[1] * line[k + 1] + width.value[2] * third;
      out.value[k] += height.value[i] * along;
      out.by_height[k] += height.derivative[i] * along;
      out.by_width[k] += height.value[i] * (width.derivative[0] * line[k] + width.derivative[1] * line[k + 1] + width.derivative[2] * third);
    }
  }
}

// The gradient by the shift at kPixels outputs, added to sums[T, H, W], for a window of kCount frames; with by_x (no stride, no padding) the
// gradient by x at the same places as well. Going through time, a frame of x and one of the upstream gradient are looked at once.
template <class S, class A, int kPixels, int kCount>
VISAGENT_BOTH void differentiate(const S* grad, int64_t grad_step, const S* x, int64_t x_step, S* by_x, const Axis<A>& time, const Axis<A>& height,
                                 const Axis<A>& width, int h, int w, int pixels, A* sums) {
  const A empty = nothing(time, height, width);
  for (int d = 0; d < 3; ++d) sums[d] += empty;
  Around<A, kPixels> around[kCount];
  A last[kPixels] = {};
  for (int t = 0; t < time.out; ++t) {
    const int first = t * time.stride - time.padding + time.start;
    const bool step = t > 0 && time.stride == 1;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (step && i + 1 < kCount) {
        around[i] = around[i + 1];
      } else {
        look_around<S, A, kPixels>(x, x_step, first + i, time.in, height, width, h, w, around[i]);
      }
    }
    const S* from = grad + t * grad_step;
#pragma unroll
    for (int k = 0; k < kPixels; ++k) {
      const A upstream = k < pixels ? A(Number<S>::load(from + static_cast<int64_t>(h) * width.out + w + k)) : A(0);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        sums[0] += time.derivative[i] * upstream * around[i].value[k];
        sums[1] += time.value[i] * upstream * around[i].by_height[k];
        sums[2] += time.value[i] * upstream * around[i].by_width[k];
      }
    }
    if (by_x == nullptr) continue;
    A now[kPixels];
    sample<S, A, true, kPixels>(from, height, width, h, w, now);
    const int frame = t + time.low;
    if (frame >= time.lowest && frame < time.in) {
      S* to = by_x + frame * x_step + static_cast<int64_t>(h) * width.in + w;
#pragma unroll
      for (int k = 0; k < kPixels; ++k)
        if (k < pixels) Number<S>::store(to + k, time.weight[0] * now[k] + time.weight[1] * last[k] + empty);
    }
#pragma unroll
    for (int k = 0; k < kPixels; ++k) last[k] = now[k];
  }
  if (by_x == nullptr) return;
  for (int frame = 0; frame < time.in; ++frame) {  // those that no output starts at
    if (frame >= time.lowest && frame >= time.low && frame < time.low + time.out) continue;
    const bool after = time.two && frame == time.low + time.out;
    S* to = by_x + frame * x_step + static_cast<int64_t>(h) * width.in + w;
    for (int k = 0; k < kPixels; ++k)
      if (k < pixels) Number<S>::store(to + k, after ? time.weight[1] * last[k] + empty : empty);
  }
}

}  // namespace visagent::gpu

// visagent::rubiks_shift and its backward for CUDA, on PyTorch's stable ABI. Without a stride in time frames pass through shared memory
// (shift_tile.h); the other kernels (shift_body.h) serve all strides and sizes, each block one channel of one clip. Sums over threads and
// blocks are taken in a fixed order.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <tuple>
#include <vector>

#include "shift_tile.h"

namespace visagent::gpu {

template <> struct Number<double> {
  static __device__ __forceinline__ double load(const double* from) { return *from; }
  static __device__ __forceinline__ void store(double* to, double value) { *to = value; }
};
template <> struct Number<float> {
  static __device__ __forceinline__ float load(const float* from) { return *from; }
  static __device__ __forceinline__ void store(float* to, float value) { *to = value; }
};
template <> struct Number<__half> {
  static __device__ __forceinline__ float load(const __half* from) { return __half2float(*from); }
  static __device__ __forceinline__ void store(__half* to, float value) { *to = __float2half_rn(value); }
  static __device__ __forceinline__ void split(uint32_t word, float* first, float* second) {
    const float2 both = __half22float2(reinterpret_cast<const __half2&>(word));
    *first = both.x, *second = both.y;
  }
  static __device__ __forceinline__ uint32_t join(float first, float second) {
    const __half2 both = __floats2half2_rn(first, second);
    return reinterpret_cast<const uint32_t&>(both);
  }
};
template <> struct Number<__nv_bfloat16> {
  static __device__ __forceinline__ float load(const __nv_bfloat16* from) { return __bfloat162float(*from); }
  static __device__ __forceinline__ void store(__nv_bfloat16* to, float value) { *to = __float2bfloat16_rn(value); }
  static __device__ __forceinline__ void split(uint32_t word, float* first, float* second) {
    *first = __uint_as_float(word << 16), *second = __uint_as_float(word & 0xffff0000u);
  }
  static __device__ __forceinline__ uint32_t join(float first, float second) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(first, second);
    return reinterpret_cast<const uint32_t&>(both);
  }
};

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int kThreads = 256;

// Steps through the frames, kStages of them on their way at a time: by the copy engine where there is one, which one warp tells what to bring.
template <class S, class A, int kStages, class Body>
__device__ __forceinline__ void go_through(Body& body, const Shape& p, const Tiling& tiling, const A* shift, S* stages, Visit* visits) {
  const int first = blockIdx.x % tiling.groups * tiling.channels;
  for (int g = threadIdx.x; g < body.channels; g += tiling.threads) visits[g] = Body::visit(p, shift, first + g);
#pragma unroll
  for (int s = 0; s < kStages; ++s) body.clear(tiling, stages + s * tiling.stage, threadIdx.x);
#if __CUDA_ARCH__ >= 900
  __shared__ uint64_t barriers[kStages];
  const uint32_t barrier = static_cast<uint32_t>(__cvta_generic_to_shared(barriers));
  if (threadIdx.x == 0) {
#pragma unroll
    for (int s = 0; s < kStages; ++s) asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barrier + 8 * s) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  const auto send = [&](int step, int stage) {
    if (threadIdx.x >= 32 || step >= body.steps) return;
    const uint32_t sent = __reduce_add_sync(0xffffffffu, body.send(stages + stage * tiling.stage, visits, step, barrier + 8 * stage));
    if (threadIdx.x == 0) asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier + 8 * stage), "r"(sent) : "memory");
  };
#pragma unroll
  for (int s = 0; s < kStages; ++s) send(s, s);
  int stage = 0;
  uint32_t round = 0;
  for (int step = 0; step < body.steps; ++step) {
    asm volatile(
        "{\n .reg .pred done;\n waiting:\n mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n @done bra.uni arrived;\n bra.uni waiting;\n "
        "arrived:\n}" ::"r"(barrier + 8 * stage),
        "r"(round)
        : "memory");
    body.look(stages + stage * tiling.stage, visits, step);
    __syncthreads();
    send(step + kStages, stage);
    if (++stage == kStages) stage = 0, round ^= 1;
  }
#else
  __syncthreads();
#pragma unroll
  for (int s = 0; s + 1 < kStages; ++s) {
    if (s < body.steps) body.bring(tiling, stages + s * tiling.stage, visits, s);
    __pipeline_commit();
  }
  int at = 0, next = kStages - 1;
  for (int step = 0; step < body.steps; ++step) {
    __pipeline_wait_prior(kStages - 2);
    __syncthreads();  // also for what is overwritten now
    if (step + kStages - 1 < body.steps) body.bring(tiling, stages + next * tiling.stage, visits, step + kStages - 1);
    __pipeline_commit();
    body.look(stages + at * tiling.stage, visits, step);
    at = at + 1 == kStages ? 0 : at + 1, next = next + 1 == kStages ? 0 : next + 1;
  }
#endif
}

// Blocks that a multiprocessor is to hold at a time, which limits the registers of a thread: 72 with four, 80 with three, 128 with two.
template <class A, int kWide> constexpr int kForwardBlocks = sizeof(A) == 8 ? 2 : kWide > 2 ? 3 : 4;
template <class A, int kWide> constexpr int kBackwardBlocks = sizeof(A) == 8 || kWide > 2 ? 2 : 4;

template <class S, class A, bool kAdjoint, bool kUnit, int kWide, int kTall, int kStages>
__global__ void __launch_bounds__(kMostThreads, kForwardBlocks<A, kWide>) resample_tiles_kernel(const S* in, const A* shift, S* out, Shape p, Tiling tiling) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ Visit visits[kMostChannels];
  Resampling<S, A, kAdjoint, kUnit, kWide, kTall> body(in, shift, out, p, tiling, blockIdx.x, blockIdx.y, threadIdx.x);
  go_through<S, A, kStages>(body, p, tiling, shift, reinterpret_cast<S*>(memory), visits);
}

// The gradient by the shift, one sum of each block in `sums` [3, C, N, chunks].
template <class S, class A, bool kUnit, int kWide, int kTall, int kStages>
__global__ void __launch_bounds__(kMostThreads, kBackwardBlocks<A, kWide>)
    differentiate_tiles_kernel(const S* grad, const S* x, const A* shift, double* sums, Shape p, Tiling tiling) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ Visit visits[kMostChannels];
  __shared__ A found[3][kMostThreads];
  Differentiation<S, A, kUnit, kWide, kTall> body(grad, x, shift, p, tiling, blockIdx.x, blockIdx.y, threadIdx.x);
  go_through<S, A, kStages>(body, p, tiling, shift, reinterpret_cast<S*>(memory), visits);
#pragma unroll
  for (int d = 0; d < 3; ++d) found[d][threadIdx.x] = body.sums[d];
  __syncthreads();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, each = tiling.strips * tiling.lanes;
  for (int row = warp; row < 3 * body.channels; row += tiling.threads / 32) {
    const int d = row / body.channels, g = row - d * body.channels;
    double total = 0;
    for (int i = lane; i < each; i += 32) total += static_cast<double>(found[d][g * each + i]);
    for (int offset = 16; offset > 0; offset /= 2) total += __shfl_down_sync(0xffffffffu, total, offset);
    const int64_t place = (static_cast<int64_t>(d) * p.channels + body.first_channel + g) * p.batch + blockIdx.x / tiling.groups;
    if (lane == 0) sums[place * gridDim.y + blockIdx.y] = total;
  }
}

// Forward, or as the adjoint the gradient by x.
template <class S, class A, bool kAdjoint, int kPixels>
__global__ void __launch_bounds__(kThreads) resample_kernel(const S* in, const A* shift, S* out, Shape p) {
  const int item = blockIdx.x, n = item / p.channels, c = item % p.channels;
  const int64_t x_plane = static_cast<int64_t>(p.height) * p.width, y_plane = static_cast<int64_t>(p.out_height) * p.out_width;
  const int64_t from_plane = kAdjoint ? y_plane : x_plane, to_plane = kAdjoint ? x_plane : y_plane;
  const int64_t from_frames = kAdjoint ? p.out_time : p.time, to_frames = kAdjoint ? p.time : p.out_time;
  const int rows = kAdjoint ? p.height : p.out_height, columns = kAdjoint ? p.width : p.out_width;
  const int groups = (columns + kPixels - 1) / kPixels;
  const int place = blockIdx.y * kThreads + threadIdx.x;
  if (place >= rows * groups) return;
  Axis<A> all[3];
  axes_of(p, shift, c, all);
  const int h = place / groups, w = place % groups * kPixels;
  resample<S, A, kAdjoint, kPixels>(in + (n * from_frames * p.channels + c) * from_plane, p.channels * from_plane,
                                    out + (n * to_frames * p.channels + c) * to_plane, p.channels * to_plane, all[0], all[1], all[2], h, w,
                                    min(kPixels, columns - w));
}

template <class A>
__device__ __forceinline__ A block_sum(A value, A* shared) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffffu, value, offset);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  A total = 0;
  if (threadIdx.x == 0)
    for (int warp = 0; warp < kThreads / 32; ++warp) total += shared[warp];
  return total;
}

// The gradient by the shift, one sum of each block in `sums` [3, C, N, chunks]; with by_x that by x too.
template <class S, class A, int kPixels>
__global__ void __launch_bounds__(kThreads) differentiate_kernel(const S* grad, const S* x, const A* shift, S* by_x, double* sums, Shape p) {
  __shared__ A shared[kThreads / 32];
  const int item = blockIdx.x, n = item / p.channels, c = item % p.channels;
  const int64_t x_plane = static_cast<int64_t>(p.height) * p.width, y_plane = static_cast<int64_t>(p.out_height) * p.out_width;
  const int groups = (p.out_width + kPixels - 1) / kPixels;
  const int place = blockIdx.y * kThreads + threadIdx.x;
  A found[3] = {0, 0, 0};
  if (place < p.out_height * groups) {
    Axis<A> all[3];
    axes_of(p, shift, c, all);
    const int h = place / groups, w = place % groups * kPixels;
    const int64_t x_first = (static_cast<int64_t>(n) * p.time * p.channels + c) * x_plane;
    const S* upstream = grad + (static_cast<int64_t>(n) * p.out_time * p.channels + c) * y_plane;
    S* to = by_x == nullptr ? nullptr : by_x + x_first;
    const int pixels = min(kPixels, p.out_width - w);
    if (all[0].count == 2) {
      differentiate<S, A, kPixels, 2>(upstream, p.channels * y_plane, x + x_first, p.channels * x_plane, to, all[0], all[1], all[2], h, w, pixels, found);
    } else {
      differentiate<S, A, kPixels, 3>(upstream, p.channels * y_plane, x + x_first, p.channels * x_plane, to, all[0], all[1], all[2], h, w, pixels, found);
    }
  }
  for (int d = 0; d < 3; ++d) {
    const A total = block_sum(found[d], shared);
    if (threadIdx.x == 0) sums[((static_cast<int64_t>(d) * p.channels + c) * p.batch + n) * gridDim.y + blockIdx.y] = static_cast<double>(total);
  }
}

// The sums of a row, in order within each thread and between them.
template <class A>
__global__ void __launch_bounds__(kThreads) add_kernel(const double* sums, A* out, int64_t count) {
  __shared__ double shared[kThreads / 32];
  double total = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) total += sums[blockIdx.x * count + i];
  total = block_sum(total, shared);
  if (threadIdx.x == 0) out[blockIdx.x] = static_cast<A>(total);
}

Shape shape_of(const Tensor& x, const Tensor& shift, const std::vector<int64_t>& stride, const std::vector<int64_t>& padding, bool quantize, bool away) {
  STD_TORCH_CHECK(x.dim() == 5, "rubiks_shift: expected x [N, T, C, H, W]");
  STD_TORCH_CHECK(shift.dim() == 2 && shift.size(0) == 3 && shift.size(1) == x.size(2), "rubiks_shift: expected shift [3, C]");
  STD_TORCH_CHECK(shift.scalar_type() == (x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float),
                  "rubiks_shift: expected a shift of float64 for x of float64, of float32 for any other");
  STD_TORCH_CHECK(stride.size() == 3 && padding.size() == 3, "rubiks_shift: expected three strides and paddings");
  Shape p;
  p.batch = static_cast<int>(x.size(0)), p.time = static_cast<int>(x.size(1)), p.channels = static_cast<int>(x.size(2));
  p.height = static_cast<int>(x.size(3)), p.width = static_cast<int>(x.size(4));
  const int lengths[3] = {p.time, p.height, p.width};
  int out[3];
  for (int d = 0; d < 3; ++d) {
    STD_TORCH_CHECK(stride[d] >= 1 && padding[d] >= 0 && lengths[d] >= 1 && lengths[d] < (1 << 24), "rubiks_shift: a size, stride or padding is out of range");
    p.stride[d] = static_cast<int>(stride[d]), p.padding[d] = static_cast<int>(padding[d]);
    out[d] = (lengths[d] + 2 * p.padding[d] - 1) / p.stride[d] + 1;
  }
  p.out_time = out[0], p.out_height = out[1], p.out_width = out[2];
  STD_TORCH_CHECK(static_cast<int64_t>(p.height) * p.width < (1LL << 30) && static_cast<int64_t>(p.batch) * p.channels < (1LL << 31), "rubiks_shift: too large");
  p.quantize = quantize, p.away = away;
  return p;
}

cudaStream_t stream_of(const Tensor& x) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(x.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

dim3 grid(const Shape& p, int64_t rows, int64_t columns, int pixels) {
  const int64_t places = rows * ((columns + pixels - 1) / pixels);
  return dim3(static_cast<unsigned>(p.batch * p.channels), static_cast<unsigned>((places + kThreads - 1) / kThreads));
}

// Several pixels per thread where neighbours share what they read: with a stride of one.
template <class S> constexpr int kShared = sizeof(S) == 2 ? 4 : 2;

// Shared memory that a block may take: two have room even where a multiprocessor has 100 KiB.
constexpr int64_t kMostBytes = 51 * 1024;
constexpr int kForwardStages = 3, kBackwardStages = 2;

dim3 grid(const Shape& p, const Tiling& tiling) { return dim3(static_cast<unsigned>(p.batch * tiling.groups), static_cast<unsigned>(tiling.chunks)); }

// Whether whatever frame begins where the tensor does, at a multiple of 16 bytes.
template <class S>
bool aligned(const Shape& p, const S* tensor) {
  const auto whole = [&](int64_t elements) { return elements % kVector<S> == 0; };
  return reinterpret_cast<uintptr_t>(tensor) % 16 == 0 && whole(static_cast<int64_t>(p.channels) * p.height * p.width) &&
         whole(static_cast<int64_t>(p.channels) * p.out_height * p.out_width);
}

// More than 48 KiB must be asked for, with what the kernels have besides.
template <class S, class F>
int room_for(F kernel, const Tiling& tiling, int stages) {
  const int bytes = tiling.stage * stages * static_cast<int>(sizeof(S));
  if (bytes > 32 * 1024) STD_CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  return bytes;
}

template <class S, class A, bool kAdjoint, bool kUnit>
void run_tiles(const S* in, const A* shift, S* out, const Shape& p, const Tiling& tiling, cudaStream_t stream) {
  with_width<S, kUnit>(tiling, [&]<int kWide, int kTall>() {
    const auto kernel = resample_tiles_kernel<S, A, kAdjoint, kUnit, kWide, kTall, kForwardStages>;
    kernel<<<grid(p, tiling), tiling.threads, room_for<S>(kernel, tiling, kForwardStages), stream>>>(in, shift, out, p, tiling);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
}

template <class S, class A, bool kAdjoint>
void run(const Tensor& in, const Tensor& shift, Tensor& out, const Shape& p) {
  const S* from = static_cast<const S*>(in.const_data_ptr());
  const A* moves = static_cast<const A*>(shift.const_data_ptr());
  S* to = static_cast<S*>(out.mutable_data_ptr());
  Tiling tiling;
  if (divide_resampling<S>(p, kAdjoint, kForwardStages, kMostBytes, aligned<S>(p, from), &tiling)) {
    if (p.stride[1] == 1) return run_tiles<S, A, kAdjoint, true>(from, moves, to, p, tiling, stream_of(in));
    return run_tiles<S, A, kAdjoint, false>(from, moves, to, p, tiling, stream_of(in));
  }
  const int64_t rows = kAdjoint ? p.height : p.out_height, columns = kAdjoint ? p.width : p.out_width;
  if (p.stride[2] == 1) {
    resample_kernel<S, A, kAdjoint, kShared<S>><<<grid(p, rows, columns, kShared<S>), kThreads, 0, stream_of(in)>>>(from, moves, to, p);
  } else {
    resample_kernel<S, A, kAdjoint, 1><<<grid(p, rows, columns, 1), kThreads, 0, stream_of(in)>>>(from, moves, to, p);
  }
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

template <class S, class A>
void run_backward(const Tensor& grad, const Tensor& x, const Tensor& shift, Tensor& by_x, Tensor& by_shift, const Shape& p) {
  const S *upstream = static_cast<const S*>(grad.const_data_ptr()), *values = static_cast<const S*>(x.const_data_ptr());
  const A* moves = static_cast<const A*>(shift.const_data_ptr());
  S* to = static_cast<S*>(by_x.mutable_data_ptr());
  const bool fused = p.stride[0] == 1 && p.stride[1] == 1 && p.stride[2] == 1 && p.padding[0] == 0 && p.padding[1] == 0 && p.padding[2] == 0;
  Tiling tiling;
  const bool tiled = divide_differentiation<S>(p, kBackwardStages, kMostBytes, aligned<S>(p, upstream) && aligned<S>(p, values), &tiling);
  const int pixels = p.stride[2] == 1 ? kShared<S> : 1;
  const dim3 blocks = tiled ? grid(p, tiling) : grid(p, p.out_height, p.out_width, pixels);
  const int64_t count = static_cast<int64_t>(p.batch) * blocks.y;
  Tensor sums = torch::stable::new_empty(x, {3 * p.channels * count}, ScalarType::Double);
  double* partial = static_cast<double*>(sums.mutable_data_ptr());
  if (tiled) {
    const auto differentiate_tiles = [&]<bool kUnit>() {
      with_width<S, kUnit>(tiling, [&]<int kWide, int kTall>() {
        const auto kernel = differentiate_tiles_kernel<S, A, kUnit, kWide, kTall, kBackwardStages>;
        kernel<<<blocks, tiling.threads, room_for<S>(kernel, tiling, kBackwardStages), stream_of(x)>>>(upstream, values, moves, partial, p, tiling);
      });
    };
    p.stride[1] == 1 ? differentiate_tiles.template operator()<true>() : differentiate_tiles.template operator()<false>();
  } else if (pixels == 1) {
    differentiate_kernel<S, A, 1><<<blocks, kThreads, 0, stream_of(x)>>>(upstream, values, moves, fused ? to : nullptr, partial, p);
  } else {
    differentiate_kernel<S, A, kShared<S>><<<blocks, kThreads, 0, stream_of(x)>>>(upstream, values, moves, fused ? to : nullptr, partial, p);
  }
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  add_kernel<A><<<3 * p.channels, kThreads, 0, stream_of(x)>>>(partial, static_cast<A*>(by_shift.mutable_data_ptr()), count);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  if (!fused || tiled) run<S, A, true>(grad, shift, by_x, p);
}

template <class F>
void by_type(const Tensor& x, const F& body) {
  switch (x.scalar_type()) {
    case ScalarType::Double: return body.template operator()<double, double>();
    case ScalarType::Float: return body.template operator()<float, float>();
    case ScalarType::BFloat16: return body.template operator()<__nv_bfloat16, float>();
    case ScalarType::Half: return body.template operator()<__half, float>();
    default: STD_TORCH_CHECK(false, "rubiks_shift: expected float64, float32, bfloat16 or float16");
  }
}

Tensor forward(Tensor x, Tensor shift, std::vector<int64_t> stride, std::vector<int64_t> padding, bool quantize, bool away) {
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
  const Shape p = shape_of(x, shift, stride, padding, quantize, away);
  const Tensor in = torch::stable::contiguous(x), moves = torch::stable::contiguous(shift);
  Tensor out = torch::stable::new_empty(in, {p.batch, p.out_time, p.channels, p.out_height, p.out_width});
  if (out.numel() > 0) by_type(in, [&]<class S, class A>() { run<S, A, false>(in, moves, out, p); });
  return out;
}

std::tuple<Tensor, Tensor> backward(
    Tensor grad, Tensor x, Tensor shift, std::vector<int64_t> stride, std::vector<int64_t> padding, bool quantize, bool away) {
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
  const Shape p = shape_of(x, shift, stride, padding, quantize, away);
  const int64_t wanted[5] = {p.batch, p.out_time, p.channels, p.out_height, p.out_width};
  for (int d = 0; d < 5; ++d) STD_TORCH_CHECK(grad.dim() == 5 && grad.size(d) == wanted[d], "rubiks_shift_backward: grad has not the output's shape");
  STD_TORCH_CHECK(grad.scalar_type() == x.scalar_type(), "rubiks_shift_backward: expected grad and x of one dtype");
  const Tensor upstream = torch::stable::contiguous(grad), values = torch::stable::contiguous(x), moves = torch::stable::contiguous(shift);
  Tensor by_x = torch::stable::empty_like(values), by_shift = torch::stable::empty_like(moves);
  if (x.numel() == 0) {
    torch::stable::fill_(by_shift, 0.0);
  } else {
    by_type(values, [&]<class S, class A>() { run_backward<S, A>(upstream, values, moves, by_x, by_shift, p); });
  }
  return {by_x, by_shift};
}

}  // namespace
}  // namespace visagent::gpu

STABLE_TORCH_LIBRARY_IMPL(visagent, CUDA, m) {
  m.impl("rubiks_shift", TORCH_BOX(&visagent::gpu::forward));
  m.impl("rubiks_shift_backward", TORCH_BOX(&visagent::gpu::backward));
}

// What a GPU block does where frames pass through shared memory, a step for each: whatever its channels' shifts, a value is fetched once. A
// thread has kRows rows of one column of one channel and keeps of the frames before what it still needs. Plain C++ but for the qualifiers,
// as shift_body.h.
#pragma once

#include <cstdlib>
#include <cstring>

#include "shift_strip.h"
#ifdef __CUDACC__
#include <cuda_pipeline.h>
#endif

namespace visagent::gpu {

constexpr int kRows = 7;  // frames of video networks have 7, 14, 28, 56 and 112 rows
constexpr int kMostThreads = 224, kMostChannels = 64;

// How a tensor's frames are divided among blocks. A block has whole frames of several channels, or some rows of one.
struct Tiling {
  int columns, rows;  // of the output
  int wide, tall;  // columns and rows of a thread
  int lanes;  // threads for a row
  int channels, groups;  // of a block, and how many such groups a clip has
  int strips, chunks;  // of `tall` rows in a block, and how many blocks a frame has
  int threads;
  bool whole;
  int pitch[2];  // elements that one channel of each segment takes
  int pad;  // elements before and after each channel's that stay zero: a row, where all frames and rows begin at aligned addresses, or none
  int hop_channel[2], hop_vector[2];  // from what a thread brings to what it brings next
  int stage;  // elements of all segments and channels
};

template <class S> constexpr int kVector = 16 / static_cast<int>(sizeof(S));

// Room for so many elements from any place in memory on, in whole vectors.
template <class S>
constexpr int room(int64_t elements) {
  return static_cast<int>((elements + 2 * kVector<S> - 2) / kVector<S>) * kVector<S>;
}

// What of a tensor a block brings: of frames of rows x columns what `strips` rows of the output reach, with a stride and `more` beyond it.
struct Part {
  int rows, columns, stride, more;
};

// False where a frame is too wide for a block or for `bytes` of shared memory. `aligned`: whether the tensors are. A thread has `tall` rows of
// `wide` columns, which divide the frame's.
template <class S, int kParts>
bool divide(int channels, int rows, int columns, const Part (&parts)[kParts], int stages, int64_t bytes, bool aligned, Tiling* tiling, int wide = 1,
            int tall = kRows) {
  const int lanes = columns / wide;
  if (lanes > kMostThreads) return false;
  const int all_strips = (rows + tall - 1) / tall;
  const auto fits = [&](int of_channels, int strips, bool whole) {
    tiling->stage = 0, tiling->whole = whole;
    const bool pads = aligned && (whole ? parts[0].rows * parts[0].columns : parts[0].columns) % kVector<S> == 0;
    tiling->pad = pads ? room<S>(parts[0].columns) : 0;
    for (int s = 0; s < kParts; ++s) {
      const int64_t held = static_cast<int64_t>(strips * tall - 1) * parts[s].stride + 1 + parts[s].more;
      const int64_t kept = (whole || held > parts[s].rows ? parts[s].rows : held) * parts[s].columns;
      if (kept > (1 << 20)) return false;
      tiling->pitch[s] = room<S>(kept) + 2 * tiling->pad;
      tiling->stage += of_channels * tiling->pitch[s];
    }
    return static_cast<int64_t>(tiling->stage) * stages * static_cast<int64_t>(sizeof(S)) <= bytes;
  };
  tiling->columns = columns, tiling->rows = rows, tiling->wide = wide, tiling->tall = tall, tiling->lanes = lanes;
  tiling->channels = 0, tiling->strips = all_strips, tiling->chunks = 1;
  if (lanes * all_strips <= kMostThreads) {
    tiling->channels = kMostThreads / (lanes * all_strips);
    if (tiling->channels > kMostChannels) tiling->channels = kMostChannels;
    if (tiling->channels > channels) tiling->channels = channels;
    while (tiling->channels > 0 && !fits(tiling->channels, all_strips, true)) --tiling->channels;
  }
  if (tiling->channels == 0) {
    int strips = kMostThreads / lanes;
    while (strips > 0 && !fits(1, strips, false)) --strips;
    if (strips == 0) return false;
    tiling->channels = 1, tiling->chunks = (all_strips + strips - 1) / strips;
    tiling->strips = (all_strips + tiling->chunks - 1) / tiling->chunks;  // of one size
    fits(1, tiling->strips, false);
  }
  tiling->groups = (channels + tiling->channels - 1) / tiling->channels;
  tiling->threads = (tiling->channels * tiling->strips * lanes + 31) / 32 * 32;
  for (int i = 0; i < kParts; ++i) {
    const int vectors = (tiling->pitch[i] - 2 * tiling->pad) / kVector<S>;
    tiling->hop_channel[i] = tiling->threads / vectors, tiling->hop_vector[i] = tiling->threads % vectors;
  }
  return true;
}

// Rows of a strip: what a thread keeps of it must stay in registers.
constexpr int tall_of(int wide) { return wide == 8 ? 4 : kRows; }

// Columns of a thread: 16 bytes of them, or 8, where they divide all rows; else one. VISAGENT_OP_COLUMNS=1 has
// one always, for comparisons.
template <class S>
int wide_of(const Shape& p, bool aligned) {
  const char* asked = std::getenv("VISAGENT_OP_COLUMNS");
  if ((asked != nullptr && std::strcmp(asked, "1") == 0) || !aligned || sizeof(S) == 8 || p.stride[0] != 1 || p.stride[1] != 1 || p.stride[2] != 1) return 1;
  for (const int wide : {kVector<S>, kVector<S> / 2})
    if (p.width % wide == 0 && p.out_width % wide == 0) return wide;
  return 1;
}

// Calls `as` with a tiling for strips and, where these do not fit or rows do not begin at aligned addresses, for single columns.
template <class F>
bool as_strips(int wide, Tiling* tiling, const F& as) {
  return (wide > 1 && as(wide, tall_of(wide)) && tiling->pad > 0) || as(1, kRows);
}

template <class S>
bool divide_resampling(const Shape& p, bool adjoint, int stages, int64_t bytes, bool aligned, Tiling* tiling) {
  if (p.stride[0] != 1 || (adjoint && (p.stride[1] == 1) != (p.stride[2] == 1))) return false;
  return as_strips(wide_of<S>(p, aligned), tiling, [&](int wide, int tall) {
    if (adjoint) return divide<S, 1>(p.channels, p.height, p.width, {{p.out_height, p.out_width, 1, 1}}, stages, bytes, aligned, tiling, wide, tall);
    return divide<S, 1>(p.channels, p.out_height, p.out_width, {{p.height, p.width, p.stride[1], 1}}, stages, bytes, aligned, tiling, wide, tall);
  });
}

template <class S>
bool divide_differentiation(const Shape& p, int stages, int64_t bytes, bool aligned, Tiling* tiling) {
  if (p.stride[0] != 1) return false;
  const Part parts[2] = {{p.height, p.width, p.stride[1], 2}, {p.out_height, p.out_width, 1, 0}};
  return as_strips(wide_of<S>(p, aligned), tiling,
                   [&](int wide, int tall) { return divide<S, 2>(p.channels, p.out_height, p.out_width, parts, stages, bytes, aligned, tiling, wide, tall); });
}

// Calls `body` with kWide and kTall of a tiling.
template <class S, bool kUnit, class F>
auto with_width(const Tiling& tiling, const F& body) {
  if constexpr (kUnit && sizeof(S) < 8) {
    constexpr int kWide = kVector<S>;
    if (tiling.wide == kWide) return body.template operator()<kWide, tall_of(kWide)>();
    if (tiling.wide == kWide / 2) return body.template operator()<kWide / 2, tall_of(kWide / 2)>();
  }
  return body.template operator()<1, kRows>();
}

VISAGENT_BOTH int clip(int value, int most) { return value < 0 ? 0 : value > most ? most : value; }

// Which frames a channel looks at: step + begin, from `lowest` on, before `steps`.
struct Visit {
  int begin, lowest, steps;
};

// Part of a tensor's frames in shared memory: of each channel `count` elements.
template <class S>
struct Segment {
  const S *tensor, *end;  // all of it
  const S* source;  // the first element of the block's first channel in frame 0
  int64_t step;  // between frames
  int plane, frames;  // between channels, and how many there are
  int count;
  int offset, pitch, pad;  // within a stage, of the first channel and between channels
  int channel, vector;  // what the thread brings first

  VISAGENT_BOTH void begin(const Tiling& tiling, int which, int thread) {
    pitch = tiling.pitch[which], pad = tiling.pad;
    const int vectors = (pitch - 2 * pad) / kVector<S>;
    channel = thread / vectors, vector = thread % vectors;
  }
  VISAGENT_BOTH bool has(const Visit& visit, int step_) const {
    const int frame = step_ + visit.begin;
    return step_ < visit.steps && frame >= visit.lowest && frame < frames;
  }
  // How far the channel's first element is from an aligned address, in memory as in shared memory.
  VISAGENT_BOTH int phase(int of_channel, int frame) const {
    return static_cast<int>((static_cast<uint32_t>(reinterpret_cast<uintptr_t>(source) / sizeof(S)) + static_cast<uint32_t>(frame) * static_cast<uint32_t>(step) +
                             static_cast<uint32_t>(of_channel * plane)) %
                            kVector<S>);
  }
  // `visit_of` a channel says which of its frames is wanted. All threads go on by the same numbers of channels and vectors.
  template <class F>
  VISAGENT_BOTH void bring(S* stage, const F& visit_of, int channels, int step_, int hop_channel, int hop_vector) const {
    const int vectors = (pitch - 2 * pad) / kVector<S>;
    int g = channel, v = vector;
    while (g < channels) {
      const Visit visit = visit_of(g);
      const int frame = step_ + visit.begin, at = v * kVector<S> - phase(g, frame);
      if (has(visit, step_) && at < count) {
        const S* from = source + (frame * step + g * plane) + at;
        S* to = stage + offset + g * pitch + pad + v * kVector<S>;
        if (at >= 0 && at + kVector<S> <= count) {
#ifdef __CUDA_ARCH__
          __pipeline_memcpy_async(to, from, 16);
#else
          std::memcpy(to, from, 16);
#endif
        } else {
          for (int k = 0; k < kVector<S>; ++k)
            if (at + k >= 0 && at + k < count) to[k] = from[k];
        }
      }
      g += hop_channel, v += hop_vector;
      if (v >= vectors) v -= vectors, ++g;
    }
  }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  // The same by one warp and the copy engine, in whole vectors: with neighbours on both sides, so far as they are of the tensor. How many bytes
  // `barrier` will be told of.
  template <class F>
  __device__ __forceinline__ uint32_t send(S* stage, const F& visit_of, int channels, int step_, uint32_t barrier) const {
    uint32_t sent = 0;
    for (int g = threadIdx.x; g < channels; g += 32) {
      const Visit visit = visit_of(g);
      if (!has(visit, step_)) continue;
      const int frame = step_ + visit.begin, before = phase(g, frame), all = (before + count + kVector<S> - 1) / kVector<S> * kVector<S>;
      const S* from = source + (frame * step + g * plane) - before;
      S* to = stage + offset + g * pitch + pad;
      if (from >= tensor && from + all <= end) {
        const uint32_t bytes = static_cast<uint32_t>(all * sizeof(S));
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                         static_cast<uint32_t>(__cvta_generic_to_shared(to))),
                     "l"(from), "r"(bytes), "r"(barrier)
                     : "memory");
        sent += bytes;
      } else {
        for (int k = before; k < before + count; ++k) to[k] = from[k];
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");  // before the engine writes there again
      }
    }
    return sent;
  }
#endif
  VISAGENT_BOTH const S* begin_of(const S* stage, int of_channel, int frame) const { return stage + offset + of_channel * pitch + pad + phase(of_channel, frame); }

  // What stays zero in a stage.
  VISAGENT_BOTH void clear(S* stage, int channels, int thread, int threads) const {
    if (pad == 0) return;
    for (int g = 0; g < channels; ++g)
      for (int i = thread; i < 2 * pad; i += threads) Number<S>::store(stage + offset + g * pitch + (i < pad ? i : i + count), 0);
  }
};

// One axis of the interpolation or, where it has no stride, of its adjoint: position i reads places i * stride + offset and, with two, the next.
template <class A>
struct Reach {
  int in, stride, offset;
  int lowest;  // the first place that may be read
  int first;  // the first position that reads anything
  bool two;
  A weight[2];
};

template <bool kAdjoint, class A>
VISAGENT_BOTH Reach<A> reach(const Axis<A>& axis) {
  if constexpr (kAdjoint) {
    const A weight[2] = {axis.two ? axis.weight[1] : axis.weight[0], axis.weight[0]};
    return {axis.out, 1, axis.padding - axis.low - (axis.two ? 1 : 0), 0, axis.lowest, axis.two, {weight[0], weight[1]}};
  } else {
    return {axis.in, axis.stride, axis.low - axis.padding, axis.lowest, 0, axis.two, {axis.weight[0], axis.weight[1]}};
  }
}

// Neighbouring places of rows in shared memory, one row after the other; what is not there is zero, and another place is read instead.
struct Neighbours {
  int at;  // the first one's column
  uint32_t there;  // a bit for each
  int base;  // the row that shared memory begins with
  int first, last;  // rows that are there
};

template <class S, class A, int kCount, bool kInside>
struct Reader {
  const Neighbours& near;
  const S* const rows;
  int row, columns, from[kCount];

  VISAGENT_BOTH Reader(const Neighbours& near_, const S* rows_, int row_, int columns_) : near(near_), rows(rows_), row(row_), columns(columns_) {
#pragma unroll
    for (int j = 0; j < kCount; ++j) from[j] = (row - near.base) * columns + (near.there >> j & 1 ? near.at + j : 0);
  }
  VISAGENT_BOTH void next(A* out, int step = 1) {
    const bool has_row = kInside || (row >= near.first && row < near.last);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const bool has = has_row && (near.there >> j & 1);
      const A value = Number<S>::load(rows + (has_row ? from[j] : 0));
      out[j] = has ? value : A(0);
      from[j] += step * columns;
    }
    if (!kInside) row += step;
  }
};

// The adjoint of an interpolation with strides of two and more: what reads a place reads it with one of its two, or nothing does.
template <class A>
struct Origin {
  int at = 0, rest = 0;  // the place is the first (rest 0) or the second (rest 1) of position `at`
  Origin() = default;
  VISAGENT_BOTH Origin(const Axis<A>& axis, int place) {
    const int from = place + axis.padding - axis.low;
    at = from >= 0 ? from / axis.stride : -((axis.stride - 1 - from) / axis.stride), rest = from - at * axis.stride;
  }
  VISAGENT_BOTH void next(int stride) {
    if (++rest == stride) rest = 0, ++at;
  }
};

template <class S, class A>
VISAGENT_BOTH void spread_rows(const S* rows, const Neighbours& near, int columns, Origin<A> origin, int stride, const A (&by_height)[2], A by_width, bool two,
                               A* out) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const bool has = origin.rest <= (two ? 1 : 0) && near.there != 0 && origin.at >= near.first && origin.at < near.last;
    const A value = Number<S>::load(rows + (has ? (origin.at - near.base) * columns + near.at : 0));
    out[r] = has ? (origin.rest == 0 ? by_height[0] : by_height[1]) * (by_width * value) : A(0);
    origin.next(stride);
  }
}

// The interpolation of a frame in space at kRows positions. Of its rows those in [first, last) are there.
template <class S, class A, bool kUnit, bool kInside>
VISAGENT_BOTH void sample_rows(const S* rows, const Neighbours& near, int columns, int top, int stride, const A (&by_height)[2], const A (&by_width)[2],
                               bool two, A* out) {
  Reader<S, A, 2, kInside> reader(near, rows, top, columns);
  const auto along = [&](int step) {
    A value[2];
    reader.next(value, step);
    return by_width[0] * value[0] + by_width[1] * value[1];
  };
  A above = kUnit ? along(1) : A(0);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (!kUnit) above = along(1);
    const A below = along(kUnit ? 1 : stride - 1);
    out[r] = by_height[0] * above + (kInside || two ? by_height[1] * below : A(0));
    above = below;
  }
}

// An axis of the gradient's window, in few registers: two places with a difference of one, or at a whole shift three with the central one.
template <class A>
struct Slope {
  int start;
  bool whole;
  A rest;
  template <bool kMayBeWhole>
  VISAGENT_BOTH A value(int i) const {
    if (kMayBeWhole && whole) return i == 1 ? A(1) : A(0);
    return i == 0 ? 1 - rest : i == 1 ? rest : A(0);
  }
  template <bool kMayBeWhole>
  VISAGENT_BOTH A derivative(int i) const {
    if (kMayBeWhole && whole) return i == 0 ? A(-0.5) : i == 1 ? A(0) : A(0.5);
    return i == 0 ? A(-1) : i == 1 ? A(1) : A(0);
  }
};

template <class A>
VISAGENT_BOTH Slope<A> slope(const Axis<A>& axis) {
  return {axis.start, axis.count == 3, axis.count == 3 ? A(0) : axis.value[1]};
}

// What a column reads of the two places of an interpolation, of rows [first, last) and, padded, of a row of zeros on both sides.
template <class A>
VISAGENT_BOTH Neighbours neighbours(const Reach<A>& height, const Reach<A>& width, int w, int first, int last, bool padded) {
  const int at = w * width.stride + width.offset;
  const auto there = [&](int place) { return w >= width.first && place >= width.lowest && place < width.in; };
  const uint32_t both = (there(at) ? 1u : 0u) | (width.two && there(at + 1) ? 2u : 0u);
  const int pad = padded ? 1 : 0;
  return {at, both, first, first >= height.lowest ? first - pad : height.lowest, last + pad};
}

// A thread's strip of a row that is read: where it begins, as an aligned place and the rest, and which of its values are there.
template <class S, int kWide>
struct StripOf {
  int start, rest, skipped;  // columns of the output that read nothing
  bool two;
  typename Strip<S, kWide>::Mask mask;
  StripOf() = default;
  VISAGENT_BOTH StripOf(int at, int lowest, int in, int wanted, int skipped_) : skipped(skipped_), two(wanted > kWide) {
    uint32_t there = 0;
#pragma unroll
    for (int j = 0; j <= kWide; ++j)
      if (j < wanted && at + j >= lowest && at + j < in) there |= 1u << j;
    if (there == 0) at = 0;
    rest = at & (kWide - 1), start = at - rest, mask = typename Strip<S, kWide>::Mask(there);
  }
};
template <class S>
struct StripOf<S, 1> {};

// A block's channels of a clip and its rows of the output, and what of them a thread has: a channel's columns from w on, `rows` rows from h on.
struct Place {
  int n, first_channel, channels, begin, end;
  int channel, w, h, rows;

  VISAGENT_BOTH Place(const Shape& p, const Tiling& tiling, int group, int chunk, int thread) {
    n = group / tiling.groups;
    first_channel = (group - n * tiling.groups) * tiling.channels;
    channels = p.channels - first_channel < tiling.channels ? p.channels - first_channel : tiling.channels;
    begin = chunk * tiling.strips * tiling.tall, end = begin + tiling.strips * tiling.tall;
    if (end > tiling.rows) end = tiling.rows;
    const int each = tiling.strips * tiling.lanes;
    channel = tiling.channels == 1 ? 0 : thread / each;
    const int rest = thread - channel * each, strip = rest / tiling.lanes;
    w = (rest - strip * tiling.lanes) * tiling.wide, h = begin + strip * tiling.tall;
    rows = channel < channels && strip < tiling.strips ? clip(end - h, tiling.tall) : 0;
    if (channel >= channels) channel = 0;
  }
};

template <class A>
VISAGENT_BOTH void axes_of(const Shape& p, const A* shift, int channel, Axis<A>* out) {
  const int in[3] = {p.time, p.height, p.width}, outs[3] = {p.out_time, p.out_height, p.out_width};
#pragma unroll
  for (int d = 0; d < 3; ++d)
    out[d] = axis<A>(shift[d * p.channels + channel], in[d], outs[d], p.stride[d], p.padding[d], p.quantize, p.away);
}

// Forward, or as the adjoint the gradient by x: without a stride in time, as the adjoint with both in space or none. What one thread does: with
// kWide columns of its own, which are read and written as strips, only without strides and where rows begin at aligned addresses.
template <class S, class A, bool kAdjoint, bool kUnit, int kWide = 1, int kTall = kRows>
struct Resampling {
  static constexpr bool kSpread = kAdjoint && !kUnit;
  static_assert(kWide == 1 || kUnit);
  int channels, channel, rows, steps;
  Segment<S> segment;
  Neighbours across;
  int columns, top, stride;  // of what is read, with its first row
  int skipped;  // rows of the output that read nothing
  bool inside, two, two_rows, defined;
  Origin<A> origin;  // of the first row, for the adjoint with strides
  int first_frame;  // of the output that reads anything
  A by_time[2], by_height[2], by_width[2], empty;
  A before[kTall * kWide];
  S* out;
  int64_t out_step;
  int out_columns;
  StripOf<S, kWide> strip;

  VISAGENT_BOTH Resampling(const S* in, const A* shift, S* out_, const Shape& p, const Tiling& tiling, int group, int chunk, int thread) {
    const Place place(p, tiling, group, chunk, thread);
    channels = place.channels, channel = place.channel, rows = place.rows;
    Axis<A> axes[3];
    axes_of(p, shift, place.first_channel + channel, axes);
    const Reach<A> time = reach<kAdjoint>(axes[0]), height = reach<kAdjoint>(axes[1]), width = reach<kAdjoint>(axes[2]);
    const int in_rows = kAdjoint ? p.out_height : p.height, frames = kAdjoint ? p.time : p.out_time;
    columns = kAdjoint ? p.out_width : p.width;
    int first = 0, last = in_rows;
    if (!tiling.whole) {
      first = clip(kSpread ? Origin<A>(axes[1], place.begin).at : place.begin * height.stride + height.offset, in_rows);
      last = clip(kSpread ? Origin<A>(axes[1], place.end - 1).at + 1 : (place.end - 1) * height.stride + height.offset + 2, in_rows);
      if (place.begin >= place.end) last = first;
    }
    segment.frames = kAdjoint ? p.out_time : p.time, segment.plane = in_rows * columns;
    segment.step = static_cast<int64_t>(p.channels) * segment.plane;
    segment.source = in + place.n * segment.frames * segment.step + static_cast<int64_t>(place.first_channel) * segment.plane + first * columns;
    segment.count = (last - first) * columns, segment.offset = 0;
    segment.tensor = in, segment.end = in + p.batch * segment.frames * segment.step;
    segment.begin(tiling, 0, thread);
    steps = frames + 1;

    across = neighbours(height, width, place.w, first, last, tiling.pad > 0);
    top = place.h * height.stride + height.offset, stride = kSpread ? axes[1].stride : height.stride, skipped = height.first - place.h;
    two = time.two, two_rows = height.two, first_frame = time.first;
    inside = rows == kTall && two_rows && skipped <= 0 && top >= across.first && top + (kTall - 1) * stride + 1 < (kWide > 1 ? across.last : last);
    if constexpr (kWide > 1) {
      strip = StripOf<S, kWide>(place.w + width.offset, width.lowest, width.in, width.two ? kWide + 1 : kWide, width.first - place.w);
      inside = inside && width.two;
    }
    for (int i = 0; i < 2; ++i) by_time[i] = time.weight[i], by_height[i] = height.weight[i], by_width[i] = width.weight[i];
    if constexpr (kSpread) {
      const Origin<A> column(axes[2], place.w);
      const bool there = place.w >= axes[2].lowest && column.rest <= (axes[2].two ? 1 : 0) && column.at >= 0 && column.at < axes[2].out;
      across.at = column.at, across.there = there ? 1 : 0, by_width[0] = column.rest == 0 ? axes[2].weight[0] : axes[2].weight[1];
      across.first = first, across.last = last;
      for (int i = 0; i < 2; ++i) by_height[i] = axes[1].weight[i];
      origin = Origin<A>(axes[1], place.h);
    }
    empty = nothing(axes[0], axes[1], axes[2]), defined = empty == empty;
#pragma unroll
    for (int r = 0; r < kTall * kWide; ++r) before[r] = 0;
    const int64_t plane = static_cast<int64_t>(tiling.rows) * tiling.columns;
    out_step = p.channels * plane, out_columns = tiling.columns;
    out = out_ + place.n * frames * out_step + (place.first_channel + channel) * plane + place.h * out_columns + place.w;
  }

  VISAGENT_BOTH static Visit visit(const Shape& p, const A* shift, int channel) {
    Axis<A> axes[3];
    axes_of(p, shift, channel, axes);
    const Reach<A> time = reach<kAdjoint>(axes[0]);
    return {time.offset, time.lowest, (kAdjoint ? p.time : p.out_time) + (time.two ? 1 : 0)};
  }

  VISAGENT_BOTH void bring(const Tiling& tiling, S* stage, const Visit* visits, int step) const {
    segment.bring(stage, [=](int g) { return visits[g]; }, channels, step, tiling.hop_channel[0], tiling.hop_vector[0]);
  }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __device__ __forceinline__ uint32_t send(S* stage, const Visit* visits, int step, uint32_t barrier) const {
    return segment.send(stage, [=](int g) { return visits[g]; }, channels, step, barrier);
  }
#endif

  VISAGENT_BOTH void clear(const Tiling& tiling, S* stage, int thread) const { segment.clear(stage, channels, thread, tiling.threads); }

  VISAGENT_BOTH void look(const S* stage, const Visit* visits, int step) {
    if (rows == 0) return;
    const Visit visit = visits[channel];
    if (step >= visit.steps) return;
    if constexpr (kWide > 1) {
      const int t = two ? step - 1 : step;
      const bool there = segment.has(visit, step), counts = defined && t >= first_frame;
      const S* from = segment.begin_of(stage, channel, step + visit.begin);
      if (inside && there && counts && t >= 0) {
        if (two) return look_strips<true, true>(from, true, t, true);
        return look_strips<true, false>(from, true, t, true);
      }
      return look_strips<false, true>(from, there, t, counts);
    }
    A now[kRows];
    if (!segment.has(visit, step)) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) now[r] = 0;
    } else {
      const S* from = segment.begin_of(stage, channel, step + visit.begin);
      if constexpr (kSpread) {
        spread_rows<S, A>(from, across, columns, origin, stride, by_height, by_width[0], two_rows, now);
#pragma unroll
        for (int r = 0; r < kRows; ++r) now[r] = r < skipped ? A(0) : now[r];
      } else if (inside) {
        sample_rows<S, A, kUnit, true>(from, across, columns, top, stride, by_height, by_width, two_rows, now);
      } else {
        sample_rows<S, A, kUnit, false>(from, across, columns, top, stride, by_height, by_width, two_rows, now);
#pragma unroll
        for (int r = 0; r < kRows; ++r) now[r] = r < skipped ? A(0) : now[r];
      }
    }
    const int t = two ? step - 1 : step;
    if (t >= 0) {
      S* to = out + t * out_step;
      const A earlier = two ? by_time[0] : A(0), later = two ? by_time[1] : by_time[0];
      if (rows == kRows && defined && t >= first_frame) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          Number<S>::store(to, earlier * before[r] + later * now[r]);
          to += out_columns;
        }
      } else {
        for (int r = 0; r < rows; ++r) {
          A value = empty;
          if (defined && t >= first_frame) {
#pragma unroll
            for (int k = 0; k < kRows; ++k)
              if (k == r) value = earlier * before[k] + later * now[k];
          }
          Number<S>::store(to, value);
          to += out_columns;
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) before[r] = two ? now[r] : A(0);
  }

  // A row of the frame interpolated along its columns.
  template <bool kFast>
  VISAGENT_BOTH void along(const S* frame, bool there, int row, A* out_) const {
    if (!kFast && !(there && row >= across.first && row < across.last)) {
#pragma unroll
      for (int j = 0; j < kWide; ++j) out_[j] = 0;
      return;
    }
    A line[kWide + 1];
    Strip<S, kWide>::read(frame + (row - across.base) * columns + strip.start, strip.rest, strip.mask, line);
#pragma unroll
    for (int j = 0; j < kWide; ++j) out_[j] = by_width[0] * line[j] + (kFast || strip.two ? by_width[1] * line[j + 1] : A(0));
  }

  // Goes down the rows of a frame, if it is there, and writes output t, if there is one: fast where all of it reads two places along each axis
  // of space, and in time as kTwo says.
  template <bool kFast, bool kTwo>
  VISAGENT_BOTH void look_strips(const S* frame, bool there, int t, bool counts) {
    const A earlier = kFast || two ? by_time[0] : A(0), later = kFast ? by_time[kTwo ? 1 : 0] : two ? by_time[1] : by_time[0];
    S* to = out + t * out_step;
    A above[kWide], below[kWide], value[kWide];
    along<kFast>(frame, there, top, above);
#pragma unroll
    for (int r = 0; r < kTall; ++r) {
      along<kFast>(frame, there, top + r + 1, below);
#pragma unroll
      for (int j = 0; j < kWide; ++j) {
        A now = by_height[0] * above[j] + (kFast || two_rows ? by_height[1] * below[j] : A(0));
        if (!kFast && (r < skipped || j < strip.skipped)) now = 0;
        A& last = before[r * kWide + j];
        value[j] = kTwo ? earlier * last + later * now : later * now;
        if (!kFast && !counts) value[j] = empty;
        last = kFast ? (kTwo ? now : A(0)) : two ? now : A(0);
        above[j] = below[j];
      }
      if (kFast || (t >= 0 && r < rows)) Strip<S, kWide>::write(to, value);
      to += out_columns;
    }
  }
};

// The gradient by the shift, without a stride in time. Segments: x, and the upstream gradient where it is. What one thread does; kWide as for
// Resampling.
template <class S, class A, bool kUnit, int kWide = 1, int kTall = kRows>
struct Differentiation {
  static_assert(kWide == 1 || kUnit);
  int channels, first_channel, channel, rows, steps;
  Segment<S> x, upstream;
  int time, columns, x_columns, stride;
  Neighbours around;
  int top, own;
  bool inside;
  Slope<A> in_time, in_height, in_width;
  A before[kTall * kWide], second[kTall * kWide];  // the upstream gradients of the last outputs
  A sums[3];
  StripOf<S, kWide> strip;

  VISAGENT_BOTH Differentiation(const S* grad, const S* x_, const A* shift, const Shape& p, const Tiling& tiling, int group, int chunk, int thread) {
    const Place place(p, tiling, group, chunk, thread);
    channels = place.channels, first_channel = place.first_channel, channel = place.channel, rows = place.rows;
    time = p.out_time, columns = p.out_width, x_columns = p.width, steps = p.out_time + 2, stride = p.stride[1];
    Axis<A> axes[3];
    axes_of(p, shift, first_channel + channel, axes);
    in_time = slope(axes[0]), in_height = slope(axes[1]), in_width = slope(axes[2]);
    const int start = in_height.start - p.padding[1];
    int first = 0, last = p.height;
    if (!tiling.whole) {
      first = clip(place.begin * stride + start, p.height);
      last = place.begin < place.end ? clip((place.end - 1) * stride + start + axes[1].count, p.height) : first;
    }
    x.frames = p.time, x.plane = p.height * p.width, x.step = static_cast<int64_t>(p.channels) * x.plane;
    upstream.frames = p.out_time, upstream.plane = p.out_height * p.out_width, upstream.step = static_cast<int64_t>(p.channels) * upstream.plane;
    x.tensor = x_, x.end = x_ + p.batch * x.frames * x.step;
    x.source = x_ + place.n * x.frames * x.step + static_cast<int64_t>(first_channel) * x.plane + first * x_columns;
    x.count = (last - first) * x_columns, x.offset = 0;
    upstream.tensor = grad, upstream.end = grad + p.batch * upstream.frames * upstream.step;
    upstream.source = grad + place.n * upstream.frames * upstream.step + static_cast<int64_t>(first_channel) * upstream.plane + place.begin * columns;
    upstream.count = (place.end - place.begin) * columns, upstream.offset = tiling.channels * tiling.pitch[0];
    x.begin(tiling, 0, thread), upstream.begin(tiling, 1, thread);

    const int pad = tiling.pad > 0 ? 1 : 0;
    around = {place.w * p.stride[2] - p.padding[2] + in_width.start, 0, first, first - pad, last + pad};
    for (int j = 0; j < axes[2].count; ++j) around.there |= around.at + j >= 0 && around.at + j < x_columns ? 1u << j : 0u;
    top = place.h * stride + start, own = (place.h - place.begin) * columns + place.w;
    inside = kUnit && rows == kTall && top >= around.first && top + kTall < around.last;
    if constexpr (kWide > 1) {
      strip = StripOf<S, kWide>(around.at, 0, x_columns, kWide + 1, 0);
      inside = inside && !in_time.whole && !in_height.whole && !in_width.whole;
    }
    for (int d = 0; d < 3; ++d) sums[d] = rows > 0 ? nothing(axes[0], axes[1], axes[2]) : A(0);
#pragma unroll
    for (int r = 0; r < kTall * kWide; ++r) before[r] = second[r] = 0;
  }

  // Of x; of the upstream gradient the step is the frame.
  VISAGENT_BOTH static Visit visit(const Shape& p, const A* shift, int channel) {
    Axis<A> axes[3];
    axes_of(p, shift, channel, axes);
    return {axes[0].start - p.padding[0], 0, p.out_time + axes[0].count - 1};
  }

  VISAGENT_BOTH void bring(const Tiling& tiling, S* stage, const Visit* visits, int step) const {
    const Visit same{0, 0, time};
    x.bring(stage, [=](int g) { return visits[g]; }, channels, step, tiling.hop_channel[0], tiling.hop_vector[0]);
    upstream.bring(stage, [=](int) { return same; }, channels, step, tiling.hop_channel[1], tiling.hop_vector[1]);
  }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __device__ __forceinline__ uint32_t send(S* stage, const Visit* visits, int step, uint32_t barrier) const {
    const Visit same{0, 0, time};
    const uint32_t sent = x.send(stage, [=](int g) { return visits[g]; }, channels, step, barrier);
    return sent + upstream.send(stage, [=](int) { return same; }, channels, step, barrier);
  }
#endif
  VISAGENT_BOTH void clear(const Tiling& tiling, S* stage, int thread) const { x.clear(stage, channels, thread, tiling.threads); }

  VISAGENT_BOTH void look(const S* stage, const Visit* visits, int step) {
    if (rows == 0) return;
    if constexpr (kWide > 1) return look_strips(stage, visits[channel], step);
    A here[kRows];
    if (step < time) {
      const S* from = upstream.begin_of(stage, channel, step) + own;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        here[r] = r < rows ? A(Number<S>::load(from)) : A(0);
        from += columns;
      }
    } else {
#pragma unroll
      for (int r = 0; r < kRows; ++r) here[r] = 0;
    }
    const Visit visit = visits[channel];
    if (x.has(visit, step)) {
      const S* from = x.begin_of(stage, channel, step + visit.begin);
      if (in_height.whole || in_width.whole) {
        add<false, 3>(from, here);
      } else if (kUnit && inside) {
        add<kUnit, 2>(from, here);
      } else {
        add<false, 2>(from, here);
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) second[r] = before[r], before[r] = here[r];
  }

  // The upstream gradients of a row, if it is there; zeros after the last frame.
  VISAGENT_BOTH void given(const S* frame, int row, bool there, A* out) const {
    if (there) return Strip<S, kWide>::read(frame + row * columns, out);
#pragma unroll
    for (int j = 0; j < kWide; ++j) out[j] = 0;
  }

  VISAGENT_BOTH void look_strips(const S* stage, const Visit& visit, int step) {
    const S* grads = step < time ? upstream.begin_of(stage, channel, step) + own : nullptr;
    const bool there = x.has(visit, step);
    const S* from = x.begin_of(stage, channel, step + visit.begin);
    if (there && inside) return grads == nullptr ? add_strips<false>(from, grads) : add_strips<true>(from, grads);
    A here[kWide];
    if (there) {
      A earlier[kTall * kWide];  // of what is found by number, a copy: the rest stays in registers
#pragma unroll
      for (int k = 0; k < kTall * kWide; ++k) earlier[k] = before[k];
#pragma unroll 1
      for (int j = 0; j < kWide; ++j) add_column(from, grads, j, earlier);
    }
#pragma unroll
    for (int r = 0; r < kTall; ++r) {
      given(grads, r, grads != nullptr && r < rows, here);
#pragma unroll
      for (int j = 0; j < kWide; ++j) {
        if (in_time.whole) second[r * kWide + j] = before[r * kWide + j];
        before[r * kWide + j] = here[j];
      }
    }
  }

  // As `add` for a strip that reads two places along each axis, with the upstream gradients of this frame, if there are some.
  template <bool kGiven>
  VISAGENT_BOTH void add_strips(const S* frame, const S* grads) {
    A above[kWide], above_slope[kWide], below[kWide], below_slope[kWide], here[kWide];
    const S* from = frame + (top - around.base) * x_columns + strip.start;
    const auto along = [&](A* value, A* by_column) {
      A line[kWide + 1];
      Strip<S, kWide>::read(from, strip.rest, strip.mask, line);
#pragma unroll
      for (int j = 0; j < kWide; ++j) by_column[j] = line[j + 1] - line[j], value[j] = (1 - in_width.rest) * line[j] + in_width.rest * line[j + 1];
      from += x_columns;
    };
    along(above, above_slope);
#pragma unroll
    for (int r = 0; r < kTall; ++r) {
      along(below, below_slope);
      given(grads, r, kGiven, here);
#pragma unroll
      for (int j = 0; j < kWide; ++j) {
        A& last = before[r * kWide + j];
        const A by_row = below[j] - above[j], all = (1 - in_height.rest) * above[j] + in_height.rest * below[j];
        const A by_column = (1 - in_height.rest) * above_slope[j] + in_height.rest * below_slope[j];
        const A change = last - here[j], value_of = (1 - in_time.rest) * here[j] + in_time.rest * last;
        sums[0] += change * all, sums[1] += value_of * by_row, sums[2] += value_of * by_column;
        last = here[j], above[j] = below[j], above_slope[j] = below_slope[j];
      }
    }
  }

  // A column of the strip, whatever it reads; `earlier` as `before`.
  VISAGENT_BOTH void add_column(const S* frame, const S* grads, int j, const A* earlier) {
    Neighbours near = around;
    near.at += j, near.there = 0;
#pragma unroll
    for (int i = 0; i < 3; ++i)
      if ((i < 2 || in_width.whole) && near.at + i >= 0 && near.at + i < x_columns) near.there |= 1u << i;
    Reader<S, A, 3, false> reader(near, frame, top, x_columns);
    A along[3] = {}, slopes[3] = {};
    const auto read = [&] {
      A line[3], value = 0, by_column = 0;
      reader.next(line);
#pragma unroll
      for (int i = 0; i < 3; ++i) value += in_width.template value<true>(i) * line[i], by_column += in_width.template derivative<true>(i) * line[i];
      along[0] = along[1], along[1] = along[2], along[2] = value;
      slopes[0] = slopes[1], slopes[1] = slopes[2], slopes[2] = by_column;
    };
    read(), read();
#pragma unroll 1
    for (int r = 0; r < rows; ++r) {
      read();
      A all = 0, by_row = 0, by_column = 0;
#pragma unroll
      for (int i = 0; i < 3; ++i) {
        const bool used = i < 2 || in_height.whole;
        all += used ? in_height.template value<true>(i) * along[i] : A(0);
        by_row += used ? in_height.template derivative<true>(i) * along[i] : A(0);
        by_column += used ? in_height.template value<true>(i) * slopes[i] : A(0);
      }
      const A here = grads == nullptr ? A(0) : A(Number<S>::load(grads + r * columns + j)), last = earlier[r * kWide + j];
      const A value_of = in_time.whole ? last : (1 - in_time.rest) * here + in_time.rest * last;
      const A change = in_time.whole ? A(0.5) * (second[r * kWide + j] - here) : last - here;
      sums[0] += change * all, sums[1] += value_of * by_row, sums[2] += value_of * by_column;
    }
  }

  // A frame of x, and the upstream gradients of the outputs that read it: `here`, those one step before, and two before.
  template <bool kInside, int kWindow>
  VISAGENT_BOTH void add(const S* frame, const A* here) {
    constexpr bool kMayBeWhole = kWindow == 3;
    Reader<S, A, kWindow, kInside> reader(around, frame, top, x_columns);
    A along[kWindow] = {}, slopes[kWindow] = {};  // of the last kWindow rows: interpolated along the row, and by the derivative
    const auto read = [&](int step) {
      A line[kWindow], value = 0, by_column = 0;
      reader.next(line, step);
#pragma unroll
      for (int j = 0; j < kWindow; ++j)
        value += in_width.template value<kMayBeWhole>(j) * line[j], by_column += in_width.template derivative<kMayBeWhole>(j) * line[j];
#pragma unroll
      for (int i = 0; i + 1 < kWindow; ++i) along[i] = along[i + 1], slopes[i] = slopes[i + 1];
      along[kWindow - 1] = value, slopes[kWindow - 1] = by_column;
    };
#pragma unroll
    for (int i = 0; i + 1 < kWindow && kUnit; ++i) read(1);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int i = 0; i + 1 < kWindow && !kUnit; ++i) read(1);
      read(kUnit ? 1 : stride - kWindow + 1);
      A all = 0, by_row = 0, by_column = 0;
#pragma unroll
      for (int i = 0; i < kWindow; ++i) {
        const bool used = i < 2 || in_height.whole;
        all += used ? in_height.template value<kMayBeWhole>(i) * along[i] : A(0);
        by_row += used ? in_height.template derivative<kMayBeWhole>(i) * along[i] : A(0);
        by_column += used ? in_height.template value<kMayBeWhole>(i) * slopes[i] : A(0);
      }
      const A value_of = in_time.whole ? before[r] : (1 - in_time.rest) * here[r] + in_time.rest * before[r];
      const A change = in_time.whole ? A(0.5) * (second[r] - here[r]) : before[r] - here[r];
      const bool counts = kInside || r < rows;
      sums[0] += counts ? change * all : A(0), sums[1] += counts ? value_of * by_row : A(0), sums[2] += counts ? value_of * by_column : A(0);
    }
  }
};

}  // namespace visagent::gpu

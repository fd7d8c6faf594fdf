// Several neighbouring values of a row at once: a strip. It is read as two aligned vectors of shared memory, from which the wanted values are
// taken in registers, wherever the strip begins; and written as one vector. Plain C++ but for the qualifiers, as shift_body.h.
#pragma once

#include <cstring>

#include "shift_body.h"

namespace visagent::gpu {

// `Number` of a type of two bytes has besides: split(word, &first, &second) and join(first, second).
template <class S, int kWide>
struct Strip {
  static constexpr int kPerWord = 4 / static_cast<int>(sizeof(S)), kWords = kWide / kPerWord;
  static_assert(kWords == 2 || kWords == 4);

  // Which of kWide + 1 values are there, as bits of words.
  struct Mask {
    uint32_t words[kWords + 1];
    Mask() = default;
    VISAGENT_BOTH explicit Mask(uint32_t there) {
#pragma unroll
      for (int k = 0; k <= kWords; ++k) {
        words[k] = 0;
#pragma unroll
        for (int i = 0; i < kPerWord; ++i)
          if (there >> (k * kPerWord + i) & 1) words[k] |= kPerWord == 1 ? 0xffffffffu : 0xffffu << 16 * i;
      }
    }
  };

  VISAGENT_BOTH static void load(const S* from, uint32_t* words) {
#ifdef __CUDA_ARCH__
    if constexpr (kWords == 4) {
      const uint4 all = *reinterpret_cast<const uint4*>(from);
      words[0] = all.x, words[1] = all.y, words[2] = all.z, words[3] = all.w;
    } else {
      const uint2 all = *reinterpret_cast<const uint2*>(from);
      words[0] = all.x, words[1] = all.y;
    }
#else
    VISAGENT_ALIGNED(from, 4 * kWords);
    std::memcpy(words, from, 4 * kWords);
#endif
  }

  template <class A>
  VISAGENT_BOTH static void numbers(const uint32_t* words, int count, A* out) {
#pragma unroll
    for (int k = 0; k <= kWords; ++k) {
      if constexpr (kPerWord == 1) {
        if (k < count) std::memcpy(out + k, words + k, 4);
      } else {
        A first, second;
        Number<S>::split(words[k], &first, &second);
        if (2 * k < count) out[2 * k] = first;
        if (2 * k + 1 < count) out[2 * k + 1] = second;
      }
    }
  }

  // The kWide values from an aligned address on.
  template <class A>
  VISAGENT_BOTH static void read(const S* from, A* out) {
    uint32_t words[kWords + 1] = {};
    load(from, words);
    numbers(words, kWide, out);
  }

  // The kWide + 1 values from `rest` places after an aligned address on, 0 <= rest < kWide; what is not there is zero.
  template <class A>
  VISAGENT_BOTH static void read(const S* from, int rest, const Mask& mask, A* out) {
    uint32_t words[2 * kWords];
    load(from, words), load(from + kWide, words + kWords);
#pragma unroll
    for (int step = kWords / 2; step > 0; step /= 2) {
      const bool moves = rest & step * kPerWord;
#pragma unroll
      for (int k = 0; k < kWords + step; ++k) words[k] = moves ? words[k + step] : words[k];
    }
    if constexpr (kPerWord == 2) {
      const bool moves = rest & 1;
#pragma unroll
      for (int k = 0; k < kWords; ++k) words[k] = moves ? words[k] >> 16 | words[k + 1] << 16 : words[k];
      words[kWords] = moves ? words[kWords] >> 16 : words[kWords];
    }
#pragma unroll
    for (int k = 0; k <= kWords; ++k) words[k] &= mask.words[k];
    numbers(words, kWide + 1, out);
  }

  template <class A>
  VISAGENT_BOTH static void write(S* to, const A* values) {
    uint32_t words[kWords];
#pragma unroll
    for (int k = 0; k < kWords; ++k) {
      if constexpr (kPerWord == 1) {
        std::memcpy(words + k, values + k, 4);
      } else {
        words[k] = Number<S>::join(values[2 * k], values[2 * k + 1]);
      }
    }
#ifdef __CUDA_ARCH__
    if constexpr (kWords == 4) {
      *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
    } else {
      *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
    }
#else
    VISAGENT_ALIGNED(to, 4 * kWords);
    std::memcpy(to, words, 4 * kWords);
#endif
  }
};

}  // namespace visagent::gpu

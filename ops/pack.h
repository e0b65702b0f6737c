// Numbers that lie side by side, read and written together.
#pragma once

#include "scalar.h"

namespace stylemix {

// Aligned for one access to memory, of 16 bytes at most.
template <class T, int V>
struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) Pack {
  T v[V];
};

// Reads V numbers from an address that is aligned for them, and that nothing writes to meanwhile.
template <int V, class T>
STYLEMIX_HD Pack<T, V> load(const T* from) {
  Pack<T, V> pack;
#if defined(__CUDA_ARCH__)
  // Through the read-only path, so that the compiler may move it before earlier writes.
  constexpr int kBytes = sizeof(T) * V;
  if constexpr (kBytes == 2) {
    *reinterpret_cast<unsigned short*>(&pack) = __ldg(reinterpret_cast<const unsigned short*>(from));
  } else if constexpr (kBytes == 4) {
    *reinterpret_cast<unsigned*>(&pack) = __ldg(reinterpret_cast<const unsigned*>(from));
  } else if constexpr (kBytes == 8) {
    *reinterpret_cast<uint2*>(&pack) = __ldg(reinterpret_cast<const uint2*>(from));
  } else {
    static_assert(kBytes % 16 == 0, "no such access");
    STYLEMIX_UNROLL
    for (int i = 0; i < kBytes / 16; i++)
      reinterpret_cast<uint4*>(&pack)[i] = __ldg(reinterpret_cast<const uint4*>(from) + i);
  }
#else
  if constexpr (V == 1)
    pack.v[0] = *from;
  else
    pack = *reinterpret_cast<const Pack<T, V>*>(from);
#endif
  return pack;
}

template <int V, class T>
STYLEMIX_HD void store(T* to, const Pack<T, V>& pack) {
  if constexpr (V == 1)
    *to = pack.v[0];
  else
    *reinterpret_cast<Pack<T, V>*>(to) = pack;
}

}  // namespace stylemix

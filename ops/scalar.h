// Numbers of every type as the kernels see them: read to, and written from, an accumulator.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define STYLEMIX_HD __host__ __device__ __forceinline__
#if defined(__CUDA_ARCH__)
#define STYLEMIX_UNROLL _Pragma("unroll")
#else
#define STYLEMIX_UNROLL
#endif
#else
#define STYLEMIX_HD inline __attribute__((always_inline))
#define STYLEMIX_UNROLL _Pragma("GCC unroll 64")
#endif

#if !defined(__CUDACC__) && defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && \
    !defined(__clang__)
#if __GLIBC_PREREQ(2, 35)
// Tells the compiler of the vector versions in libmvec, which it otherwise hears of only under
// -ffast-math.
extern "C" {
#define STYLEMIX_SIMD __attribute__((simd("notinbranch")))
STYLEMIX_SIMD float expf(float) noexcept;
STYLEMIX_SIMD float expm1f(float) noexcept;
STYLEMIX_SIMD float log1pf(float) noexcept;
STYLEMIX_SIMD float tanhf(float) noexcept;
}
#endif
#endif

namespace stylemix {

using c10::BFloat16;
using c10::Half;

// float16 and bfloat16 are computed in float32.
template <class T>
struct AccumulatorOf {
  using type = float;
};
template <>
struct AccumulatorOf<double> {
  using type = double;
};
template <class T>
using Accumulator = typename AccumulatorOf<T>::type;

template <class T>
STYLEMIX_HD Accumulator<T> read(T value) {
  return static_cast<Accumulator<T>>(value);
}

template <class T>
STYLEMIX_HD T write(Accumulator<T> value) {
  return static_cast<T>(value);
}

#if !defined(__CUDACC__)
// The same as bit operations, which compilers turn into vector instructions.
template <>
STYLEMIX_HD float read<BFloat16>(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.x) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

template <>
STYLEMIX_HD BFloat16 write<BFloat16>(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // half to even
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return BFloat16(static_cast<uint16_t>(nan ? 0x7fc0u : rounded), BFloat16::from_bits());
}
#endif

// V neighbours at once: one wide load or store on a GPU, for which p has to be aligned.
template <int V, class T, class A>
STYLEMIX_HD void read_pack(const T* p, A (&values)[V]) {
#if defined(__CUDA_ARCH__)
  struct alignas(sizeof(T) * V) Pack {
    T v[V];
  };
  const Pack pack = *reinterpret_cast<const Pack*>(p);
  STYLEMIX_UNROLL
  for (int k = 0; k < V; k++) values[k] = read(pack.v[k]);
#else
  STYLEMIX_UNROLL
  for (int k = 0; k < V; k++) values[k] = read(p[k]);
#endif
}

template <int V, class T, class A>
STYLEMIX_HD void write_pack(T* p, const A (&values)[V]) {
#if defined(__CUDA_ARCH__)
  struct alignas(sizeof(T) * V) Pack {
    T v[V];
  };
  Pack pack;
  STYLEMIX_UNROLL
  for (int k = 0; k < V; k++) pack.v[k] = write<T>(values[k]);
  *reinterpret_cast<Pack*>(p) = pack;
#else
  STYLEMIX_UNROLL
  for (int k = 0; k < V; k++) p[k] = write<T>(values[k]);
#endif
}

template <class A>
STYLEMIX_HD A clamped(A value, A limit) {  // a negative limit is none; NaN stays NaN
  if (limit < 0) return value;
  return value > limit ? limit : (value < -limit ? -limit : value);
}

// The derivative of `clamped`: 1 inside, edges included as in PyTorch, and 0 outside.
template <class A>
STYLEMIX_HD A clamp_slope(A value, A limit) {
  return limit >= 0 && (value > limit || value < -limit) ? A(0) : A(1);
}

}  // namespace stylemix

// How the ops see tensors through the stable interface of LibTorch: types, layouts, checks.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <vector>

#include "scalar.h"

namespace stylemix {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Calls f with a value of the tensor's type.
template <class F>
void dispatch(const Tensor& x, F&& f) {
  switch (x.scalar_type()) {
    case ScalarType::Float: return f(float());
    case ScalarType::Double: return f(double());
    case ScalarType::Half: return f(Half());
    case ScalarType::BFloat16: return f(BFloat16());
    default: STD_TORCH_CHECK(false, "stylemix: expected float16, bfloat16, float32 or float64");
  }
}

inline ScalarType accumulator_type(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline bool is_channels_last(const Tensor& x) {
  if (x.dim() != 4) return false;
  const int64_t order[4] = {1, 3, 2, 0};
  int64_t expected = 1;
  for (int64_t d : order) {
    if (x.size(d) != 1 && x.stride(d) != expected) return false;
    expected *= x.size(d);
  }
  return true;
}

// A dense tensor as [outer, channels, inner]; channels_last ones have an inner of 1.
struct Layout {
  MemoryFormat format;
  int64_t outer, channels, inner;

  int64_t numel() const { return outer * channels * inner; }
  bool last() const { return inner == 1; }
};

inline Layout layout_of(const Tensor& x, int64_t dim) {
  Layout s{MemoryFormat::Contiguous, 1, x.size(dim), 1};
  const bool last = dim == 1 && !x.is_contiguous() && is_channels_last(x);
  if (last) s.format = MemoryFormat::ChannelsLast;
  for (int64_t d = 0; d < x.dim(); d++) {
    if (d < dim || (d > dim && last)) s.outer *= x.size(d);
    if (d > dim && !last) s.inner *= x.size(d);
  }
  return s;
}

// x itself where it has that format, else a copy that has.
inline Tensor in_format(const Tensor& x, MemoryFormat format) {
  const bool is = format == MemoryFormat::ChannelsLast ? is_channels_last(x) : x.is_contiguous();
  return is ? x : torch::stable::contiguous(x, format);
}

// An empty tensor like x, of another shape or type.
inline Tensor empty(const std::vector<int64_t>& shape, const Tensor& x, ScalarType type,
                    MemoryFormat format = MemoryFormat::Contiguous) {
  return torch::stable::empty(shape, type, std::nullopt, x.device(), std::nullopt, format);
}

inline Tensor empty_as(const Tensor& x, MemoryFormat format) {
  const auto s = x.sizes();
  return empty(std::vector<int64_t>(s.begin(), s.end()), x, x.scalar_type(), format);
}

// The partial sums of all chunks, which lie along a dimension, added up.
inline Tensor total(const Tensor& partial, int64_t dim) {
  const std::vector<int64_t> dims{dim};
  return torch::stable::sum(partial, dims);
}

// The data of an optional vector in the accumulator's type; null for none.
template <class A>
const A* vector_of(const std::optional<Tensor>& v, int64_t numel) {
  if (!v.has_value()) return nullptr;
  STD_TORCH_CHECK(v->numel() == numel && v->is_contiguous(),
                  "stylemix: got a vector of ", v->numel(), " numbers; expected ", numel);
  STD_TORCH_CHECK((v->scalar_type() == ScalarType::Double) == (sizeof(A) == sizeof(double)),
                  "stylemix: a vector has another type than the accumulator");
  return static_cast<const A*>(v->const_data_ptr());
}

template <class T>
const T* data_of(const Tensor& x) {
  return static_cast<const T*>(x.const_data_ptr());
}

template <class T>
T* output_of(const Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

// Sums run over chunks of about this many numbers, whatever the number of threads, so that
// results do not depend on it.
constexpr int64_t kChunk = 1 << 16;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace stylemix

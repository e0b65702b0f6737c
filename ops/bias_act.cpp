// bias_act on the CPU.
#include "bias_act.h"

#include <algorithm>

#include "tensors.h"

namespace stylemix {
namespace {

using torch::stable::parallel_for;

// Calls f(begin, count, bias, chunk) for runs of memory, in parallel over chunks. `bias` points to
// `count` biases that repeat along the run where channels are innermost, to one elsewhere.
// Returns the number of chunks per group of sums: outer of them, or one.
struct Runs {
  Layout s;
  int64_t length;  // of a run: whole pixels where channels are innermost
  int64_t per_chunk, per_plane, chunks;

  explicit Runs(const Layout& layout) : s(layout) {
    if (s.last()) {
      length = s.channels * std::max<int64_t>(1, 1024 / std::max<int64_t>(s.channels, 1));
      per_chunk = std::max<int64_t>(1, kChunk / std::max<int64_t>(length, 1));
      per_plane = 0;
      chunks = length ? ceil_div(ceil_div(s.numel(), length), per_chunk) : 0;
    } else {
      length = s.inner;
      per_chunk = 1;
      per_plane = ceil_div(s.inner, kChunk);
      chunks = s.outer * per_plane;  // per channel
    }
  }

  template <class A, class F>
  void each(const A* bias, F f) const {
    if (s.numel() == 0) return;
    s.last() ? each_pixel(bias, f) : each_plane(bias, f);
  }

 private:
  template <class A, class F>
  void each_pixel(const A* bias, F f) const {
    std::vector<A> repeated(length, A(0));
    if (bias)
      for (int64_t i = 0; i < length; i++) repeated[i] = bias[i % s.channels];
    parallel_for(0, chunks, 1, [&](int64_t from, int64_t to) {
      for (int64_t chunk = from; chunk < to; chunk++) {
        const int64_t end = std::min(s.numel(), (chunk + 1) * per_chunk * length);
        for (int64_t i = chunk * per_chunk * length; i < end; i += length)
          f(i, std::min(length, end - i), repeated.data(), 1, chunk * s.channels);
      }
    });
  }

  template <class A, class F>
  void each_plane(const A* bias, F f) const {
    const int64_t step = ceil_div(s.inner, per_plane);
    const int64_t grain = std::max<int64_t>(1, 8192 / std::max<int64_t>(step, 1));
    parallel_for(0, s.outer * s.channels * per_plane, grain, [&](int64_t from, int64_t to) {
      for (int64_t task = from; task < to; task++) {
        const int64_t plane = task / per_plane, part = task % per_plane;
        const int64_t channel = plane % s.channels, outer = plane / s.channels;
        const A b = bias ? bias[channel] : A(0);
        const int64_t begin = std::min(part * step, s.inner);
        const int64_t count = std::min(step, s.inner - begin);
        f(plane * s.inner + begin, count, &b, 0, (outer * per_plane + part) * s.channels + channel);
      }
    });
  }
};

template <Act ACT, class T>
void forward(const Runs& runs, const T* x, const Accumulator<T>* bias, T* y,
             BiasActParams<Accumulator<T>> p) {
  using A = Accumulator<T>;
  runs.each(bias, [=](int64_t i, int64_t count, const A* b, int64_t step, int64_t) {
    const T* __restrict from = x + i;
    T* __restrict to = y + i;
    if (step) {
#pragma omp simd
      for (int64_t k = 0; k < count; k++)
        to[k] = write<T>(bias_act_value<ACT>(read(from[k]) + b[k], p));
    } else {
      const A constant = *b;
#pragma omp simd
      for (int64_t k = 0; k < count; k++)
        to[k] = write<T>(bias_act_value<ACT>(read(from[k]) + constant, p));
    }
  });
}

// out[k] = value(k, bias), and its sums per channel where `sums` is given.
template <class T, class F>
void derivative(const Runs& runs, const Accumulator<T>* bias, T* out, Accumulator<T>* sums,
                F value) {
  using A = Accumulator<T>;
  const int64_t channels = runs.s.channels;
  runs.each(bias, [=](int64_t i, int64_t count, const A* b, int64_t step, int64_t slot) {
    T* __restrict to = out + i;
    if (!sums) {
#pragma omp simd
      for (int64_t k = 0; k < count; k++) to[k] = write<T>(value(i + k, b[k * step]));
    } else if (step) {
      for (int64_t c = 0; c < count; c += channels) {
        A* __restrict sum = sums + slot;
#pragma omp simd
        for (int64_t k = 0; k < channels; k++) {
          const A d = value(i + c + k, b[k]);
          to[c + k] = write<T>(d);
          sum[k] += d;
        }
      }
    } else {
      const A constant = *b;
      A sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t k = 0; k < count; k++) {
        const A d = value(i + k, constant);
        to[k] = write<T>(d);
        sum += d;
      }
      sums[slot] = sum;
    }
  });
}

Tensor bias_act(Tensor x, std::optional<Tensor> b, int64_t dim, int64_t act, double alpha,
                double gain, double clamp) {
  const Layout s = layout_of(x, dim);
  x = in_format(x, s.format);
  Tensor y = empty_as(x, s.format);
  const Runs runs(s);
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    using A = Accumulator<T>;
    const A* bias = vector_of<A>(b, s.channels);
    with_act(act, [&](auto which) {
      forward<which()>(runs, data_of<T>(x), bias, output_of<T>(y), params<A>(alpha, gain, clamp));
    });
  });
  return y;
}

// dy * slope, and its sums [channels] for the gradient of the bias where wanted.
std::tuple<Tensor, Tensor> bias_act_grad(Tensor dy, Tensor ref, std::optional<Tensor> b,
                                         int64_t dim, int64_t act, double alpha, double gain,
                                         double clamp, bool by_output, bool with_sums) {
  const Layout s = layout_of(ref, dim);
  ref = in_format(ref, s.format);
  dy = in_format(dy, s.format);
  Tensor dx = empty_as(ref, s.format);
  const Runs runs(s);
  Tensor sums = empty({with_sums ? runs.chunks : 0, s.channels}, ref, accumulator_type(ref));
  if (with_sums) torch::stable::zero_(sums);
  dispatch(ref, [&](auto type) {
    using T = decltype(type);
    using A = Accumulator<T>;
    const A* bias = vector_of<A>(b, s.channels);
    const auto p = params<A>(alpha, gain, clamp);
    const T *g = data_of<T>(dy), *r = data_of<T>(ref);
    A* total = with_sums ? output_of<A>(sums) : nullptr;
    if (by_output) {
      const auto q = rounded_clamp<T>(p);
      derivative<T>(runs, nullptr, output_of<T>(dx), total, [=](int64_t i, A) {
        return read(g[i]) * bias_act_slope_of_output(read(r[i]), q);
      });
      return;
    }
    with_act(act, [&](auto which) {
      derivative<T>(runs, bias, output_of<T>(dx), total, [=](int64_t i, A bias_value) {
        return read(g[i]) * bias_act_slope<which()>(read(r[i]) + bias_value, p);
      });
    });
  });
  return {dx, total(sums, 0)};
}

// v * dy * curvature: the gradient of <v, bias_act_grad(dy, x)> by x.
Tensor bias_act_grad2(Tensor v, Tensor dy, Tensor x, std::optional<Tensor> b, int64_t dim,
                      int64_t act, double alpha, double gain, double clamp) {
  const Layout s = layout_of(x, dim);
  x = in_format(x, s.format);
  dy = in_format(dy, s.format);
  v = in_format(v, s.format);
  Tensor d2x = empty_as(x, s.format);
  const Runs runs(s);
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    using A = Accumulator<T>;
    const A* bias = vector_of<A>(b, s.channels);
    const auto p = params<A>(alpha, gain, clamp);
    const T *w = data_of<T>(v), *g = data_of<T>(dy), *at = data_of<T>(x);
    with_act(act, [&](auto which) {
      derivative<T>(runs, bias, output_of<T>(d2x), nullptr, [=](int64_t i, A bias_value) {
        return read(w[i]) * read(g[i]) * bias_act_curvature<which()>(read(at[i]) + bias_value, p);
      });
    });
  });
  return d2x;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(stylemix, CPU, m) {
  m.impl("bias_act", TORCH_BOX(&bias_act));
  m.impl("bias_act_grad", TORCH_BOX(&bias_act_grad));
  m.impl("bias_act_grad2", TORCH_BOX(&bias_act_grad2));
}

}  // namespace stylemix

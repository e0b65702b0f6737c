// bias_act on the GPU: each thread takes packs of 16 bytes.
#include "bias_act.h"

#include "launch.cuh"

namespace stylemix {
namespace {

// I is the type of indices: 32 bits where they do, since divisions by 64 bits are slow.
template <int V, class I, class F>
__global__ void __launch_bounds__(kThreads) each_pack(I count, I inner, I channels, F f) {
  const I step = static_cast<I>(gridDim.x) * kThreads;
  for (I i = static_cast<I>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step) {
    const I at = i * V;
    f.template at<V>(at, inner == 1 ? at % channels : at / inner % channels);
  }
}

// Biases of a pack: of neighbouring channels where those are innermost.
template <class A>
struct Bias {
  const A* values;
  int step;

  template <int V>
  STYLEMIX_HD void add(int64_t channel, A (&u)[V]) const {
    if (!values) return;
    STYLEMIX_UNROLL
    for (int k = 0; k < V; k++) u[k] += values[channel + k * step];
  }
};

template <Act ACT, class T>
struct Forward {
  using A = Accumulator<T>;
  const T* x;
  Bias<A> bias;
  BiasActParams<A> p;
  T* y;

  template <int V>
  STYLEMIX_HD void at(int64_t i, int64_t channel) const {
    A u[V];
    read_pack<V>(x + i, u);
    bias.add(channel, u);
    STYLEMIX_UNROLL
    for (int k = 0; k < V; k++) u[k] = bias_act_value<ACT>(u[k], p);
    write_pack<V>(y + i, u);
  }
};

template <Act ACT, bool BY_OUTPUT, class T>
struct Slope {
  using A = Accumulator<T>;
  const T *dy, *ref;
  Bias<A> bias;
  BiasActParams<A> p;
  T* dx;

  template <int V>
  STYLEMIX_HD void at(int64_t i, int64_t channel) const {
    A u[V], g[V];
    read_pack<V>(ref + i, u);
    read_pack<V>(dy + i, g);
    bias.add(channel, u);
    STYLEMIX_UNROLL
    for (int k = 0; k < V; k++)
      g[k] *= BY_OUTPUT ? bias_act_slope_of_output(u[k], p) : bias_act_slope<ACT>(u[k], p);
    write_pack<V>(dx + i, g);
  }
};

template <Act ACT, class T>
struct Curvature {
  using A = Accumulator<T>;
  const T *v, *dy, *x;
  Bias<A> bias;
  BiasActParams<A> p;
  T* d2x;

  template <int V>
  STYLEMIX_HD void at(int64_t i, int64_t channel) const {
    A u[V], g[V], w[V];
    read_pack<V>(x + i, u);
    read_pack<V>(dy + i, g);
    read_pack<V>(v + i, w);
    bias.add(channel, u);
    STYLEMIX_UNROLL
    for (int k = 0; k < V; k++) w[k] *= g[k] * bias_act_curvature<ACT>(u[k], p);
    write_pack<V>(d2x + i, w);
  }
};

template <int V, class I, class F>
void launch(const OnDevice& device, const Layout& s, const F& f) {
  const int64_t count = s.numel() / V;
  const int64_t blocks = std::min(ceil_div(count, kThreads), device.processors() * 32);
  each_pack<V, I><<<static_cast<unsigned>(blocks), kThreads, 0, device.stream()>>>(
      static_cast<I>(count), static_cast<I>(s.inner), static_cast<I>(s.channels), f);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

// T is the tensor's type; the pointers are all that f reads or writes in packs.
template <class T, class F>
void map(const OnDevice& device, const Layout& s, bool bias,
         std::initializer_list<const void*> pointers, const F& f) {
  if (s.numel() == 0) return;
  // A pack lies in one plane or in one pixel, so that its channels are known from its first.
  const int64_t run = !bias ? s.numel() : s.last() ? s.channels : s.inner;
  const bool wide = run % kPack<T> == 0 && std::all_of(pointers.begin(), pointers.end(), aligned);
  const bool small = s.numel() < (int64_t(1) << 30);  // leaves room for the last step of a loop
  if (!small) return launch<1, int64_t>(device, s, f);
  wide ? launch<kPack<T>, int32_t>(device, s, f) : launch<1, int32_t>(device, s, f);
}

template <class A>
Bias<A> bias_of(const std::optional<Tensor>& b, const Layout& s) {
  return {vector_of<A>(b, s.channels), s.last() ? 1 : 0};
}

Tensor bias_act(Tensor x, std::optional<Tensor> b, int64_t dim, int64_t act, double alpha,
                double gain, double clamp) {
  const OnDevice device(x);
  const Layout s = layout_of(x, dim);
  x = in_format(x, s.format);
  Tensor y = empty_as(x, s.format);
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    using A = Accumulator<T>;
    const T* from = data_of<T>(x);
    T* to = output_of<T>(y);
    with_act(act, [&](auto which) {
      constexpr Act ACT = decltype(which)::value;
      map<T>(device, s, b.has_value(), {from, to},
             Forward<ACT, T>{from, bias_of<A>(b, s), params<A>(alpha, gain, clamp), to});
    });
  });
  return y;
}

// Sums of x over all dimensions but one.
Tensor sums_of(const Tensor& x, int64_t dim) {
  std::vector<int64_t> others{0};
  for (int64_t d = 0; d < x.dim(); d++)
    if (d != dim) others.push_back(d + 1);
  return torch::stable::sum(torch::stable::unsqueeze(x, 0), others, false, accumulator_type(x));
}

std::tuple<Tensor, Tensor> bias_act_grad(Tensor dy, Tensor ref, std::optional<Tensor> b,
                                         int64_t dim, int64_t act, double alpha, double gain,
                                         double clamp, bool by_output, bool with_sums) {
  const OnDevice device(ref);
  const Layout s = layout_of(ref, dim);
  ref = in_format(ref, s.format);
  dy = in_format(dy, s.format);
  Tensor dx = empty_as(ref, s.format);
  dispatch(ref, [&](auto type) {
    using T = decltype(type);
    using A = Accumulator<T>;
    const T *g = data_of<T>(dy), *r = data_of<T>(ref);
    T* to = output_of<T>(dx);
    const auto p = params<A>(alpha, gain, clamp);
    if (by_output) {
      map<T>(device, s, false, {g, r, to},
             Slope<Act::Lrelu, true, T>{g, r, Bias<A>{nullptr, 0}, rounded_clamp<T>(p), to});
      return;
    }
    with_act(act, [&](auto which) {
      constexpr Act ACT = decltype(which)::value;
      map<T>(device, s, b.has_value(), {g, r, to},
             Slope<ACT, false, T>{g, r, bias_of<A>(b, s), p, to});
    });
  });
  if (with_sums) return {dx, sums_of(dx, dim)};
  Tensor none = empty({s.channels}, ref, accumulator_type(ref));
  return {dx, torch::stable::zero_(none)};
}

Tensor bias_act_grad2(Tensor v, Tensor dy, Tensor x, std::optional<Tensor> b, int64_t dim,
                      int64_t act, double alpha, double gain, double clamp) {
  const OnDevice device(x);
  const Layout s = layout_of(x, dim);
  x = in_format(x, s.format);
  dy = in_format(dy, s.format);
  v = in_format(v, s.format);
  Tensor d2x = empty_as(x, s.format);
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    using A = Accumulator<T>;
    const T *w = data_of<T>(v), *g = data_of<T>(dy), *at = data_of<T>(x);
    T* to = output_of<T>(d2x);
    with_act(act, [&](auto which) {
      constexpr Act ACT = decltype(which)::value;
      map<T>(device, s, b.has_value(), {w, g, at, to},
             Curvature<ACT, T>{w, g, at, bias_of<A>(b, s), params<A>(alpha, gain, clamp), to});
    });
  });
  return d2x;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(stylemix, CUDA, m) {
  m.impl("bias_act", TORCH_BOX(&bias_act));
  m.impl("bias_act_grad", TORCH_BOX(&bias_act_grad));
  m.impl("bias_act_grad2", TORCH_BOX(&bias_act_grad2));
}

}  // namespace stylemix

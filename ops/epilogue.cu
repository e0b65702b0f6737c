// The epilogue of a synthesis layer on the GPU: forward in one pass, and backward in one with the
// sums for the gradients of demodulation, bias, post scale and noise strength.
#include "epilogue_terms.h"
#include "launch.cuh"

namespace stylemix {
namespace {

// How a thread gets z: as it is, by any filter, or by one of 4 x 4 taps in strips of four rows.
enum class Source { Plain, Filter, Filter4x4 };

template <class A>
struct Filter {
  const A* taps;
  bool flip;
  A gain;
};

template <Source SOURCE, int R, int V, class T, class A>
STYLEMIX_HD void source_strip(const Upfirdn2dParams& p, const T* x, const A* taps, int64_t row,
                              int64_t column, int rows, A (&z)[R][V]) {
  if constexpr (SOURCE == Source::Plain)
    read_pack<V>(x + row * p.in_y + column * p.in_x, z[0]);
  else
    filter_strip<SOURCE == Source::Filter4x4 ? 4 : 0, 4, R, V>(p, x, taps, row, column, rows, z);
}

// Terms of V neighbouring channels of an image.
template <int V, class A>
struct ChannelTerms {
  A demod[V], bias[V], post[V], strength;

  STYLEMIX_HD ChannelTerms(const Terms<A>& t, int64_t channels, int64_t n, int64_t c) {
    STYLEMIX_UNROLL
    for (int k = 0; k < V; k++) {
      demod[k] = t.demod ? t.demod[n * channels + c + k] : A(1);
      bias[k] = t.bias ? t.bias[c + k] : A(0);
      post[k] = t.post ? t.post[n * channels + c + k] : A(1);
    }
    strength = t.strength ? *t.strength : A(1);
  }

  STYLEMIX_HD EpilogueTerms<A> at(int k, A noise) const {
    return {demod[k], bias[k], post[k], noise, strength};
  }
};

template <class A>
STYLEMIX_HD A noise_at(const Terms<A>& t, int64_t pixels, int64_t n, int64_t pixel) {
  return t.noise ? t.noise[(t.noise_per_image ? n * pixels : 0) + pixel] : A(0);
}

template <Source SOURCE, int R, int V, class T>
__global__ void __launch_bounds__(kThreads, 1)
    forward(Upfirdn2dParams p, const T* x, Filter<Accumulator<T>> filter,
            Terms<Accumulator<T>> t, T* y) {
  using A = Accumulator<T>;
  __shared__ A taps[SOURCE == Source::Filter ? kMostTaps : 16];
  if (SOURCE != Source::Plain)
    load_taps(filter.taps, p.filter_w * p.filter_h, filter.flip, filter.gain, taps);
  const int64_t lanes = p.channels / V;
  const int width = static_cast<int>(p.out_w);
  const int items = static_cast<int>((p.out_h + R - 1) / R) * width;
  for (int64_t n = blockIdx.z; n < p.batch; n += gridDim.z)
    for (int64_t lane = blockIdx.y * blockDim.x + threadIdx.x; lane < lanes;
         lane += static_cast<int64_t>(gridDim.y) * blockDim.x) {
      const ChannelTerms<V, A> terms(t, p.channels, n, lane * V);
      const T* from = x + n * p.in_n + lane * V * p.in_c;
      T* to = y + n * p.out_n + lane * V * p.out_c;
      for (int64_t item = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
           item < items; item += static_cast<int64_t>(gridDim.x) * blockDim.y) {
        const int64_t row = static_cast<int>(item) / width * static_cast<int64_t>(R);
        const int64_t column = static_cast<int>(item) % width;
        const int rows = static_cast<int>(p.out_h - row < R ? p.out_h - row : R);
        A z[R][V];
        source_strip<SOURCE, R, V>(p, from, taps, row, column, rows, z);
        STYLEMIX_UNROLL
        for (int r = 0; r < R; r++) {
          if (r >= rows) break;
          const A noise = noise_at(t, p.out_h * p.out_w, n, (row + r) * width + column);
          STYLEMIX_UNROLL
          for (int k = 0; k < V; k++) z[r][k] = epilogue_value(z[r][k], terms.at(k, noise), t.act);
          write_pack<V>(to + (row + r) * p.out_y + column * p.out_x, z[r]);
        }
      }
    }
}

// Adds up what the threads of a block have for the same lane, in a fixed order, and lets those of
// the first row store it. All threads of the block have to get here.
template <int V, class A>
__device__ void store_sums(const A (&mine)[V], A* shared, bool stores, A* to) {
  A* own = shared + (threadIdx.y * blockDim.x + threadIdx.x) * V;
  __syncthreads();
  for (int k = 0; k < V; k++) own[k] = mine[k];
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half)
      for (int k = 0; k < V; k++) own[k] += own[half * blockDim.x * V + k];
  }
  if (stores)
    for (int k = 0; k < V; k++) to[k] = own[k];
}

// dz like the result; sums [4, N, blocks, C].
template <Source SOURCE, int V, class T>
__global__ void __launch_bounds__(kThreads, 2)
    backward(Upfirdn2dParams p, const T* x, Filter<Accumulator<T>> filter,
             Terms<Accumulator<T>> t, const T* dy, T* dz, Accumulator<T>* sums) {
  using A = Accumulator<T>;
  __shared__ A taps[SOURCE == Source::Filter ? kMostTaps : 16];
  __shared__ A shared[kThreads * V];
  if (SOURCE != Source::Plain)
    load_taps(filter.taps, p.filter_w * p.filter_h, filter.flip, filter.gain, taps);
  const int64_t lanes = p.channels / V;
  const int width = static_cast<int>(p.out_w);
  const int64_t items = p.out_h * p.out_w;
  // The bounds of both loops are the same for all threads of a block, as store_sums wants.
  for (int64_t n = blockIdx.z; n < p.batch; n += gridDim.z)
    for (int64_t first = blockIdx.y * blockDim.x; first < lanes;
         first += static_cast<int64_t>(gridDim.y) * blockDim.x) {
      const int64_t lane = first + threadIdx.x;
      A total[kEpilogueSums][V] = {};
      if (lane < lanes) {
        const ChannelTerms<V, A> terms(t, p.channels, n, lane * V);
        const T* from = x + n * p.in_n + lane * V * p.in_c;
        const int64_t begin = n * p.out_n + lane * V * p.out_c;
        for (int64_t item = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
             item < items; item += static_cast<int64_t>(gridDim.x) * blockDim.y) {
          const int64_t row = static_cast<int>(item) / width;
          const int64_t column = static_cast<int>(item) % width;
          const int64_t at = begin + row * p.out_y + column * p.out_x;
          A z[1][V], g[V];
          source_strip<SOURCE, 1, V>(p, from, taps, row, column, 1, z);
          read_pack<V>(dy + at, g);
          const A noise = noise_at(t, items, n, item);
          STYLEMIX_UNROLL
          for (int k = 0; k < V; k++) {
            const EpilogueGrad<A> grad = epilogue_grad(g[k], z[0][k], terms.at(k, noise), t.act);
            g[k] = grad.dz;
            total[0][k] += grad.du;
            total[1][k] += grad.du_z;
            total[2][k] += grad.dy_t;
            total[3][k] += grad.du_noise;
          }
          write_pack<V>(dz + at, g);
        }
      }
      for (int i = 0; i < kEpilogueSums; i++) {
        const int64_t slot = (i * p.batch + n) * gridDim.x + blockIdx.x;
        store_sums<V>(total[i], shared, threadIdx.y == 0 && lane < lanes,
                      sums + slot * p.channels + lane * V);
      }
    }
}

template <Source SOURCE, int R, int V, class T>
void launch_forward(const OnDevice& device, const Call& call, const Filter<Accumulator<T>>& filter,
                    const Terms<Accumulator<T>>& t, T* y) {
  const Threads threads(device, call.p, ceil_div(call.p.out_h, R) * call.p.out_w, V);
  forward<SOURCE, R, V><<<threads.grid, threads.block, 0, device.stream()>>>(
      call.p, data_of<T>(call.x), filter, t, y);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

template <Source SOURCE, int V, class T>
Tensor launch_backward(const OnDevice& device, const Call& call,
                       const Filter<Accumulator<T>>& filter, const Terms<Accumulator<T>>& t,
                       const T* dy, T* dz) {
  const Upfirdn2dParams& p = call.p;
  const Threads threads(device, p, p.out_h * p.out_w, V);
  Tensor sums = empty({kEpilogueSums, p.batch, threads.grid.x, p.channels}, call.x,
                      accumulator_type(call.x));
  backward<SOURCE, V><<<threads.grid, threads.block, 0, device.stream()>>>(
      p, data_of<T>(call.x), filter, t, dy, dz, output_of<Accumulator<T>>(sums));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return total(sums, 2);
}

template <class A>
Filter<A> filter_of(const std::optional<Tensor>& f, bool flip, double gain) {
  return {f.has_value() ? vector_of<A>(f, f->numel()) : nullptr, flip, static_cast<A>(gain)};
}

Source source_of(const Upfirdn2dParams& p, const std::optional<Tensor>& f) {
  if (!f.has_value()) return Source::Plain;
  return p.filter_w == 4 && p.filter_h == 4 ? Source::Filter4x4 : Source::Filter;
}

Tensor epilogue(Tensor x, std::optional<Tensor> f, int64_t x0, int64_t x1, int64_t y0, int64_t y1,
                bool flip, double filter_gain, std::optional<Tensor> demod,
                std::optional<Tensor> noise, std::optional<Tensor> strength,
                std::optional<Tensor> b, double alpha, double gain, double clamp,
                std::optional<Tensor> post) {
  const OnDevice device(x);
  const Call call(x, f, x0, x1, y0, y1);
  check_filter(call.p);
  Tensor result = call.result();
  if (result.numel() == 0) return result;
  dispatch(call.x, [&](auto type) {
    using T = decltype(type);
    using A = Accumulator<T>;
    constexpr int V = kPack<T>;
    T* y = output_of<T>(result);
    const bool wide = packs<T>(call.p, {data_of<T>(call.x), y});
    const auto filter = filter_of<A>(f, flip, filter_gain);
    const auto t = terms_of<A>(demod, noise, strength, b, post, call.p,
                               params<A>(alpha, gain, clamp));
    switch (source_of(call.p, f)) {
      case Source::Plain:
        return wide ? launch_forward<Source::Plain, 1, V>(device, call, filter, t, y)
                    : launch_forward<Source::Plain, 1, 1>(device, call, filter, t, y);
      case Source::Filter4x4:
        return wide ? launch_forward<Source::Filter4x4, 4, V>(device, call, filter, t, y)
                    : launch_forward<Source::Filter4x4, 4, 1>(device, call, filter, t, y);
      default:
        return wide ? launch_forward<Source::Filter, 1, V>(device, call, filter, t, y)
                    : launch_forward<Source::Filter, 1, 1>(device, call, filter, t, y);
    }
  });
  return result;
}

std::tuple<Tensor, Tensor> epilogue_backward(
    Tensor dy, Tensor x, std::optional<Tensor> f, int64_t x0, int64_t x1, int64_t y0, int64_t y1,
    bool flip, double filter_gain, std::optional<Tensor> demod, std::optional<Tensor> noise,
    std::optional<Tensor> strength, std::optional<Tensor> b, double alpha, double gain,
    double clamp, std::optional<Tensor> post) {
  const OnDevice device(x);
  const Call call(x, f, x0, x1, y0, y1);
  check_filter(call.p);
  dy = in_format(dy, call.format);
  Tensor result = call.result();
  if (result.numel() == 0) {
    Tensor none = empty({kEpilogueSums, call.p.batch, call.p.channels}, x, accumulator_type(x));
    return {result, torch::stable::zero_(none)};
  }
  Tensor sums;
  dispatch(call.x, [&](auto type) {
    using T = decltype(type);
    using A = Accumulator<T>;
    constexpr int V = kPack<T>;
    const T* g = data_of<T>(dy);
    T* dz = output_of<T>(result);
    const bool wide = packs<T>(call.p, {data_of<T>(call.x), g, dz});
    const auto filter = filter_of<A>(f, flip, filter_gain);
    const auto t = terms_of<A>(demod, noise, strength, b, post, call.p,
                               params<A>(alpha, gain, clamp));
    switch (source_of(call.p, f)) {
      case Source::Plain:
        sums = wide ? launch_backward<Source::Plain, V>(device, call, filter, t, g, dz)
                    : launch_backward<Source::Plain, 1>(device, call, filter, t, g, dz);
        break;
      case Source::Filter4x4:
        sums = wide ? launch_backward<Source::Filter4x4, V>(device, call, filter, t, g, dz)
                    : launch_backward<Source::Filter4x4, 1>(device, call, filter, t, g, dz);
        break;
      default:
        sums = wide ? launch_backward<Source::Filter, V>(device, call, filter, t, g, dz)
                    : launch_backward<Source::Filter, 1>(device, call, filter, t, g, dz);
    }
  });
  return {result, sums};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(stylemix, CUDA, m) {
  m.impl("epilogue", TORCH_BOX(&epilogue));
  m.impl("epilogue_backward", TORCH_BOX(&epilogue_backward));
}

}  // namespace stylemix

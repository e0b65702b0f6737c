// The epilogue of a synthesis layer on the CPU: forward, and backward in one pass with the sums
// for the gradients of demodulation, bias, post scale and noise strength.
#include "epilogue.h"

#include "epilogue_terms.h"
#include "upfirdn2d_rows.h"

namespace stylemix {
namespace {

// Rows of one image (channels_last) or plane, filtered or as they are, handed on one by one.
template <class T>
struct Source {
  using A = Accumulator<T>;
  const Upfirdn2dParams& p;
  const A* taps;  // null: no filter
  int64_t planes, width, step, tasks;

  Source(const Upfirdn2dParams& params, const A* filter)
      : p(params), taps(filter), planes(p.channels_last ? 1 : p.channels) {
    width = p.out_w * p.channels / planes;
    step = taps ? 4 : std::max<int64_t>(1, kChunk / 4 / std::max<int64_t>(width, 1));
    tasks = ceil_div(p.out_h, step);
  }

  // Calls row(image, plane, row, task, z): z points to `width` numbers, of type T without filter
  // and of the accumulator's with one.
  template <class F>
  void each(const T* x, F row) const {
    torch::stable::parallel_for(0, p.batch * planes * tasks, 1, [&](int64_t from, int64_t to) {
      std::vector<A> scratch(taps ? step * width : 0);
      const FirRows<T, A> filter(p, taps);
      for (int64_t task = from; task < to; task++) {
        const int64_t image = task / tasks / planes, plane = task / tasks % planes;
        const int64_t begin = task % tasks * step, end = std::min(p.out_h, begin + step);
        const T* source = x + image * p.in_n + plane * p.in_c;
        if (taps) filter(source, scratch.data(), begin, end - begin);
        for (int64_t y = begin; y < end; y++) {
          if (taps)
            row(image, plane, y, task % tasks, scratch.data() + (y - begin) * width);
          else
            row(image, plane, y, task % tasks, source + y * width);
        }
      }
    });
  }
};

// The terms of one row: vectors by channel, or numbers of a plane, and the noise by pixel.
template <class A>
struct RowTerms {
  const A *demod, *bias, *post, *noise;
  A strength;

  RowTerms(const Terms<A>& t, const Upfirdn2dParams& p, const std::vector<A>& ones, int64_t image,
           int64_t plane, int64_t y)
      : strength(t.strength ? *t.strength : A(1)) {
    const int64_t pixels = p.out_h * p.out_w, c = image * p.channels + plane;
    demod = t.demod ? t.demod + c : ones.data();
    post = t.post ? t.post + c : ones.data();
    bias = t.bias ? t.bias + plane : ones.data() + p.channels;  // zeros follow the ones
    noise = t.noise ? t.noise + (t.noise_per_image ? image * pixels : 0) + y * p.out_w : nullptr;
  }

  STYLEMIX_HD EpilogueTerms<A> operator()(int64_t channel, int64_t pixel) const {
    return {demod[channel], bias[channel], post[channel], noise ? noise[pixel] : A(0), strength};
  }
};

template <class A>
std::vector<A> ones_then_zeros(int64_t channels) {
  std::vector<A> v(2 * channels, A(0));
  std::fill(v.begin(), v.begin() + channels, A(1));
  return v;
}

template <class T>
void forward(const Upfirdn2dParams& p, const T* x, const Accumulator<T>* taps,
             const Terms<Accumulator<T>>& t, T* out) {
  using A = Accumulator<T>;
  const auto ones = ones_then_zeros<A>(p.channels);
  const int64_t channels = p.channels, width = p.out_w;
  const BiasActParams<A> act = t.act;
  Source<T>(p, taps).each(x, [&](int64_t image, int64_t plane, int64_t y, int64_t, auto* row) {
    const RowTerms<A> terms(t, p, ones, image, plane, y);
    T* __restrict to = out + image * p.out_n + plane * p.out_c + y * p.out_y;
    const auto* __restrict z = row;
    if (p.channels_last) {
      for (int64_t o = 0; o < width; o++, z += channels, to += channels) {
#pragma omp simd
        for (int64_t c = 0; c < channels; c++)
          to[c] = write<T>(epilogue_value<A>(read(z[c]), terms(c, o), act));
      }
    } else {
#pragma omp simd
      for (int64_t o = 0; o < width; o++)
        to[o] = write<T>(epilogue_value<A>(read(z[o]), terms(0, o), act));
    }
  });
}

// A pixel's gradients, added to the sums by channel. All pointers are to different memory, which
// the compiler has to know before it vectorises.
template <class T, class Z, class A>
void pixel_backward(int64_t channels, const T* __restrict dy, const Z* __restrict z,
                    T* __restrict dz, const A* __restrict demod, const A* __restrict bias,
                    const A* __restrict post, A noise, A strength, BiasActParams<A> act,
                    A* __restrict du, A* __restrict du_z, A* __restrict dy_t,
                    A* __restrict du_noise) {
#pragma omp simd
  for (int64_t c = 0; c < channels; c++) {
    const EpilogueTerms<A> terms{demod[c], bias[c], post[c], noise, strength};
    const EpilogueGrad<A> grad = epilogue_grad<A>(read(dy[c]), read(z[c]), terms, act);
    dz[c] = write<T>(grad.dz);
    du[c] += grad.du;
    du_z[c] += grad.du_z;
    dy_t[c] += grad.dy_t;
    du_noise[c] += grad.du_noise;
  }
}

// dz like the result; sums [4, N, tasks, C].
template <class T>
void backward(const Upfirdn2dParams& p, const T* x, const Accumulator<T>* taps,
              const Terms<Accumulator<T>>& t, const T* dy, T* dz, Accumulator<T>* sums) {
  using A = Accumulator<T>;
  const auto ones = ones_then_zeros<A>(p.channels);
  const int64_t channels = p.channels, width = p.out_w;
  const BiasActParams<A> act = t.act;
  const Source<T> source(p, taps);
  const int64_t kind = p.batch * source.tasks * channels;
  source.each(x, [&](int64_t image, int64_t plane, int64_t y, int64_t task, auto* row) {
    const RowTerms<A> terms(t, p, ones, image, plane, y);
    const int64_t begin = image * p.out_n + plane * p.out_c + y * p.out_y;
    const T* __restrict g = dy + begin;
    T* __restrict to = dz + begin;
    const auto* __restrict z = row;
    A* s = sums + (image * source.tasks + task) * channels + plane;
    if (p.channels_last) {
      for (int64_t o = 0; o < width; o++) {
        const A noise = terms.noise ? terms.noise[o] : A(0);
        const int64_t at = o * channels;
        pixel_backward(channels, g + at, z + at, to + at, terms.demod, terms.bias, terms.post,
                       noise, terms.strength, act, s, s + kind, s + 2 * kind, s + 3 * kind);
      }
    } else {
      A du = 0, du_z = 0, dy_t = 0, du_noise = 0;
#pragma omp simd reduction(+ : du, du_z, dy_t, du_noise)
      for (int64_t o = 0; o < width; o++) {
        const auto grad = epilogue_grad<A>(read(g[o]), read(z[o]), terms(0, o), act);
        to[o] = write<T>(grad.dz);
        du += grad.du, du_z += grad.du_z, dy_t += grad.dy_t, du_noise += grad.du_noise;
      }
      s[0] += du, s[kind] += du_z, s[2 * kind] += dy_t, s[3 * kind] += du_noise;
    }
  });
}

// Calls body(a number of the type of x, the filter as correlation or null).
template <class F>
void run(const Call& call, const std::optional<Tensor>& f, bool flip, double filter_gain, F body) {
  dispatch(call.x, [&](auto type) {
    using A = Accumulator<decltype(type)>;
    std::vector<A> taps;
    if (f.has_value()) taps = taps_of<A>(*f, flip, filter_gain);
    body(type, f.has_value() ? taps.data() : nullptr);
  });
}

Tensor epilogue(Tensor x, std::optional<Tensor> f, int64_t x0, int64_t x1, int64_t y0, int64_t y1,
                bool flip, double filter_gain, std::optional<Tensor> demod,
                std::optional<Tensor> noise, std::optional<Tensor> strength,
                std::optional<Tensor> b, double alpha, double gain, double clamp,
                std::optional<Tensor> post) {
  const Call call(x, f, x0, x1, y0, y1);
  Tensor y = call.result();
  if (y.numel() == 0) return y;
  run(call, f, flip, filter_gain, [&](auto type, auto* taps) {
    using T = decltype(type);
    using A = Accumulator<T>;
    const auto terms = terms_of<A>(demod, noise, strength, b, post, call.p,
                                   params<A>(alpha, gain, clamp));
    forward<T>(call.p, data_of<T>(call.x), taps, terms, output_of<T>(y));
  });
  return y;
}

std::tuple<Tensor, Tensor> epilogue_backward(
    Tensor dy, Tensor x, std::optional<Tensor> f, int64_t x0, int64_t x1, int64_t y0, int64_t y1,
    bool flip, double filter_gain, std::optional<Tensor> demod, std::optional<Tensor> noise,
    std::optional<Tensor> strength, std::optional<Tensor> b, double alpha, double gain,
    double clamp, std::optional<Tensor> post) {
  const Call call(x, f, x0, x1, y0, y1);
  dy = in_format(dy, call.format);
  Tensor dz = call.result();
  const ScalarType accumulator = accumulator_type(x);
  if (dz.numel() == 0) {
    Tensor none = empty({kEpilogueSums, call.p.batch, call.p.channels}, x, accumulator);
    torch::stable::zero_(none);
    return {dz, none};
  }
  Tensor sums;
  run(call, f, flip, filter_gain, [&](auto type, auto* taps) {
    using T = decltype(type);
    using A = Accumulator<T>;
    const auto terms = terms_of<A>(demod, noise, strength, b, post, call.p,
                                   params<A>(alpha, gain, clamp));
    const int64_t tasks = Source<T>(call.p, taps).tasks;
    sums = empty({kEpilogueSums, call.p.batch, tasks, call.p.channels}, x, accumulator);
    torch::stable::zero_(sums);
    backward<T>(call.p, data_of<T>(call.x), taps, terms, data_of<T>(dy), output_of<T>(dz),
                output_of<A>(sums));
  });
  return {dz, total(sums, 2)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(stylemix, CPU, m) {
  m.impl("epilogue", TORCH_BOX(&epilogue));
  m.impl("epilogue_backward", TORCH_BOX(&epilogue_backward));
}

}  // namespace stylemix

// The vectors that a call of epilogue brings along.
#pragma once

#include "epilogue.h"
#include "geometry.h"

namespace stylemix {

// Vectors of one call: null where there is none.
template <class A>
struct Terms {
  const A *demod, *bias, *post;  // [N, C], [C], [N, C]
  const A* noise;                // [N or 1, H, W]
  const A* strength;  // one number, which a GPU keeps to itself
  bool noise_per_image;
  BiasActParams<A> act;
};

template <class A>
Terms<A> terms_of(const std::optional<Tensor>& demod, const std::optional<Tensor>& noise,
                  const std::optional<Tensor>& strength, const std::optional<Tensor>& bias,
                  const std::optional<Tensor>& post, const Upfirdn2dParams& p,
                  BiasActParams<A> act) {
  const int64_t n = p.batch, c = p.channels, pixels = p.out_h * p.out_w;
  Terms<A> t{};
  t.demod = vector_of<A>(demod, n * c);
  t.bias = vector_of<A>(bias, c);
  t.post = vector_of<A>(post, n * c);
  t.noise_per_image = noise.has_value() && noise->numel() != pixels;
  t.noise = vector_of<A>(noise, t.noise_per_image ? n * pixels : pixels);
  t.strength = vector_of<A>(strength, 1);
  t.act = act;
  return t;
}

// The arguments that forward and backward share, checked and in the layout of x.
struct Call {
  Tensor x;
  MemoryFormat format;
  Upfirdn2dParams p;

  Call(const Tensor& given, const std::optional<Tensor>& f, int64_t x0, int64_t x1, int64_t y0,
       int64_t y1) {
    const Layout s = layout_of(given, 1);
    format = s.format;
    x = in_format(given, format);
    const bool last = format == MemoryFormat::ChannelsLast;
    const Tensor one = f.has_value() ? *f : empty({1, 1}, x, accumulator_type(x));
    p = geometry(x, one, 1, 1, 1, 1, x0, x1, y0, y1, last);
  }

  Tensor result() const {
    return empty({p.batch, p.channels, p.out_h, p.out_w}, x, x.scalar_type(), format);
  }
};

}  // namespace stylemix

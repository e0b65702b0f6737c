// Arithmetic of the epilogue of a synthesis layer: all that follows its convolution.
//
//   z = filtered convolution output
//   u = z * demod + noise * strength + bias
//   t = clamp(act(u) * gain)          act: slope 1 above zero, alpha below
//   y = t * post                      post: the modulation of the layer that comes next
#pragma once

#include "bias_act.h"

namespace stylemix {

constexpr int kEpilogueSums = 4;  // du, du_z, dy_t, du_noise

// What an element's channel (of its image) and pixel contribute.
template <class A>
struct EpilogueTerms {
  A demod, bias, post, noise, strength;
};

template <class A>
STYLEMIX_HD A epilogue_value(A z, const EpilogueTerms<A>& e, const BiasActParams<A>& p) {
  return bias_act_value<Act::Lrelu>(z * e.demod + e.noise * e.strength + e.bias, p) * e.post;
}

// Gradients for dy: by z, and what this element adds to the sums for the terms.
template <class A>
struct EpilogueGrad {
  A dz;
  A du;        // summed over pixels: the gradient of the bias
  A du_z;      // of demod
  A dy_t;      // of post
  A du_noise;  // of strength
};

template <class A>
STYLEMIX_HD EpilogueGrad<A> epilogue_grad(A dy, A z, const EpilogueTerms<A>& e,
                                          const BiasActParams<A>& p) {
  const A u = z * e.demod + e.noise * e.strength + e.bias;
  const A du = dy * e.post * bias_act_slope<Act::Lrelu>(u, p);
  const A t = bias_act_value<Act::Lrelu>(u, p);
  return {du * e.demod, du, du * z, dy * t, du * e.noise};
}

}  // namespace stylemix

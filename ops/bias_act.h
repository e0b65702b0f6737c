// Arithmetic of bias_act: activations with their first and second derivatives.
#pragma once

#include <type_traits>

#include "scalar.h"

namespace stylemix {

// In the order of ACTIVATIONS in bias_act.py. The first three are all `Piecewise`: linear
// functions of slope 1 above zero and `alpha` below.
enum class Act { Linear, Relu, Lrelu, Tanh, Sigmoid, Elu, Selu, Softplus, Swish };

template <class A>
struct BiasActParams {
  A alpha;  // slope below zero of the piecewise linear ones
  A gain;
  A clamp;  // negative: none
};

template <class A>
BiasActParams<A> params(double alpha, double gain, double clamp) {
  return {static_cast<A>(alpha), static_cast<A>(gain), static_cast<A>(clamp)};
}

constexpr double kSeluScale = 1.0507009873554804934193349852946;
constexpr double kSeluAlpha = 1.6732632423543772848170429916717;
constexpr double kSoftplusLinear = 20;  // beyond it PyTorch's softplus is the identity

template <class A>
STYLEMIX_HD A sigmoid(A u) {
  return A(1) / (A(1) + std::exp(-u));
}

// act(u), act'(u) and act''(u). Both sides of a choice are computed first, so that loops vectorise.
template <Act ACT, class A>
STYLEMIX_HD A act_value(A u, A alpha) {
  if constexpr (ACT == Act::Tanh) return std::tanh(u);
  if constexpr (ACT == Act::Sigmoid) return sigmoid(u);
  if constexpr (ACT == Act::Elu || ACT == Act::Selu) {
    const A below = std::expm1(u);
    if constexpr (ACT == Act::Elu) return u > 0 ? u : below;
    return A(kSeluScale) * (u > 0 ? u : A(kSeluAlpha) * below);
  }
  if constexpr (ACT == Act::Softplus) {
    const A value = std::log1p(std::exp(u));
    return u > A(kSoftplusLinear) ? u : value;
  }
  if constexpr (ACT == Act::Swish) return u * sigmoid(u);
  return u > 0 ? u : u * alpha;
}

template <Act ACT, class A>
STYLEMIX_HD A act_slope(A u, A alpha) {
  if constexpr (ACT == Act::Tanh) {
    const A t = std::tanh(u);
    return A(1) - t * t;
  }
  if constexpr (ACT == Act::Sigmoid) return sigmoid(u) * sigmoid(-u);
  if constexpr (ACT == Act::Elu || ACT == Act::Selu) {
    const A below = std::exp(u);
    if constexpr (ACT == Act::Elu) return u > 0 ? A(1) : below;
    return A(kSeluScale) * (u > 0 ? A(1) : A(kSeluAlpha) * below);
  }
  if constexpr (ACT == Act::Softplus) {
    const A below = sigmoid(u);
    return u > A(kSoftplusLinear) ? A(1) : below;
  }
  if constexpr (ACT == Act::Swish) return sigmoid(u) * (A(1) + u * sigmoid(-u));
  return u > 0 ? A(1) : alpha;
}

template <Act ACT, class A>
STYLEMIX_HD A act_curvature(A u) {
  const A s = sigmoid(u) * sigmoid(-u);
  if constexpr (ACT == Act::Tanh) {
    const A t = std::tanh(u);
    return A(-2) * t * (A(1) - t * t);
  }
  if constexpr (ACT == Act::Sigmoid) return s * (A(1) - A(2) * sigmoid(u));
  if constexpr (ACT == Act::Elu || ACT == Act::Selu) {
    const A below = std::exp(u);
    return u > 0 ? A(0) : below * (ACT == Act::Elu ? A(1) : A(kSeluScale) * A(kSeluAlpha));
  }
  if constexpr (ACT == Act::Softplus) return u > A(kSoftplusLinear) ? A(0) : s;
  if constexpr (ACT == Act::Swish) return s * (A(2) + u * (A(1) - A(2) * sigmoid(u)));
  return A(0);
}

// clamp(act(u) * gain) for u = x + b.
template <Act ACT, class A>
STYLEMIX_HD A bias_act_value(A u, const BiasActParams<A>& p) {
  return clamped(act_value<ACT>(u, p.alpha) * p.gain, p.clamp);
}

// Its derivative by u.
template <Act ACT, class A>
STYLEMIX_HD A bias_act_slope(A u, const BiasActParams<A>& p) {
  const A y = act_value<ACT>(u, p.alpha) * p.gain;
  return act_slope<ACT>(u, p.alpha) * p.gain * clamp_slope(y, p.clamp);
}

// The same for a piecewise linear act with alpha >= 0, from y alone: its sign tells the side.
template <class A>
STYLEMIX_HD A bias_act_slope_of_output(A y, const BiasActParams<A>& p) {
  if (p.clamp >= 0 && (y >= p.clamp || y <= -p.clamp)) return A(0);
  return y * p.gain > 0 ? p.gain : p.gain * p.alpha;
}

// For results of type T: those that were clamped are the limit as it is rounded to T.
template <class T>
BiasActParams<Accumulator<T>> rounded_clamp(BiasActParams<Accumulator<T>> p) {
  if (p.clamp > 0) p.clamp = read(write<T>(p.clamp));
  return p;
}

// Its second derivative by u.
template <Act ACT, class A>
STYLEMIX_HD A bias_act_curvature(A u, const BiasActParams<A>& p) {
  const A y = act_value<ACT>(u, p.alpha) * p.gain;
  return act_curvature<ACT>(u) * p.gain * clamp_slope(y, p.clamp);
}

// Calls f with the activation as a compile-time constant.
template <class F>
void with_act(int64_t act, F&& f) {
  switch (static_cast<Act>(act)) {
    case Act::Tanh: return f(std::integral_constant<Act, Act::Tanh>());
    case Act::Sigmoid: return f(std::integral_constant<Act, Act::Sigmoid>());
    case Act::Elu: return f(std::integral_constant<Act, Act::Elu>());
    case Act::Selu: return f(std::integral_constant<Act, Act::Selu>());
    case Act::Softplus: return f(std::integral_constant<Act, Act::Softplus>());
    case Act::Swish: return f(std::integral_constant<Act, Act::Swish>());
    default: return f(std::integral_constant<Act, Act::Lrelu>());
  }
}

}  // namespace stylemix

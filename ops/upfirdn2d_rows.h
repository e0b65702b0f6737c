// upfirdn2d on the CPU, some output rows at a time: for the op itself and for the epilogue.
//
// A loop over "lanes" is one that vectorises: over channels where they are innermost
// (channels_last), else over the outputs of a row that have the same phase.
#pragma once

#include <algorithm>
#include <limits>

#include "geometry.h"

namespace stylemix {

// The filter in the order of correlation, times the gain.
template <class A>
std::vector<A> taps_of(const Tensor& f, bool flip, double gain) {
  const int64_t n = f.numel();
  const A* from = vector_of<A>(f, n);
  std::vector<A> taps(n);
  for (int64_t i = 0; i < n; i++)
    taps[i] = static_cast<A>(from[flip ? i : n - 1 - i] * static_cast<A>(gain));
  return taps;
}

// Splits taps [h, w] into an outer product of y (h numbers) and x (w numbers), where they are one.
template <class A>
bool separate(const A* taps, int h, int w, std::vector<A>& y, std::vector<A>& x) {
  int64_t peak = 0;
  for (int64_t i = 1; i < static_cast<int64_t>(h) * w; i++)
    if (std::abs(taps[i]) > std::abs(taps[peak])) peak = i;
  if (taps[peak] == 0) return false;
  y.resize(h), x.resize(w);
  for (int i = 0; i < h; i++) y[i] = taps[i * w + peak % w];
  for (int j = 0; j < w; j++) x[j] = taps[peak / w * w + j] / taps[peak];
  const A tolerance = std::abs(taps[peak]) * std::numeric_limits<A>::epsilon();
  for (int i = 0; i < h; i++)
    for (int j = 0; j < w; j++)
      if (std::abs(y[i] * x[j] - taps[i * w + j]) > tolerance) return false;
  return true;
}

template <class T, class Out>
class FirRows {
  using A = Accumulator<T>;
  using Fixed = void (*)(const FirRows&, const T*, const A*, Out*, int64_t lanes);

 public:
  FirRows(const Upfirdn2dParams& params, const A* filter) : p(params), f(filter) {
    const bool plain = p.up_x == 1 && p.up_y == 1 && p.down_y == 1 && (p.channels_last || p.down_x == 1);
    if (p.filter_w == 4 && p.filter_h == 4 && plain && separate(f, 4, 4, taps_y, taps_x)) {
      single = separable<1>, strip = separable<kStrip>;
    } else if (p.filter_w % p.up_x == 0 && p.filter_h % p.up_y == 0) {
      const int w = p.filter_w / p.up_x, h = p.filter_h / p.up_y;
      pick<4, 4>(w, h), pick<2, 2>(w, h), pick<12, 1>(w, h), pick<1, 12>(w, h);
      pick<6, 1>(w, h), pick<1, 6>(w, h), pick<4, 1>(w, h), pick<1, 4>(w, h);
    }
  }

  // Rows y .. y + rows of the result for the image, or plane, at x; row y goes to `out`.
  void operator()(const T* x, Out* out, int64_t y, int64_t rows) const {
    for (const int64_t end = y + rows; y < end;) {
      const Window wy = window_at(y, p.up_y, p.down_y, p.pad_y);
      const bool four = strip && y + kStrip <= end && window_inside(wy, p.filter_h, p.up_y, p.in_h, kStrip);
      const bool one = single && window_inside(wy, p.filter_h, p.up_y, p.in_h, 1);
      row(x, out, wy, four ? strip : one ? single : nullptr, four ? kStrip : 1);
      y += four ? kStrip : 1;
      out += (four ? kStrip : 1) * p.out_y;
    }
  }

 private:
  static constexpr int kStrip = 4;
  static constexpr int64_t kLanes = 64 / sizeof(T);  // one vector register
  Upfirdn2dParams p;
  const A* f;
  std::vector<A> taps_x, taps_y;
  Fixed single = nullptr, strip = nullptr;

  template <int W, int H>
  void pick(int w, int h) {
    if (w != W || h != H) return;
    const int64_t in = p.channels_last ? 1 : p.down_x, out = p.channels_last ? 1 : p.up_x;
    if (in == 1 && out == 1) single = fixed<W, H, 1, 1, 1>;
    if (in == 1 && out == 2) single = fixed<W, H, 1, 1, 2>;
    if (in == 2 && out == 1) single = fixed<W, H, 1, 2, 1>;
    if (single && in == 1 && out == 1 && H > 1 && p.up_y == 1 && p.down_y == 1)
      strip = fixed<W, H, kStrip, 1, 1>;
  }

  // Calls lane(k) for all k < count in blocks of a fixed size, which vectorise; the last block
  // overlaps the one before it instead of leaving a rest.
  template <class F>
  STYLEMIX_HD static void each_lane(int64_t count, F lane) {
    if (count < kLanes) {
      for (int64_t k = 0; k < count; k++) lane(k);
      return;
    }
    for (int64_t k = 0; k < count; k += kLanes) {
      const int64_t at = std::min(k, count - kLanes);
#pragma omp simd
      for (int64_t l = 0; l < kLanes; l++) lane(at + l);
    }
  }

  template <int W, int H, int R, int IN, int OUT>
  static void fixed(const FirRows& rows, const T* __restrict x, const A* taps,
                    Out* __restrict out, int64_t lanes) {
    const Upfirdn2dParams& p = rows.p;
    A local[W * H];  // a copy that nothing else can change, so that it stays in registers
    for (int i = 0; i < H; i++)
      for (int j = 0; j < W; j++) local[i * W + j] = taps[i * p.up_y * p.filter_w + j * p.up_x];
    const int64_t in_y = p.in_y, in_x = p.in_x, out_y = p.out_y;
    each_lane(lanes, [&](int64_t k) {
      A sum[R][1];
      window_sums<W, H, R, 1>(x + k * IN, in_y, in_x, local, W, 1, sum);
      STYLEMIX_UNROLL
      for (int r = 0; r < R; r++) out[r * out_y + k * OUT] = write<Out>(sum[r][0]);
    });
  }

  template <int R>
  static void separable(const FirRows& rows, const T* __restrict x, const A*,
                        Out* __restrict out, int64_t lanes) {
    A along_x[4], along_y[4];
    std::copy_n(rows.taps_x.data(), 4, along_x), std::copy_n(rows.taps_y.data(), 4, along_y);
    const int64_t in_y = rows.p.in_y, in_x = rows.p.in_x, out_y = rows.p.out_y;
    each_lane(lanes, [&](int64_t k) {
      A sum[R];
      window_sums_separable<4, 4, R>(x + k, in_y, in_x, along_x, along_y, sum);
      STYLEMIX_UNROLL
      for (int r = 0; r < R; r++) out[r * out_y + k] = write<Out>(sum[r]);
    });
  }

  // Channels in blocks, taps outside: any window, clipped at the edges.
  void clipped(const T* x, Out* out, Window wy, Window wx) const {
    constexpr int64_t kBlock = 128;
    for (int64_t c = 0; c < p.channels; c += kBlock) {
      const int64_t count = std::min(kBlock, p.channels - c);
      A sum[kBlock] = {};
      int64_t y = wy.start;
      for (int i = wy.first; i < p.filter_h; i += p.up_y, y++) {
        if (y < 0 || y >= p.in_h) continue;
        int64_t at = wx.start;
        for (int j = wx.first; j < p.filter_w; j += p.up_x, at++) {
          if (at < 0 || at >= p.in_w) continue;
          const A tap = f[i * p.filter_w + j];
          const T* __restrict from = x + y * p.in_y + at * p.in_x + c;
#pragma omp simd
          for (int64_t k = 0; k < count; k++) sum[k] += tap * read(from[k]);
        }
      }
      for (int64_t k = 0; k < count; k++) out[c + k] = write<Out>(sum[k]);
    }
  }

  void row(const T* x, Out* out, Window wy, Fixed inner, int rows) const {
    if (p.channels_last)
      row_of_pixels(x, out, wy, inner, rows);
    else
      row_of_plane(x, out, wy, inner, rows);
  }

  void row_of_pixels(const T* x, Out* out, Window wy, Fixed inner, int rows) const {
    for (int64_t o = 0; o < p.out_w; o++, out += p.out_x) {
      const Window wx = window_at(o, p.up_x, p.down_x, p.pad_x);
      if (inner && window_inside(wx, p.filter_w, p.up_x, p.in_w, 1)) {
        inner(*this, x + wy.start * p.in_y + wx.start * p.in_x, f + wy.first * p.filter_w + wx.first,
              out, p.channels);
        continue;
      }
      for (int r = 0; r < rows; r++)
        clipped(x, out + r * p.out_y, {wy.start + r, wy.first}, wx);
    }
  }

  void row_of_plane(const T* x, Out* out, Window wy, Fixed inner, int rows) const {
    for (int64_t phase = 0; phase < std::min<int64_t>(p.up_x, p.out_w); phase++) {
      const Window wx = window_at(phase, p.up_x, p.down_x, p.pad_x);
      const int64_t count = ceil_div(p.out_w - phase, p.up_x);
      const int64_t room = p.in_w - window_size(p.filter_w, wx.first, p.up_x) - wx.start;
      int64_t low = wx.start >= 0 ? 0 : ceil_div(-wx.start, p.down_x);
      int64_t high = room < 0 ? 0 : room / p.down_x + 1;
      low = inner ? std::min(low, count) : count;
      high = inner ? std::max(low, std::min(high, count)) : count;
      const auto one = [&](int64_t k) {
        for (int r = 0; r < rows; r++)
          out[r * p.out_y + phase + k * p.up_x] = write<Out>(
              window_sum(p, x, f, {wy.start + r, wy.first}, {wx.start + k * p.down_x, wx.first}));
      };
      for (int64_t k = 0; k < low; k++) one(k);
      if (low < high)
        inner(*this, x + wy.start * p.in_y + wx.start + low * p.down_x,
              f + wy.first * p.filter_w + wx.first, out + phase + low * p.up_x,
              high - low);
      for (int64_t k = high; k < count; k++) one(k);
    }
  }
};

}  // namespace stylemix

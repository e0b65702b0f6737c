// Arithmetic of upfirdn2d: which inputs an output sees, and their weighted sum.
//
// Inserted zeros contribute nothing, so each output is a small dense window of the input times
// every up-th tap of the filter. Which taps, depends only on the output's phase.
#pragma once

#include "scalar.h"

namespace stylemix {

struct Upfirdn2dParams {
  int64_t batch, channels, in_h, in_w, out_h, out_w;
  int64_t in_n, in_c, in_y, in_x;      // strides of the input
  int64_t out_n, out_c, out_y, out_x;  // strides of the output
  int up_x, up_y, down_x, down_y, pad_x, pad_y;
  int filter_w, filter_h;
  bool channels_last;
};

// Along one axis: the inputs start, start + 1, ... meet the taps first, first + up, ...
struct Window {
  int64_t start;
  int first;
};

STYLEMIX_HD Window window_at(int64_t output, int up, int down, int pad) {
  const int64_t place = output * down - pad;  // in the image with inserted zeros
  int64_t start = place / up;
  if (start * up < place) start++;
  return {start, static_cast<int>(start * up - place)};
}

// Number of inputs in a window that starts at tap `first`.
STYLEMIX_HD int window_size(int taps, int first, int up) {
  return first >= taps ? 0 : (taps - first + up - 1) / up;
}

// R outputs below each other, one input apart, from H + R - 1 rows of W inputs:
// sum[r] = sum over i < H, j < W of taps[i * tap_y + j * tap_x] * x[(r + i) * in_y + j * in_x],
// for V neighbouring numbers at once.
template <int W, int H, int R, int V, class T, class A>
STYLEMIX_HD void window_sums(const T* x, int64_t in_y, int64_t in_x, const A* taps, int tap_y,
                             int tap_x, A (&sum)[R][V]) {
  STYLEMIX_UNROLL
  for (int r = 0; r < R; r++) {
    STYLEMIX_UNROLL
    for (int k = 0; k < V; k++) sum[r][k] = 0;
  }
  STYLEMIX_UNROLL
  for (int row = 0; row < H + R - 1; row++) {
    STYLEMIX_UNROLL
    for (int j = 0; j < W; j++) {
      A values[V];
      read_pack<V>(x + row * in_y + j * in_x, values);
      STYLEMIX_UNROLL
      for (int r = 0; r < R; r++) {
        const int i = row - r;
        if (i >= 0 && i < H) {
          STYLEMIX_UNROLL
          for (int k = 0; k < V; k++) sum[r][k] += taps[i * tap_y + j * tap_x] * values[k];
        }
      }
    }
  }
}

// The same for taps that are an outer product: taps_x[j] * taps_y[i]; fewer products.
template <int W, int H, int R, class T, class A>
STYLEMIX_HD void window_sums_separable(const T* x, int64_t in_y, int64_t in_x, const A* taps_x,
                                       const A* taps_y, A (&sum)[R]) {
  STYLEMIX_UNROLL
  for (int r = 0; r < R; r++) sum[r] = 0;
  STYLEMIX_UNROLL
  for (int row = 0; row < H + R - 1; row++) {
    A value = 0;
    STYLEMIX_UNROLL
    for (int j = 0; j < W; j++) value += taps_x[j] * read(x[row * in_y + j * in_x]);
    STYLEMIX_UNROLL
    for (int r = 0; r < R; r++) {
      const int i = row - r;
      if (i >= 0 && i < H) sum[r] += taps_y[i] * value;
    }
  }
}

// One output whose window may reach over the edges, where the image is zero.
template <class T, class A>
STYLEMIX_HD A window_sum(const Upfirdn2dParams& p, const T* x, const A* filter, Window wy,
                         Window wx) {
  A sum = 0;
  int64_t y = wy.start;
  for (int i = wy.first; i < p.filter_h; i += p.up_y, y++) {
    if (y < 0 || y >= p.in_h) continue;
    int64_t at = wx.start;
    for (int j = wx.first; j < p.filter_w; j += p.up_x, at++) {
      if (at < 0 || at >= p.in_w) continue;
      sum += filter[i * p.filter_w + j] * read(x[y * p.in_y + at * p.in_x]);
    }
  }
  return sum;
}

// Whether the windows of `outputs` outputs, one input apart, lie inside an axis of this size.
STYLEMIX_HD bool window_inside(Window w, int taps, int up, int64_t size, int outputs) {
  return w.start >= 0 && w.start + window_size(taps, w.first, up) + outputs - 1 <= size;
}

// Up to R outputs below each other from row y on, in column x, for V channels side by side. W and H
// are the sizes of all windows where they are known when this is compiled, else 0.
template <int W, int H, int R, int V, class T, class A>
STYLEMIX_HD void filter_strip(const Upfirdn2dParams& p, const T* x, const A* filter, int64_t y,
                              int64_t column, int rows, A (&sum)[R][V]) {
  const Window wx = window_at(column, p.up_x, p.down_x, p.pad_x);
  const Window wy = window_at(y, p.up_y, p.down_y, p.pad_y);
  if constexpr (W > 0) {
    if (rows == R && window_inside(wx, p.filter_w, p.up_x, p.in_w, 1) &&
        window_inside(wy, p.filter_h, p.up_y, p.in_h, R)) {
      window_sums<W, H, R, V>(x + wy.start * p.in_y + wx.start * p.in_x, p.in_y, p.in_x,
                              filter + wy.first * p.filter_w + wx.first, p.up_y * p.filter_w,
                              p.up_x, sum);
      return;
    }
  }
  for (int r = 0; r < R; r++) {
    const Window w = window_at(y + r, p.up_y, p.down_y, p.pad_y);
    for (int k = 0; k < V; k++)
      sum[r][k] = r < rows ? window_sum(p, x + k * p.in_c, filter, w, wx) : A(0);
  }
}

}  // namespace stylemix

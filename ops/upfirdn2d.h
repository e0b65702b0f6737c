// Arithmetic of upfirdn2d: which inputs an output sees, and their weighted sum.
//
// Inserted zeros contribute nothing, so each output is a small dense window of the input times
// every up-th tap of the filter. Which taps, depends only on the output's phase.
#pragma once

#include "pack.h"

namespace stylemix {

struct Upfirdn2dParams {
  int64_t batch, channels, in_h, in_w, out_h, out_w;
  int64_t in_n, in_c, in_y, in_x;      // strides of the input
  int64_t out_n, out_c, out_y, out_x;  // strides of the output
  int up_x, up_y, down_x, down_y, pad_x, pad_y;
  int filter_w, filter_h;
  bool channels_last;
};

// A filter in the order of correlation, times the gain.
template <class A>
struct Taps {
  const A* filter;
  int count;
  bool flip;
  A gain;

  STYLEMIX_HD A operator[](int i) const { return filter[flip ? i : count - 1 - i] * gain; }
};

// Along one axis: the inputs start, start + 1, ... meet the taps first, first + up, ...
template <class I>
struct Window {
  I start;
  int first;
};

template <class I>
STYLEMIX_HD Window<I> window_at(I output, int up, int down, int pad) {
  const I place = output * down - pad;  // in the image with inserted zeros
  I start = place / up;
  if (start * up < place) start++;
  return {start, static_cast<int>(start * up - place)};
}

// Number of inputs in a window that starts at tap `first`.
STYLEMIX_HD int window_size(int taps, int first, int up) {
  return first >= taps ? 0 : (taps - first + up - 1) / up;
}

// ROWS x COLUMNS outputs that lie together, by a filter of W x H taps: the inputs they share.
template <int W_, int H_, int UP_X_, int UP_Y_, int ROWS_, int COLUMNS_>
struct Group {
  static constexpr int W = W_, H = H_, UP_X = UP_X_, UP_Y = UP_Y_;
  static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_;
  static constexpr int IN_W = (W + COLUMNS - 1) / UP_X, IN_H = (H + ROWS - 1) / UP_Y;
};

// Where the inputs of a group start in an image of in_h x in_w pixels.
struct Corner {
  int y, x, in_h, in_w;

  template <class G>
  STYLEMIX_HD bool inside() const {
    return y >= 0 && x >= 0 && y + G::IN_H <= in_h && x + G::IN_W <= in_w;
  }
};

// The outputs of a group for V channels side by side. `x` points to the first of its inputs, which
// the last of the UP first taps meets in the first output. With CLIPPED the inputs may lie over
// the edges, where the image is zero.
template <class G, int V, bool CLIPPED, class T, class A>
STYLEMIX_HD void window_sums(const T* x, int64_t in_y, int64_t in_x, const Corner& corner,
                             const A* taps, A (&sum)[G::ROWS][G::COLUMNS][V]) {
  STYLEMIX_UNROLL
  for (int i = 0; i < G::ROWS * G::COLUMNS * V; i++)
    sum[i / (G::COLUMNS * V)][i / V % G::COLUMNS][i % V] = 0;
  STYLEMIX_UNROLL
  for (int i = 0; i < G::IN_H; i++) {
    STYLEMIX_UNROLL
    for (int j = 0; j < G::IN_W; j++) {
      if constexpr (CLIPPED) {
        const int y = corner.y + i, x = corner.x + j;
        if (y < 0 || y >= corner.in_h || x < 0 || x >= corner.in_w) continue;
      }
      const Pack<T, V> values = load<V>(x + i * in_y + j * in_x);
      STYLEMIX_UNROLL
      for (int r = 0; r < G::ROWS; r++) {
        const int tap_y = G::UP_Y * (i + 1) - 1 - r;
        STYLEMIX_UNROLL
        for (int c = 0; c < G::COLUMNS; c++) {
          const int tap_x = G::UP_X * (j + 1) - 1 - c;
          if (tap_y < 0 || tap_y >= G::H || tap_x < 0 || tap_x >= G::W) continue;
          STYLEMIX_UNROLL
          for (int k = 0; k < V; k++)
            sum[r][c][k] += taps[tap_y * G::W + tap_x] * read(values.v[k]);
        }
      }
    }
  }
}

// One output for V channels side by side, by any filter, at any place.
template <int V, class T, class F, class I, class A>
STYLEMIX_HD void window_sum(const Upfirdn2dParams& p, const T* x, const F& filter, Window<I> wy,
                            Window<I> wx, A (&sum)[V]) {
  STYLEMIX_UNROLL
  for (int k = 0; k < V; k++) sum[k] = 0;
  I y = wy.start;
  for (int i = wy.first; i < p.filter_h; i += p.up_y, y++) {
    if (y < 0 || y >= static_cast<I>(p.in_h)) continue;
    I at = wx.start;
    for (int j = wx.first; j < p.filter_w; j += p.up_x, at++) {
      if (at < 0 || at >= static_cast<I>(p.in_w)) continue;
      const A tap = filter[i * p.filter_w + j];
      const Pack<T, V> values = load<V>(x + y * p.in_y + at * p.in_x);
      STYLEMIX_UNROLL
      for (int k = 0; k < V; k++) sum[k] += tap * read(values.v[k]);
    }
  }
}

}  // namespace stylemix

// What one GPU thread of upfirdn2d and epilogue does, run on the host for all threads.
#include "epilogue.h"
#include "upfirdn2d.h"

using namespace stylemix;

template <int W, int H, int R, int V>
static void strips(const Upfirdn2dParams& p, const double* x, const double* taps, double* y) {
  for (int64_t n = 0; n < p.batch; n++)
    for (int64_t c = 0; c < p.channels; c += V)
      for (int64_t row = 0; row < p.out_h; row += R)
        for (int64_t column = 0; column < p.out_w; column++) {
          const int rows = static_cast<int>(p.out_h - row < R ? p.out_h - row : R);
          double sum[R][V];
          filter_strip<W, H, R, V>(p, x + n * p.in_n + c * p.in_c, taps, row, column, rows, sum);
          for (int r = 0; r < rows; r++)
            write_pack<V>(y + n * p.out_n + c * p.out_c + (row + r) * p.out_y + column * p.out_x,
                          sum[r]);
        }
}

// kind: 0 any window, 1 windows of 4 x 4 in strips of 4 rows, 2 of 2 x 2, 3 of 6 x 1; packs of 2
// channels where `wide`. All sizes and strides as in Upfirdn2dParams, in its order.
extern "C" __attribute__((visibility("default"))) void filter_by_strips(
    const int64_t* v, int kind, bool wide, const double* x, const double* taps, double* y) {
  Upfirdn2dParams p{};
  p.batch = v[0], p.channels = v[1], p.in_h = v[2], p.in_w = v[3], p.out_h = v[4], p.out_w = v[5];
  p.in_n = v[6], p.in_c = v[7], p.in_y = v[8], p.in_x = v[9];
  p.out_n = v[10], p.out_c = v[11], p.out_y = v[12], p.out_x = v[13];
  p.up_x = static_cast<int>(v[14]), p.up_y = static_cast<int>(v[15]);
  p.down_x = static_cast<int>(v[16]), p.down_y = static_cast<int>(v[17]);
  p.pad_x = static_cast<int>(v[18]), p.pad_y = static_cast<int>(v[19]);
  p.filter_w = static_cast<int>(v[20]), p.filter_h = static_cast<int>(v[21]);
  if (kind == 0) wide ? strips<0, 0, 1, 2>(p, x, taps, y) : strips<0, 0, 1, 1>(p, x, taps, y);
  if (kind == 1) wide ? strips<4, 4, 4, 2>(p, x, taps, y) : strips<4, 4, 4, 1>(p, x, taps, y);
  if (kind == 2) wide ? strips<2, 2, 1, 2>(p, x, taps, y) : strips<2, 2, 1, 1>(p, x, taps, y);
  if (kind == 3) wide ? strips<6, 1, 1, 2>(p, x, taps, y) : strips<6, 1, 1, 1>(p, x, taps, y);
}

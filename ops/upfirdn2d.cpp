// upfirdn2d on the CPU.
#include "upfirdn2d_rows.h"

namespace stylemix {
namespace {

template <class T>
void run(const Upfirdn2dParams& p, const T* x, const std::vector<Accumulator<T>>& taps, T* y) {
  const FirRows<T, T> rows(p, taps.data());
  const int64_t planes = p.channels_last ? 1 : p.channels;
  const int64_t width = p.out_w * p.channels / planes;  // numbers in a row
  const int64_t step = std::max<int64_t>(4, ceil_div(8192, width) / 4 * 4);
  const int64_t tasks = ceil_div(p.out_h, step);
  torch::stable::parallel_for(0, p.batch * planes * tasks, 1, [&](int64_t from, int64_t to) {
    for (int64_t task = from; task < to; task++) {
      const int64_t image = task / tasks / planes, plane = task / tasks % planes;
      const int64_t row = task % tasks * step;
      rows(x + image * p.in_n + plane * p.in_c,
           y + image * p.out_n + plane * p.out_c + row * p.out_y, row,
           std::min(step, p.out_h - row));
    }
  });
}

Tensor upfirdn2d(Tensor x, Tensor f, int64_t up_x, int64_t up_y, int64_t down_x, int64_t down_y,
                 int64_t x0, int64_t x1, int64_t y0, int64_t y1, bool flip, double gain) {
  const Layout s = layout_of(x, 1);
  const bool last = s.format == MemoryFormat::ChannelsLast;
  x = in_format(x, s.format);
  const auto p = geometry(x, f, up_x, up_y, down_x, down_y, x0, x1, y0, y1, last);
  Tensor y = empty({p.batch, p.channels, p.out_h, p.out_w}, x, x.scalar_type(), s.format);
  if (y.numel() == 0) return y;
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    run<T>(p, data_of<T>(x), taps_of<Accumulator<T>>(f, flip, gain), output_of<T>(y));
  });
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(stylemix, CPU, m) { m.impl("upfirdn2d", TORCH_BOX(&upfirdn2d)); }

}  // namespace stylemix

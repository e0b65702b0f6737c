// Sizes and strides of a call of upfirdn2d or epilogue.
#pragma once

#include "tensors.h"
#include "upfirdn2d.h"

namespace stylemix {

// Geometry for x [N, C, H, W] in either memory format, and for a result in the same format.
inline Upfirdn2dParams geometry(const Tensor& x, const Tensor& f, int64_t up_x, int64_t up_y,
                                int64_t down_x, int64_t down_y, int64_t x0, int64_t x1,
                                int64_t y0, int64_t y1, bool last) {
  Upfirdn2dParams p{};
  p.channels_last = last;
  p.batch = x.size(0), p.channels = x.size(1), p.in_h = x.size(2), p.in_w = x.size(3);
  p.filter_h = static_cast<int>(f.size(0)), p.filter_w = static_cast<int>(f.size(1));
  p.up_x = static_cast<int>(up_x), p.up_y = static_cast<int>(up_y);
  p.down_x = static_cast<int>(down_x), p.down_y = static_cast<int>(down_y);
  p.pad_x = static_cast<int>(x0), p.pad_y = static_cast<int>(y0);
  const int64_t room_h = p.in_h * up_y + y0 + y1 - p.filter_h;
  const int64_t room_w = p.in_w * up_x + x0 + x1 - p.filter_w;
  const auto fits = [](int64_t room, int taps) { return room >= 0 || room + taps == 0; };
  STD_TORCH_CHECK(fits(room_h, p.filter_h) && fits(room_w, p.filter_w), "stylemix: the padded image of ",
                  room_w + p.filter_w, " x ", room_h + p.filter_h,
                  " pixels is smaller than the filter of ", p.filter_w, " x ", p.filter_h);
  p.out_h = room_h < 0 ? 0 : room_h / down_y + 1, p.out_w = room_w < 0 ? 0 : room_w / down_x + 1;
  const auto strides = [&](int64_t h, int64_t w, int64_t& n, int64_t& c, int64_t& y, int64_t& x) {
    n = p.channels * h * w;
    c = last ? 1 : h * w;
    y = last ? w * p.channels : w;
    x = last ? p.channels : 1;
  };
  strides(p.in_h, p.in_w, p.in_n, p.in_c, p.in_y, p.in_x);
  strides(p.out_h, p.out_w, p.out_n, p.out_c, p.out_y, p.out_x);
  return p;
}

}  // namespace stylemix

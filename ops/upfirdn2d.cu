// upfirdn2d on the GPU: each thread takes a strip of outputs, for a pack of channels.
#include "launch.cuh"

namespace stylemix {
namespace {

constexpr int kFewTaps = 256;  // of a filter whose windows have a size known in advance

template <int W, int H, int R, int V, class T>
__global__ void __launch_bounds__(kThreads, 2)
    fir(Upfirdn2dParams p, const T* x, const Accumulator<T>* filter, bool flip,
        Accumulator<T> gain, T* y) {
  using A = Accumulator<T>;
  __shared__ A taps[W > 0 ? kFewTaps : kMostTaps];
  load_taps(filter, p.filter_w * p.filter_h, flip, gain, taps);
  const int64_t lanes = p.channels / V;
  const int width = static_cast<int>(p.out_w);
  const int items = static_cast<int>((p.out_h + R - 1) / R) * width;
  for (int64_t n = blockIdx.z; n < p.batch; n += gridDim.z)
    for (int64_t lane = blockIdx.y * blockDim.x + threadIdx.x; lane < lanes;
         lane += static_cast<int64_t>(gridDim.y) * blockDim.x) {
      const T* from = x + n * p.in_n + lane * V * p.in_c;
      T* to = y + n * p.out_n + lane * V * p.out_c;
      for (int64_t item = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
           item < items; item += static_cast<int64_t>(gridDim.x) * blockDim.y) {
        const int64_t row = static_cast<int>(item) / width * static_cast<int64_t>(R);
        const int64_t column = static_cast<int>(item) % width;
        const int rows = static_cast<int>(p.out_h - row < R ? p.out_h - row : R);
        A sum[R][V];
        filter_strip<W, H, R, V>(p, from, taps, row, column, rows, sum);
        STYLEMIX_UNROLL
        for (int r = 0; r < R; r++)
          if (r < rows) write_pack<V>(to + (row + r) * p.out_y + column * p.out_x, sum[r]);
      }
    }
}

template <class T>
struct Call {
  using A = Accumulator<T>;
  const OnDevice& device;
  const Upfirdn2dParams& p;
  const T* x;
  const A* filter;
  bool flip;
  A gain;
  T* y;

  template <int W, int H, int R, int V>
  void launch() const {
    const Threads threads(device, p, ceil_div(p.out_h, R) * p.out_w, V);
    fir<W, H, R, V><<<threads.grid, threads.block, 0, device.stream()>>>(p, x, filter, flip, gain,
                                                                        y);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  template <int W, int H, int R>
  bool tried(int w, int h, bool strips, bool wide) const {
    if (w != W || h != H || (R > 1 && !strips)) return false;
    wide ? launch<W, H, R, kPack<T>>() : launch<W, H, R, 1>();
    return true;
  }

  void run() const {
    const bool wide = packs<T>(p, {x, y});
    const bool even = p.filter_w % p.up_x == 0 && p.filter_h % p.up_y == 0 &&
                      p.filter_w * p.filter_h <= kFewTaps;
    const int w = even ? p.filter_w / p.up_x : 0, h = even ? p.filter_h / p.up_y : 0;
    const bool strips = p.up_y == 1 && p.down_y == 1;
    if (tried<4, 4, 4>(w, h, strips, wide) || tried<4, 4, 1>(w, h, strips, wide) ||
        tried<2, 2, 1>(w, h, strips, wide) || tried<12, 1, 1>(w, h, strips, wide) ||
        tried<1, 12, 1>(w, h, strips, wide) || tried<6, 1, 1>(w, h, strips, wide) ||
        tried<1, 6, 1>(w, h, strips, wide))
      return;
    wide ? launch<0, 0, 1, kPack<T>>() : launch<0, 0, 1, 1>();
  }
};

Tensor upfirdn2d(Tensor x, Tensor f, int64_t up_x, int64_t up_y, int64_t down_x, int64_t down_y,
                 int64_t x0, int64_t x1, int64_t y0, int64_t y1, bool flip, double gain) {
  const OnDevice device(x);
  const Layout s = layout_of(x, 1);
  const bool last = s.format == MemoryFormat::ChannelsLast;
  x = in_format(x, s.format);
  const auto p = geometry(x, f, up_x, up_y, down_x, down_y, x0, x1, y0, y1, last);
  check_filter(p);
  Tensor y = empty({p.batch, p.channels, p.out_h, p.out_w}, x, x.scalar_type(), s.format);
  if (y.numel() == 0) return y;
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    using A = Accumulator<T>;
    Call<T>{device, p, data_of<T>(x), vector_of<A>(f, f.numel()), flip, static_cast<A>(gain),
            output_of<T>(y)}
        .run();
  });
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(stylemix, CUDA, m) { m.impl("upfirdn2d", TORCH_BOX(&upfirdn2d)); }

}  // namespace stylemix

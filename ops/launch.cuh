// How kernels are launched: on the tensor's device and the current stream, and by which threads.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/macros.h>

#include <algorithm>

#include "geometry.h"

namespace stylemix {

constexpr int kThreads = 256;
constexpr int kMostTaps = 2048;  // of a filter in shared memory

// Makes a tensor's device the current one for as long as it lives.
class OnDevice {
 public:
  explicit OnDevice(const Tensor& x) : guard_(x.get_device_index()) {
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(x.get_device_index(), &stream));
    stream_ = static_cast<cudaStream_t>(stream);
    STD_CUDA_CHECK(cudaDeviceGetAttribute(&processors_, cudaDevAttrMultiProcessorCount,
                                          x.get_device_index()));
  }

  cudaStream_t stream() const { return stream_; }
  int64_t processors() const { return processors_; }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_ = nullptr;
  int processors_ = 0;
};

template <class T>
constexpr int kPack = 16 / sizeof(T);  // numbers in the widest load

inline bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// Threads for [images, channels, pixels]: x along lanes of V channels, y along pixels. Where pixels
// are innermost in memory a lane is one channel, and y alone runs along memory.
struct Threads {
  dim3 grid, block;

  Threads(const OnDevice& device, const Upfirdn2dParams& p, int64_t items, int pack) {
    const int64_t lanes = p.channels / pack;
    unsigned width = 1;
    while (p.channels_last && width < lanes && width < 128) width *= 2;
    block = dim3(width, kThreads / width);
    const int64_t across = std::min<int64_t>(ceil_div(lanes, width), 65535);
    const int64_t images = std::min<int64_t>(p.batch, 65535);
    const int64_t wanted = ceil_div(device.processors() * 16, across * images);
    grid = dim3(static_cast<unsigned>(std::clamp<int64_t>(wanted, 1, ceil_div(items, block.y))),
                static_cast<unsigned>(across), static_cast<unsigned>(images));
  }
};

// Whether V channels can be read at once from every one of these.
template <class T>
bool packs(const Upfirdn2dParams& p, std::initializer_list<const void*> pointers) {
  return p.channels_last && p.channels % kPack<T> == 0 &&
         std::all_of(pointers.begin(), pointers.end(), aligned);
}

// Copies a filter to shared memory, in the order of correlation and times the gain.
template <class A>
__device__ void load_taps(const A* filter, int count, bool flip, A gain, A* taps) {
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  for (int i = thread; i < count; i += kThreads)
    taps[i] = filter[flip ? i : count - 1 - i] * gain;
  __syncthreads();
}

inline void check_filter(const Upfirdn2dParams& p) {
  STD_TORCH_CHECK(p.filter_w * p.filter_h <= kMostTaps, "stylemix: got a filter of ",
                  p.filter_w * p.filter_h, " taps; expected at most ", kMostTaps, " on a GPU");
  STD_TORCH_CHECK(p.out_h * p.out_w < (int64_t(1) << 31), "stylemix: got an image of ",
                  p.out_h * p.out_w, " pixels; expected less than 2^31 on a GPU");
}

}  // namespace stylemix

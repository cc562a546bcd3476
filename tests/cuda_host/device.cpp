// The device itself, an H200 by its figures, and kernels: looked at, counted and put into their stream, not run.
#include "books.h"

#include <cstdio>
#include <cstring>

using namespace books;

namespace {

constexpr int multiprocessors = 132, threads_in_block = 1024, widest_grid_aside = 65535;
constexpr int shared_bytes = 49152, most_shared_bytes = 232448;

bool fits(dim3 grid, dim3 block) {
    const unsigned threads = block.x * block.y * block.z;
    return grid.x && grid.y && grid.z && grid.y <= widest_grid_aside && grid.z <= widest_grid_aside && threads &&
           threads <= threads_in_block;
}

cudaError_t launch(dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
    LOCKED;
    all().launches++;
    if (!fits(grid, block) || shared > most_shared_bytes) {
        complain("a kernel of %u %u %u blocks of %u %u %u threads, %zu bytes shared", grid.x, grid.y, grid.z, block.x,
                 block.y, block.z, shared);
        return told(cudaErrorInvalidConfiguration);
    }
    if (fails(Call::launch)) return told(cudaErrorMemoryAllocation);
    return put(stream, "a kernel");
}

}  // namespace

EXPORTED cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
EXPORTED cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
EXPORTED cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : told(cudaErrorInvalidDevice); }
EXPORTED cudaError_t cudaDriverGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
EXPORTED cudaError_t cudaRuntimeGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
EXPORTED cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) { return *can = 0, cudaSuccess; }
EXPORTED cudaError_t cudaProfilerStart() { return cudaSuccess; }
EXPORTED cudaError_t cudaProfilerStop() { return cudaSuccess; }

EXPORTED cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int) {
    snprintf(text, length, "0000:00:00.0");
    return cudaSuccess;
}

EXPORTED cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

EXPORTED cudaError_t cudaGetDeviceProperties(cudaDeviceProp* told_of, int) {
    memset(told_of, 0, sizeof *told_of);
    strcpy(told_of->name, "NVIDIA H200");
    told_of->major = 9;
    told_of->totalGlobalMem = total_bytes();
    told_of->multiProcessorCount = multiprocessors;
    told_of->warpSize = 32;
    told_of->maxThreadsPerBlock = threads_in_block;
    told_of->maxThreadsDim[0] = told_of->maxThreadsDim[1] = threads_in_block;
    told_of->maxThreadsDim[2] = 64;
    told_of->maxGridSize[0] = 2147483647;
    told_of->maxGridSize[1] = told_of->maxGridSize[2] = widest_grid_aside;
    told_of->maxThreadsPerMultiProcessor = 2048;
    told_of->maxBlocksPerMultiProcessor = 32;
    told_of->sharedMemPerBlock = shared_bytes;
    told_of->sharedMemPerBlockOptin = most_shared_bytes;
    told_of->sharedMemPerMultiprocessor = 233472;
    told_of->regsPerBlock = told_of->regsPerMultiprocessor = 65536;
    told_of->l2CacheSize = 60 << 20;
    told_of->textureAlignment = 512;
    told_of->asyncEngineCount = 3;
    told_of->concurrentKernels = told_of->unifiedAddressing = told_of->cooperativeLaunch = 1;
    told_of->managedMemory = told_of->canMapHostMemory = told_of->streamPrioritiesSupported = 1;
    return cudaSuccess;
}

EXPORTED cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
    switch (which) {
        case cudaDevAttrMaxThreadsPerBlock: *value = threads_in_block; break;
        case cudaDevAttrMultiProcessorCount: *value = multiprocessors; break;
        case cudaDevAttrComputeCapabilityMajor: *value = 9; break;
        case cudaDevAttrMaxSharedMemoryPerBlock: *value = shared_bytes; break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = most_shared_bytes; break;
        case cudaDevAttrWarpSize: *value = 32; break;
        case cudaDevAttrMaxGridDimX: *value = 2147483647; break;
        case cudaDevAttrMaxGridDimY:
        case cudaDevAttrMaxGridDimZ: *value = widest_grid_aside; break;
        case cudaDevAttrMaxThreadsPerMultiProcessor: *value = 2048; break;
        default: *value = 0;
    }
    return cudaSuccess;
}

// PyTorch asks here for functions of the driver that it can do without.
EXPORTED cudaError_t cudaGetDriverEntryPointByVersion(const char*, void** function, unsigned, unsigned long long,
                                                      cudaDriverEntryPointQueryResult* result) {
    *function = nullptr;
    if (result) *result = cudaDriverEntryPointSymbolNotFound;
    return cudaErrorNotSupported;
}

// ---- kernels

EXPORTED cudaError_t cudaLaunchKernel(const void*, dim3 grid, dim3 block, void**, size_t shared, cudaStream_t stream) {
    return launch(grid, block, shared, stream);
}

EXPORTED cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* how, const void*, void**) {
    return launch(how->gridDim, how->blockDim, how->dynamicSmemBytes, how->stream);
}

EXPORTED cudaError_t cudaLaunchCooperativeKernel(const void*, dim3 grid, dim3 block, void**, size_t shared,
                                                 cudaStream_t stream) {
    return launch(grid, block, shared, stream);
}

// What the compiler puts in the place of <<<...>>>, from CUDA 13 on.
EXPORTED cudaError_t __cudaLaunchKernel(void*, dim3 grid, dim3 block, void**, size_t shared, cudaStream_t stream) {
    return launch(grid, block, shared, stream);
}

EXPORTED cudaError_t __cudaGetKernel(void** kernel, const void* function) {
    *kernel = const_cast<void*>(function);
    return cudaSuccess;
}

EXPORTED char __cudaInitModule(void**) { return 1; }

EXPORTED cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* told_of, const void*) {
    memset(told_of, 0, sizeof *told_of);
    told_of->maxThreadsPerBlock = threads_in_block;
    told_of->numRegs = 32;
    told_of->ptxVersion = told_of->binaryVersion = 90;
    told_of->maxDynamicSharedSizeBytes = most_shared_bytes;
    return cudaSuccess;
}

EXPORTED cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

EXPORTED cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* count, const void*, int, size_t) {
    return *count = 2, cudaSuccess;
}

EXPORTED cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* count, const void*, int, size_t,
                                                                            unsigned) {
    return *count = 2, cudaSuccess;
}

// Kernels that come by the driver: Triton's (driver.cpp).
EXPORTED int cuda_host_driver_launch(const unsigned* grid, const unsigned* block, unsigned shared, void* stream) {
    return launch({grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, shared,
                  static_cast<cudaStream_t>(stream));
}

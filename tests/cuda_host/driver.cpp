// libcuda.so.1 as far as PyTorch and Triton ask for it: modules load, kernels go to the books as the runtime's do.
//
// Without the driver's header; results are numbers, 801 is "not supported".
#include <dlfcn.h>

#include <cstddef>
#include <cstring>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

constexpr int good = 0, failed = 1, not_supported = 801;
char context, module, function;  // what handles point to

using Launch = int (*)(const unsigned*, const unsigned*, unsigned, void*);

int launch(const unsigned* grid, const unsigned* block, unsigned shared, void* stream) {
    static const auto books = reinterpret_cast<Launch>(dlsym(RTLD_DEFAULT, "cuda_host_driver_launch"));
    return books ? books(grid, block, shared, stream) : failed;
}

}  // namespace

EXPORTED int cuInit(unsigned) { return good; }
EXPORTED int cuDriverGetVersion(int* version) { return *version = 13000, good; }
EXPORTED int cuGetErrorString(int, const char** text) { return *text = "an error of the pretended driver", good; }
EXPORTED int cuDeviceGet(int* device, int) { return *device = 0, good; }
EXPORTED int cuCtxGetCurrent(void** current) { return *current = &context, good; }
EXPORTED int cuCtxSetCurrent(void*) { return good; }
EXPORTED int cuDevicePrimaryCtxRetain(void** held, int) { return *held = &context, good; }
EXPORTED int cuDevicePrimaryCtxGetState(int, unsigned* flags, int* is_active) {
    *flags = 0;
    *is_active = 1;
    return good;
}

EXPORTED int cuDeviceGetAttribute(int* value, int which, int) {
    switch (which) {
        case 8: *value = 49152; break;      // shared memory of a block
        case 10: *value = 32; break;        // threads of a warp
        case 12: *value = 65536; break;     // registers of a block
        case 13: *value = 1980000; break;   // clock, kHz
        case 16: *value = 132; break;       // multiprocessors
        case 36: *value = 3201000; break;   // memory's clock, kHz
        case 37: *value = 6144; break;      // memory's bus, bits
        case 97: *value = 232448; break;    // most shared memory of a block
        default: *value = 0;
    }
    return good;
}

EXPORTED int cuModuleLoad(void** made, const char*) { return *made = &module, good; }
EXPORTED int cuModuleLoadData(void** made, const void*) { return *made = &module, good; }
EXPORTED int cuModuleLoadDataEx(void** made, const void*, unsigned, void*, void*) { return *made = &module, good; }
EXPORTED int cuModuleUnload(void*) { return good; }
EXPORTED int cuModuleGetFunction(void** found, void*, const char*) { return *found = &function, good; }
EXPORTED int cuFuncSetAttribute(void*, int, int) { return good; }
EXPORTED int cuFuncSetCacheConfig(void*, int) { return good; }
EXPORTED int cuFuncGetAttribute(int* value, int which, void*) {
    *value = which == 0 ? 1024 : which == 4 ? 32 : 0;  // threads of a block, registers
    return good;
}

EXPORTED int cuLaunchKernel(void*, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                            unsigned block_z, unsigned shared, void* stream, void**, void**) {
    const unsigned grid[] = {grid_x, grid_y, grid_z}, block[] = {block_x, block_y, block_z};
    return launch(grid, block, shared, stream);
}

// How a kernel is launched, as the driver's interface lays it out.
struct How {
    unsigned grid[3], block[3], shared;
    void* stream;
};

EXPORTED int cuLaunchKernelEx(const How* how, void*, void**, void**) {
    return launch(how->grid, how->block, how->shared, how->stream);
}

EXPORTED int cuPointerGetAttribute(void* told, int, unsigned long long place) {
    memcpy(told, &place, sizeof place);  // where the device sees it: where the host does
    return good;
}

EXPORTED int cuOccupancyMaxActiveClusters(int* count, void*, void*) { return *count = 1, good; }
EXPORTED int cuTensorMapEncodeTiled() { return good; }

// Looked up when a library is loaded, never called here.
#define NOT_SUPPORTED(name) \
    EXPORTED int name() { return not_supported; }
NOT_SUPPORTED(cuLaunchCooperativeKernel)
NOT_SUPPORTED(cuLinkCreate)
NOT_SUPPORTED(cuLinkCreate_v2)
NOT_SUPPORTED(cuLinkAddData)
NOT_SUPPORTED(cuLinkAddData_v2)
NOT_SUPPORTED(cuLinkComplete)
NOT_SUPPORTED(cuMemGetAddressRange)
NOT_SUPPORTED(cuOccupancyMaxActiveBlocksPerMultiprocessor)
NOT_SUPPORTED(cuCtxGetLimit)
NOT_SUPPORTED(cuCtxSetLimit)

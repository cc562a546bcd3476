// cuBLAS, cuDNN and cuFFT as far as they meet streams and captures: their work is put into a stream, and not done.
//
// Without their headers: statuses are numbers, handles are addresses of ours. On x86-64 a function may be called with
// more arguments than it takes.
#include "books.h"

#include <cstdint>
#include <cstring>

using namespace books;

namespace {

constexpr int good = 0, execution_failed = 13, cudnn_not_supported = 3000, cudnn_execution_failed = 5000;
constexpr int fft_execution_failed = 6;

struct Handle {
    cudaStream_t stream = nullptr;
    int math = 0, pointers = 0;
    void* workspace = nullptr;
};

void begin(void** handle, const char* what) {
    LOCKED;
    if (captures_now()) complain("%s is set up within a capture", what);
    *handle = new Handle;
}

int product(Handle* handle) {
    LOCKED;
    if (!handle->workspace) complain("cuBLAS works without a workspace of PyTorch's: it would take one of its own");
    return put(handle->stream, "a product") ? execution_failed : good;
}

}  // namespace

// ---- cuBLAS

EXPORTED int cublasCreate_v2(void** handle) { return begin(handle, "cuBLAS"), good; }
EXPORTED int cublasDestroy_v2(Handle* handle) { return delete handle, good; }
EXPORTED int cublasGetMathMode(Handle* handle, int* mode) { return *mode = handle->math, good; }
EXPORTED int cublasSetMathMode(Handle* handle, int mode) { return handle->math = mode, good; }
EXPORTED int cublasGetPointerMode_v2(Handle* handle, int* mode) { return *mode = handle->pointers, good; }
EXPORTED int cublasSetPointerMode_v2(Handle* handle, int mode) { return handle->pointers = mode, good; }

EXPORTED int cublasSetStream_v2(Handle* handle, cudaStream_t stream) {
    handle->stream = stream;
    handle->workspace = nullptr;  // as its manual says
    return good;
}

EXPORTED int cublasSetWorkspace_v2(Handle* handle, void* place, size_t) {
    LOCKED;
    handle->workspace = place;
    if (place && !block_of(place)) complain("a workspace of cuBLAS that is no memory of the device");
    return good;
}

#define PRODUCT(name) \
    EXPORTED int name(Handle* handle) { return product(handle); }
#define OF_FOUR_TYPES(what) \
    PRODUCT(cublasS##what) PRODUCT(cublasD##what) PRODUCT(cublasC##what) PRODUCT(cublasZ##what)

OF_FOUR_TYPES(gemm_v2)
OF_FOUR_TYPES(gemmStridedBatched)
OF_FOUR_TYPES(gemv_v2)
OF_FOUR_TYPES(trsm_v2)
OF_FOUR_TYPES(trsmBatched)
OF_FOUR_TYPES(geqrfBatched)
OF_FOUR_TYPES(getrfBatched)
OF_FOUR_TYPES(getrsBatched)
OF_FOUR_TYPES(gelsBatched)
PRODUCT(cublasSdot_v2)
PRODUCT(cublasDdot_v2)
PRODUCT(cublasCdotc_v2)
PRODUCT(cublasCdotu_v2)
PRODUCT(cublasZdotc_v2)
PRODUCT(cublasZdotu_v2)
PRODUCT(cublasDotEx)
PRODUCT(cublasSgemmEx)
PRODUCT(cublasGemmEx)
PRODUCT(cublasGemmStridedBatchedEx)

// What a heuristic answers: one way, which needs no workspace.
struct Way {
    uint64_t algorithm[8];
    size_t workspace;
    int status;
    float waves;
    int reserved[4];
};

EXPORTED int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int, Way* ways,
                                            int* count) {
    *ways = {};
    *count = 1;
    return good;
}

EXPORTED int cublasLtMatmul(void*, void*, const void*, const void*, void*, const void*, void*, const void*, const void*,
                            void*, void*, void*, const void*, void*, size_t, cudaStream_t stream) {
    LOCKED;
    return put(stream, "a product") ? execution_failed : good;
}

// ---- cuDNN: its first interface. PyTorch takes it when TORCH_CUDNN_V8_API_DISABLED is set (run.sh)

EXPORTED int cudnnCreate(void** handle) { return begin(handle, "cuDNN"), good; }
EXPORTED int cudnnDestroy(Handle* handle) { return delete handle, good; }
EXPORTED int cudnnSetStream(Handle* handle, cudaStream_t stream) { return handle->stream = stream, good; }
EXPORTED int cudnnGetStream(Handle* handle, cudaStream_t* stream) { return *stream = handle->stream, good; }
EXPORTED int cudnnBackendCreateDescriptor(int, void**) { return cudnn_not_supported; }
EXPORTED int cudnnBackendFinalize(void*) { return cudnn_not_supported; }

constexpr size_t convolution_workspace = 1 << 20;

struct Convolution {
    int algorithm, status;
    float milliseconds;
    size_t workspace;
    int is_deterministic, math;
    int reserved[3];
};

EXPORTED int cudnnGetConvolutionForwardAlgorithm_v7(void*, void*, void*, void*, void*, int, int* count,
                                                    Convolution* ways) {
    *ways = {1, good, 1.0f, convolution_workspace, 1, 1, {}};  // implicit precomputed GEMM, on matrix units
    *count = 1;
    return good;
}

EXPORTED int cudnnGetConvolutionForwardWorkspaceSize(void*, void*, void*, void*, void*, int, size_t* nbytes) {
    return *nbytes = convolution_workspace, good;
}

EXPORTED int cudnnConvolutionForward(Handle* handle) {
    LOCKED;
    return put(handle->stream, "a convolution") ? cudnn_execution_failed : good;
}

// ---- cuFFT: plans are all alike

static cudaStream_t fft_stream;

EXPORTED int cufftCreate(int* plan) { return *plan = 1, good; }
EXPORTED int cufftDestroy(int) { return good; }
EXPORTED int cufftSetAutoAllocation(int, int) { return good; }
EXPORTED int cufftSetWorkArea(int, void*) { return good; }

EXPORTED int cufftSetStream(int, cudaStream_t stream) {
    LOCKED;
    return fft_stream = stream, good;
}

EXPORTED int cufftXtMakePlanMany(int, int, void*, void*, long long, long long, int, void*, long long, long long, int,
                                 long long, size_t* workspace, int) {
    LOCKED;
    if (captures_now()) complain("a plan of cuFFT is made within a capture");
    *workspace = 4096;
    return good;
}

EXPORTED int cufftXtExec(int, void*, void*, int) {
    LOCKED;
    return put(fft_stream, "a Fourier transform") ? fft_execution_failed : good;
}

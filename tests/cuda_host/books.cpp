// The books themselves, and the rules of captures that all calls ask.
#include "books.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace books {

thread_local cudaError_t last_error = cudaSuccess;
thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

Books& all() {
    static Books* held = new Books;  // never destroyed: PyTorch's threads call until the process ends
    return *held;
}

bool fails(Call call) {
    Books& b = all();
    const int kind = static_cast<int>(call);
    const long number = ++b.calls[kind];
    return number >= b.fails_from[kind] && number < b.fails_until[kind];
}

cudaError_t told(cudaError_t error) {
    if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
    return error;
}

void complain(const char* form, ...) {
    va_list values;
    va_start(values, form);
    fprintf(stderr, "cuda_host: ");
    vfprintf(stderr, form, values);
    fprintf(stderr, "\n");
    va_end(values);
    all().complaints++;
}

cudaError_t invalidate(Capture* capture, cudaError_t error, const char* what) {
    capture->is_invalid = true;
    complain("%s breaks capture %llu: %s", what, capture->number, cudaGetErrorName(error));
    return told(error);
}

cudaError_t forbidden(const char* what) {
    if (thread_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
    for (Capture* capture : all().captures) {
        if (capture->mode == cudaStreamCaptureModeRelaxed) continue;
        const bool is_own = pthread_equal(capture->thread, pthread_self());
        const bool is_everybodys =
            capture->mode == cudaStreamCaptureModeGlobal && thread_mode == cudaStreamCaptureModeGlobal;
        if (is_own || is_everybodys) return invalidate(capture, cudaErrorStreamCaptureUnsupported, what);
    }
    return cudaSuccess;
}

cudaError_t put(cudaStream_t stream, const char* what) {
    Books& b = all();
    Capture* capture = b.streams[stream].capture;
    if (capture) {
        if (capture->is_invalid) return told(cudaErrorStreamCaptureInvalidated);
        capture->nodes++;
        return cudaSuccess;
    }
    for (Capture* other : b.captures) {
        const bool blocks = !(b.streams[other->origin].flags & cudaStreamNonBlocking);
        if (stream == nullptr && blocks) return invalidate(other, cudaErrorStreamCaptureImplicit, what);
        if (pthread_equal(other->thread, pthread_self()))
            complain("%s on another stream by the thread that captures: it is not recorded", what);
    }
    return cudaSuccess;
}

bool captures_now() {
    for (Capture* capture : all().captures)
        if (pthread_equal(capture->thread, pthread_self())) return true;
    return false;
}

const Block* block_of(const void* place) {
    auto& blocks = all().blocks;
    auto found = blocks.upper_bound(static_cast<char*>(const_cast<void*>(place)));
    if (found == blocks.begin()) return nullptr;
    --found;
    return place < found->first + found->second.nbytes ? &found->second : nullptr;
}

size_t total_bytes() {
    static const char* asked = getenv("CUDA_HOST_MB");
    static const size_t mebibytes = asked ? strtoull(asked, nullptr, 10) : 143771;  // an H200's
    return mebibytes << 20;
}

}  // namespace books

EXPORTED cudaError_t cudaGetLastError() {
    const cudaError_t error = books::last_error;
    books::last_error = cudaSuccess;
    return error;
}

EXPORTED cudaError_t cudaPeekAtLastError() { return books::last_error; }

EXPORTED cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
    const cudaStreamCaptureMode before = books::thread_mode;
    books::thread_mode = *mode;
    *mode = before;
    return cudaSuccess;
}

// ---- what tests ask and tell (tests/cuda_host/conftest.py)

// Calls of a kind fail from the next but `after` on, `times` in a row; times 0: none.
EXPORTED void cuda_host_refuse(int kind, long after, long times) {
    LOCKED;
    books::Books& b = books::all();
    b.calls[kind] = 0;
    b.fails_from[kind] = after + 1;
    b.fails_until[kind] = times ? after + 1 + times : 0;
}

EXPORTED long cuda_host_calls(int kind) {
    LOCKED;
    return books::all().calls[kind];
}

EXPORTED long cuda_host_count(int what) {
    LOCKED;
    books::Books& b = books::all();
    const long counts[] = {b.launches, b.played, b.waits, b.graphs, b.events, b.complaints,
                           static_cast<long>(b.device_bytes), static_cast<long>(b.pinned_bytes)};
    return counts[what];
}

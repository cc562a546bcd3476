// Memory: the host's, mapped without being taken until it is written, so that gigabytes of "device" fit.
#include "books.h"

#include <sys/mman.h>

#include <cstring>

using namespace books;

namespace {

cudaError_t take(void** place, size_t nbytes, Kind kind) {
    Books& b = all();
    const size_t size = nbytes ? (nbytes + 4095) & ~size_t{4095} : 4096;
    *place = nullptr;
    if (kind == Kind::device && b.device_bytes + size > total_bytes()) return told(cudaErrorMemoryAllocation);
    void* made = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made == MAP_FAILED) return told(cudaErrorMemoryAllocation);
    b.blocks[static_cast<char*>(made)] = {size, kind};
    (kind == Kind::device ? b.device_bytes : b.pinned_bytes) += size;
    *place = made;
    return cudaSuccess;
}

cudaError_t leave(void* place, const char* what) {
    Books& b = all();
    auto found = b.blocks.find(static_cast<char*>(place));
    if (found == b.blocks.end()) {
        complain("%s of memory that it did not give", what);
        return told(cudaErrorInvalidValue);
    }
    (found->second.kind == Kind::device ? b.device_bytes : b.pinned_bytes) -= found->second.nbytes;
    munmap(place, found->second.nbytes);
    b.blocks.erase(found);
    return cudaSuccess;
}

}  // namespace

EXPORTED cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
    LOCKED;
    *total = total_bytes();
    *free = *total - all().device_bytes;
    return cudaSuccess;
}

EXPORTED cudaError_t cudaMalloc(void** place, size_t nbytes) {
    LOCKED;
    if (cudaError_t error = forbidden("cudaMalloc")) return error;
    if (fails(Call::allocation)) return *place = nullptr, told(cudaErrorMemoryAllocation);
    return take(place, nbytes, Kind::device);
}

EXPORTED cudaError_t cudaFree(void* place) {
    LOCKED;
    if (!place) return cudaSuccess;
    if (cudaError_t error = forbidden("cudaFree")) return error;
    return leave(place, "cudaFree");
}

EXPORTED cudaError_t cudaHostAlloc(void** place, size_t nbytes, unsigned) {
    LOCKED;
    if (cudaError_t error = forbidden("cudaHostAlloc")) return error;
    if (fails(Call::pinned_allocation)) return *place = nullptr, told(cudaErrorMemoryAllocation);
    return take(place, nbytes, Kind::pinned);
}

EXPORTED cudaError_t cudaFreeHost(void* place) {
    LOCKED;
    if (cudaError_t error = forbidden("cudaFreeHost")) return error;
    return leave(place, "cudaFreeHost");
}

EXPORTED cudaError_t cudaHostRegister(void* place, size_t nbytes, unsigned) {
    LOCKED;
    all().blocks[static_cast<char*>(place)] = {nbytes, Kind::pinned};
    return cudaSuccess;
}

EXPORTED cudaError_t cudaHostUnregister(void* place) {
    LOCKED;
    all().blocks.erase(static_cast<char*>(place));
    return cudaSuccess;
}

EXPORTED cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* told_of, const void* place) {
    LOCKED;
    const Block* block = block_of(place);
    memset(told_of, 0, sizeof *told_of);
    told_of->type = cudaMemoryTypeUnregistered;
    if (!block) return cudaSuccess;
    told_of->type = block->kind == Kind::device ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
    told_of->devicePointer = const_cast<void*>(place);
    if (block->kind == Kind::pinned) told_of->hostPointer = const_cast<void*>(place);
    return cudaSuccess;
}

EXPORTED cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t nbytes, cudaMemcpyKind, cudaStream_t stream) {
    LOCKED;
    const bool is_recorded = all().streams[stream].capture != nullptr;
    if (is_recorded && (!block_of(to) || !block_of(from)))
        complain("a copy of %zu bytes from or to memory that is not pinned, within a capture", nbytes);
    if (cudaError_t error = put(stream, "cudaMemcpyAsync")) return error;
    if (!is_recorded && nbytes) memmove(to, from, nbytes);
    return cudaSuccess;
}

EXPORTED cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t nbytes, cudaStream_t stream) {
    return cudaMemcpyAsync(to, from, nbytes, cudaMemcpyDefault, stream);
}

EXPORTED cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                                       size_t height, cudaMemcpyKind, cudaStream_t stream) {
    LOCKED;
    if (cudaError_t error = put(stream, "cudaMemcpy2DAsync")) return error;
    if (all().streams[stream].capture) return cudaSuccess;
    for (size_t row = 0; row < height; row++)
        memmove(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width);
    return cudaSuccess;
}

EXPORTED cudaError_t cudaMemcpy(void* to, const void* from, size_t nbytes, cudaMemcpyKind) {
    LOCKED;
    if (cudaError_t error = forbidden("cudaMemcpy")) return error;
    memmove(to, from, nbytes);
    return cudaSuccess;
}

EXPORTED cudaError_t cudaMemsetAsync(void* to, int value, size_t nbytes, cudaStream_t stream) {
    LOCKED;
    if (cudaError_t error = put(stream, "cudaMemsetAsync")) return error;
    if (!all().streams[stream].capture) memset(to, value, nbytes);
    return cudaSuccess;
}

EXPORTED cudaError_t cudaMemset(void* to, int value, size_t nbytes) {
    LOCKED;
    if (cudaError_t error = forbidden("cudaMemset")) return error;
    memset(to, value, nbytes);
    return cudaSuccess;
}

EXPORTED cudaError_t cudaMemcpyToSymbol(const void*, const void*, size_t, size_t, cudaMemcpyKind) {
    return cudaSuccess;
}

EXPORTED cudaError_t cudaGetSymbolAddress(void** place, const void*) {
    static char symbol[1 << 16];  // of any size that a kernel's table may have
    *place = symbol;
    return cudaSuccess;
}

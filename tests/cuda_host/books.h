// What the pretended device keeps books of: streams, captures, memory, and calls that are to fail.
//
// One lock guards all of it. Addresses of streams, events and graphs are those of the books' own entries or numbers
// that nobody may follow; PyTorch only hands them on.
#pragma once

#include <cuda_runtime_api.h>
#include <pthread.h>

#include <cstddef>
#include <map>
#include <mutex>
#include <set>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace books {

struct Capture {
    unsigned long long number;
    cudaStreamCaptureMode mode;
    pthread_t thread;  // that began it
    cudaStream_t origin;
    std::set<cudaStream_t> unjoined;  // streams that it spread to and that have not come back
    bool is_invalid = false;
    long nodes = 0;
};

struct Stream {
    int priority = 0;
    unsigned flags = 0;
    Capture* capture = nullptr;
};

enum class Kind { device, pinned };

struct Block {
    size_t nbytes;
    Kind kind;
};

// What can be told to fail: see refuse_allocations in README.md.
enum class Call { allocation, pinned_allocation, instantiation, launch, count };

struct Books {
    std::recursive_mutex lock;
    std::map<cudaStream_t, Stream> streams;  // the null stream among them
    std::set<Capture*> captures;
    std::map<char*, Block> blocks;  // by their first byte
    size_t device_bytes = 0, pinned_bytes = 0;
    unsigned long long captures_so_far = 0;
    long launches = 0, played = 0, waits = 0, graphs = 0, events = 0, complaints = 0;
    long calls[static_cast<int>(Call::count)] = {};
    long fails_from[static_cast<int>(Call::count)] = {}, fails_until[static_cast<int>(Call::count)] = {};
};

Books& all();

// Whether this call of its kind was told to fail; counts it.
bool fails(Call call);

// Sets the error that cudaGetLastError tells, and gives it back.
cudaError_t told(cudaError_t error);

// One line on standard error: something that a device would not have let pass, or not done as meant.
void complain(const char* form, ...) __attribute__((format(printf, 1, 2)));

// Breaks a capture, as the runtime does, and says by what.
cudaError_t invalidate(Capture* capture, cudaError_t error, const char* what);

// For calls that CUDA's manual names unsafe: an error where a capture forbids them to this thread.
cudaError_t forbidden(const char* what);

// Work that is put into a stream: noted by its capture, or an error; nothing is computed.
cudaError_t put(cudaStream_t stream, const char* what);

// Whether this thread has a capture under way: libraries should not be set up then.
bool captures_now();

// The block that holds an address, or null.
const Block* block_of(const void* place);

size_t total_bytes();

}  // namespace books

#define LOCKED std::lock_guard<std::recursive_mutex> locked(books::all().lock)

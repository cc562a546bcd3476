// Streams, events, captures and graphs. Work is done when it is put in: no event is ever waited for.
#include "books.h"

using namespace books;

namespace {

struct Event {
    unsigned long long capture = 0;  // number of the one it was recorded in, 0: none
    cudaStream_t stream = nullptr;
    bool is_recorded = false;
};

struct Graph {
    long nodes;
};

Event* event_of(cudaEvent_t event) { return reinterpret_cast<Event*>(event); }

Capture* capture_of(const Event* event) {
    for (Capture* capture : all().captures)
        if (capture->number == event->capture) return capture;
    return nullptr;
}

cudaStreamCaptureStatus status_of(const Capture* capture) {
    if (!capture) return cudaStreamCaptureStatusNone;
    return capture->is_invalid ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
}

cudaError_t ask(cudaEvent_t event, const char* what) {
    if (Capture* capture = capture_of(event_of(event))) return invalidate(capture, cudaErrorCapturedEvent, what);
    return forbidden(what);
}

}  // namespace

EXPORTED cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority) {
    LOCKED;
    static size_t next = 0x1000;  // addresses of nothing: nobody may follow them
    *stream = reinterpret_cast<cudaStream_t>(next += 16);
    all().streams[*stream] = {priority, flags, nullptr};
    return cudaSuccess;
}

EXPORTED cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithPriority(stream, 0, 0); }
EXPORTED cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
    return cudaStreamCreateWithPriority(stream, flags, 0);
}
EXPORTED cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }

EXPORTED cudaError_t cudaStreamGetPriority(cudaStream_t stream, int* priority) {
    LOCKED;
    *priority = all().streams[stream].priority;
    return cudaSuccess;
}

EXPORTED cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    LOCKED;
    all().waits++;
    if (Capture* capture = all().streams[stream].capture)
        return invalidate(capture, cudaErrorStreamCaptureUnsupported, "cudaStreamSynchronize");
    return forbidden("cudaStreamSynchronize of another stream");
}

EXPORTED cudaError_t cudaDeviceSynchronize() {
    LOCKED;
    all().waits++;
    for (Capture* capture : all().captures)  // of any thread: it would wait for that stream too
        return invalidate(capture, cudaErrorStreamCaptureUnsupported, "cudaDeviceSynchronize");
    return cudaSuccess;
}

EXPORTED cudaError_t cudaStreamQuery(cudaStream_t stream) {
    LOCKED;
    if (Capture* capture = all().streams[stream].capture)
        return invalidate(capture, cudaErrorStreamCaptureUnsupported, "cudaStreamQuery");
    return forbidden("cudaStreamQuery");
}

EXPORTED cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    LOCKED;
    const Event* awaited = event_of(event);
    Capture* from = capture_of(awaited);
    Capture*& own = all().streams[stream].capture;
    if (own && from && own != from) return invalidate(own, cudaErrorStreamCaptureMerge, "cudaStreamWaitEvent");
    if (own && !from && awaited->is_recorded)
        return invalidate(own, cudaErrorStreamCaptureIsolation, "waiting for an event from before the capture");
    if (from && !own) {
        own = from;
        from->unjoined.insert(stream);
    } else if (from && stream == from->origin) {
        from->unjoined.erase(awaited->stream);
    }
    return cudaSuccess;
}

// Host functions run at once, as all else does.
EXPORTED cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t call, void* with, unsigned) {
    call(stream, cudaSuccess, with);
    return cudaSuccess;
}

EXPORTED cudaError_t cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t call, void* with) {
    call(with);
    return cudaSuccess;
}

// ---- captures

EXPORTED cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
    LOCKED;
    *status = status_of(all().streams[stream].capture);
    return cudaSuccess;
}

EXPORTED cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                              unsigned long long* number, cudaGraph_t* graph,
                                              const cudaGraphNode_t** nodes, const cudaGraphEdgeData** edges,
                                              size_t* count) {
    LOCKED;
    const Capture* capture = all().streams[stream].capture;
    *status = status_of(capture);
    if (number) *number = capture ? capture->number : 0;
    if (graph) *graph = nullptr;
    if (nodes) *nodes = nullptr;
    if (edges) *edges = nullptr;
    if (count) *count = 0;
    return cudaSuccess;
}

EXPORTED cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    LOCKED;
    Books& b = all();
    if (stream == nullptr) return told(cudaErrorStreamCaptureUnsupported);
    if (b.streams[stream].capture) return told(cudaErrorIllegalState);
    auto* capture = new Capture{++b.captures_so_far, mode, pthread_self(), stream, {}};
    b.streams[stream].capture = capture;
    b.captures.insert(capture);
    return cudaSuccess;
}

EXPORTED cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    LOCKED;
    Books& b = all();
    Capture* capture = b.streams[stream].capture;
    *graph = nullptr;
    if (!capture || capture->origin != stream) return told(cudaErrorIllegalState);
    for (auto& each : b.streams)
        if (each.second.capture == capture) each.second.capture = nullptr;
    b.captures.erase(capture);
    const Capture ended = *capture;
    delete capture;
    if (ended.is_invalid) return told(cudaErrorStreamCaptureInvalidated);
    if (!ended.unjoined.empty()) {
        complain("capture %llu ends while a stream that it spread to has not come back", ended.number);
        return told(cudaErrorStreamCaptureUnjoined);
    }
    *graph = reinterpret_cast<cudaGraph_t>(new Graph{ended.nodes});
    b.graphs++;
    return cudaSuccess;
}

// ---- graphs

EXPORTED cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
    LOCKED;
    *made = nullptr;
    if (fails(Call::instantiation)) return told(cudaErrorMemoryAllocation);
    *made = reinterpret_cast<cudaGraphExec_t>(new Graph{reinterpret_cast<Graph*>(graph)->nodes});
    all().graphs++;
    return cudaSuccess;
}

EXPORTED cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    LOCKED;
    delete reinterpret_cast<Graph*>(graph);
    all().graphs--;
    return cudaSuccess;
}

EXPORTED cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
    return cudaGraphDestroy(reinterpret_cast<cudaGraph_t>(graph));
}

EXPORTED cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
    *count = reinterpret_cast<Graph*>(graph)->nodes;
    return cudaSuccess;
}

EXPORTED cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t stream) {
    LOCKED;
    all().played++;
    return put(stream, "cudaGraphLaunch");
}

// ---- events

EXPORTED cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    LOCKED;
    *event = reinterpret_cast<cudaEvent_t>(new Event);
    all().events++;
    return cudaSuccess;
}

EXPORTED cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }

EXPORTED cudaError_t cudaEventDestroy(cudaEvent_t event) {
    LOCKED;
    delete event_of(event);
    all().events--;
    return cudaSuccess;
}

EXPORTED cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    LOCKED;
    const Capture* capture = all().streams[stream].capture;
    if (capture && capture->is_invalid) return told(cudaErrorStreamCaptureInvalidated);
    *event_of(event) = {capture ? capture->number : 0, stream, true};
    return cudaSuccess;
}

EXPORTED cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
    return cudaEventRecord(event, stream);
}

EXPORTED cudaError_t cudaEventQuery(cudaEvent_t event) {
    LOCKED;
    return ask(event, "cudaEventQuery");
}

EXPORTED cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    LOCKED;
    all().waits++;
    return ask(event, "cudaEventSynchronize");
}

EXPORTED cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
    *milliseconds = 1.0f;
    return cudaSuccess;
}

"""What a CUDA graph's recorder leaves behind, on a pretended device."""

import pytest
import torch
from torch import Tensor

from executor.inference.cuda_graphs import CudaRecorder
from tests.pretended_gpu import Capture, Graph, PretendedGpu


def test_a_played_recording_reads_its_inputs_anew(gpu: PretendedGpu, device: torch.device):
    x = torch.ones(2, 3, device=device)
    play, answer = CudaRecorder(device).record(lambda: (x * 2).relu())
    assert answer.isnan().cpu().all()  # nothing is computed while it is recorded
    x.fill_(4.0)
    play()
    assert answer.cpu().unique().tolist() == [8.0]


def test_a_broken_recording_is_ended_and_its_pool_released(gpu: PretendedGpu, device: torch.device):
    recorder, x = CudaRecorder(device), torch.ones(3, device=device)

    def reading() -> Tensor:
        return x * x.sum().item()

    with pytest.raises(RuntimeError, match="capture"):
        recorder.record(reading)
    assert (gpu.begun, len(gpu.released), gpu.current) == ([], 1, gpu.default)
    recorder.record(lambda: x + 1)
    assert gpu.recorded == 1


def test_a_recording_that_an_error_of_python_ends_is_released_once(gpu: PretendedGpu, device: torch.device):
    recorder, x = CudaRecorder(device), torch.ones(3, device=device)

    def stopping() -> Tensor:
        if torch.cuda.is_current_stream_capturing():
            raise KeyboardInterrupt
        return x + 1

    with pytest.raises(KeyboardInterrupt):
        recorder.record(stopping)
    assert (gpu.begun, gpu.released, gpu.current) == ([], [], gpu.default)


def test_a_failed_recording_that_did_not_begin_is_known_to_the_random_generator(
    gpu: PretendedGpu, device: torch.device, monkeypatch: pytest.MonkeyPatch
):
    graphs, x = list[Graph](), torch.ones(3, device=device)

    def begin(capture: Capture) -> None:
        graphs.append(capture.graph)
        gpu.current = capture.stream
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Capture, "__enter__", begin)
    with pytest.raises(torch.OutOfMemoryError):
        CudaRecorder(device).record(lambda: x + 1)
    assert [graph.knows for graph in graphs] == [[torch.cuda.default_generators[0]]]
    assert (gpu.begun, gpu.released, gpu.current) == ([], [], gpu.default)


def test_a_recording_has_workspaces_of_its_own(gpu: PretendedGpu, device: torch.device):
    x = torch.ones(2, 3, device=device)
    CudaRecorder(device).record(lambda: x @ x.T)
    assert gpu.emptied == ["workspaces", "recorded", "workspaces"]

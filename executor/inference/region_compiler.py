"""The process that compiles regions for a worker: reads them from its input, leaves code in files, says so.

A process of its own because compiling is minutes of Python, which would take turns with the worker's own, and because
PyTorch's tracer replaces `nn.Module.__call__` for all threads while it works. What it compiled before it finds again
in PyTorch's own cache on the disk.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from pathlib import Path
from queue import SimpleQueue

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from executor.inference.attention_kernels import spare_cudnn
from executor.inference.regions import Places, Region, TensorForm
from executor.inference.weights import first_line

NICENESS = 10  # the worker's own threads go first


def compile_region(region: Region, file: Path) -> None:
    """Leave the code of a region in a file that `torch._inductor.CompiledArtifact.load` reads.

    Raises what the tracer and the compiler raise.
    """
    forms = [form for form in (*region.weights, *region.given) if form is not None]
    with torch.no_grad():
        with FakeTensorMode():
            inputs = [made(form) for form in forms]
            graph = traced(region, inputs)
        code = torch._inductor.standalone_compile(graph, list(inputs), dynamic_shapes="from_example_inputs")
    code.save(path=str(file), format="binary")


def traced(region: Region, inputs: list[Tensor]) -> GraphModule:
    """The operations of a region's layer, as a function of its weights and inputs."""
    places, count = Places(region.layer), len(region.weights)

    def run(*tensors: Tensor) -> tuple[Tensor]:
        places.fill(tensors[:count])
        rest = iter(tensors[count:])
        return (region.layer(*(None if form is None else next(rest) for form in region.given), {}),)

    return make_fx(run)(*inputs)


def made(form: TensorForm) -> Tensor:
    """A tensor that looks so."""
    shape, stride, dtype, device = form
    return torch.empty_strided(shape, stride, dtype=dtype, device=device)


def serve(threads: int) -> None:
    """Compile what comes until the worker is gone; code for the CPU will run on so many threads as the worker has."""
    torch.set_num_threads(threads)
    spare_cudnn()  # code holds the kernel of attention that is chosen here
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # compilers print
    os.nice(NICENESS)
    asked: SimpleQueue[tuple[Region, Path]] = SimpleQueue()
    threading.Thread(target=listen, args=(asked,), daemon=True).start()
    while True:
        region, file = asked.get()
        told = ""
        try:
            compile_region(region, file)
        except Exception as failure:  # noqa: BLE001  (it is the worker that tells)
            told = f"{type(failure).__name__}: {first_line(failure)}"
        pickle.dump(told, answers)
        answers.flush()


def listen(asked: SimpleQueue[tuple[Region, Path]]) -> None:
    """Take in what the worker asks; end the process, whatever it does, when the worker is gone."""
    try:
        while True:
            asked.put(pickle.load(sys.stdin.buffer))  # from the process that started this one
    except EOFError:
        os._exit(0)


if __name__ == "__main__":
    serve(int(sys.argv[1]))

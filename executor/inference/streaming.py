"""Brings the weights of a network's layers to where it computes, one layer ahead of the computation.

The order of layers is learned at the first call. Knows neither patches nor which networks need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from executor.inference.casting import CastConv2d, CastConv3d, CastGroupNorm, CastLayerNorm, CastLinear

Weights = dict[str, Tensor]
LAYERS = (CastLinear, CastConv2d, CastConv3d, CastGroupNorm, CastLayerNorm)
"""Layers that take their weights as they come; tables of embeddings are looked up where they lie."""


class Carrier(Protocol):
    """How weights travel."""

    def send(self, weights: Mapping[str, Tensor]) -> Weights:
        """Begin to bring weights over; the answers may be used after `wait`."""
        ...

    def wait(self, weights: Mapping[str, Tensor]) -> None:
        """Let the computation begin only when these are there."""
        ...


class CudaCarrier:
    """Copies from pinned memory on a stream of its own, beside the computation.

    PyTorch's pinned allocator hands a buffer out again only when the copies from it are done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.arrived: dict[int, torch.cuda.Event] = {}  # by the first tensor's identity

    def send(self, weights: Mapping[str, Tensor]) -> Weights:
        """Begin to bring weights over."""
        with torch.cuda.stream(self.stream):
            sent = {name: w.pin_memory().to(self.device, non_blocking=True) for name, w in weights.items()}
            self.arrived[key_of(sent)] = self.stream.record_event()
        return sent

    def wait(self, weights: Mapping[str, Tensor]) -> None:
        """Let the computing stream wait for the copies, and the allocator for the computation."""
        computing = torch.cuda.current_stream(self.device)
        computing.wait_event(self.arrived.pop(key_of(weights)))
        for weight in weights.values():
            weight.record_stream(computing)


def carrier_to(device: torch.device) -> Carrier | None:
    """How weights travel to a device; None where they are there already."""
    return CudaCarrier(device) if device.type == "cuda" else None


def key_of(weights: Mapping[str, Tensor]) -> int:
    """What tells one bundle of weights from another."""
    return id(next(iter(weights.values())))


@dataclass(slots=True)
class Station:
    """A layer on the way: its own weights, and those that were sent for it."""

    leaf: nn.Module
    own: dict[str, nn.Parameter]
    sent: Weights | None = None


class Stream:
    """A network whose layers compute with weights that were sent for, the next layer's while one computes.

    `close` undoes it. At most two layers' weights are over at one time.
    """

    def __init__(self, network: nn.Module, carrier: Carrier) -> None:
        self.carrier = carrier
        self.order: list[Station] = []  # as first called
        self.known: dict[nn.Module, int] = {}
        self.handles = [
            handle
            for leaf in network.modules()
            if isinstance(leaf, LAYERS)
            for handle in (
                leaf.register_forward_pre_hook(self._arrive),
                leaf.register_forward_hook(self._leave, always_call=True),
            )
        ]

    def close(self) -> None:
        """Let layers compute with their own weights again."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()
        self.recall()

    def recall(self) -> None:
        """Forget what was sent ahead: the layers' own weights have changed."""
        for station in self.order:
            station.sent = None

    def _arrive(self, leaf: nn.Module, given: object) -> None:
        place = self.known.get(leaf)
        if place is None:
            place = self.known[leaf] = len(self.order)
            self.order.append(Station(leaf, {}))
        station = self.order[place]
        self._send(station)
        following = self.order[(place + 1) % len(self.order)]
        for other in self.order:
            if other is not station and other is not following:
                other.sent = None  # sent for a call that did not come
        self.carrier.wait(station.sent or {})
        station.own = {name: p for name, p in leaf._parameters.items() if p is not None}
        for name, weight in (station.sent or {}).items():
            leaf._parameters[name] = nn.Parameter(weight, requires_grad=False)
        self._send(following)

    def _send(self, station: Station) -> None:
        if station.sent is None:
            held = {name: p for name, p in station.leaf._parameters.items() if p is not None}
            station.sent = self.carrier.send({name: p.data for name, p in held.items()})

    def _leave(self, leaf: nn.Module, given: object, answer: object) -> None:
        station = self.order[self.known[leaf]]
        for name, own in station.own.items():
            leaf._parameters[name] = own
        station.sent = None
        station.own = {}

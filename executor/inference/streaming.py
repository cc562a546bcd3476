"""Brings the weights of a network's layers to where it computes, one layer ahead of the computation.

The order of layers is learned at the first call. Knows neither patches nor which networks need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from executor.inference.casting import CastConv2d, CastConv3d, CastGroupNorm, CastLayerNorm, CastLinear, CastRMSNorm
from executor.inference.devices import CPU, free_bytes

Weights = dict[str, Tensor]
HOLDS = 2  # one that is computed with, one that is filled
ALIGNMENT = 256  # bytes, as PyTorch's allocator begins tensors
PINNED_SHARE = 0.5  # of the main memory that is free, which pinned copies may take
LAYERS = (CastLinear, CastConv2d, CastConv3d, CastGroupNorm, CastLayerNorm, CastRMSNorm)
"""Layers that take their weights as they come; tables of embeddings are looked up where they lie."""


class Carrier(Protocol):
    """How weights travel."""

    def keep(self, weight: Tensor, before: Tensor | None = None) -> Tensor:
        """A weight as it is sent from time after time, instead of what was kept `before` and goes.

        Itself where nothing better can be held.
        """
        ...

    def send(self, weights: Mapping[str, Tensor], beside: Mapping[str, Tensor] | None = None) -> Weights:
        """Begin to bring weights over; the answers may be used between `wait` and `done`.

        What was sent before is lost, but for what is named as `beside`.
        """
        ...

    def wait(self, weights: Mapping[str, Tensor]) -> None:
        """Let the computation begin only when these are there."""
        ...

    def done(self, weights: Mapping[str, Tensor]) -> None:
        """The computation with these was asked for: what is sent later may take their place."""
        ...

    def close(self) -> None:
        """Nothing is sent any more, and nothing is kept."""
        ...


class Hold:
    """Memory on the device for one layer's weights at a time."""

    def __init__(self, device: torch.device) -> None:
        self.bytes = writable(0, device)

    def needs_more(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether these do not fit."""
        return taken_bytes(weights) > self.bytes.numel()

    def grow(self, weights: Mapping[str, Tensor]) -> None:
        """Take so much memory that these fit."""
        self.bytes = writable(taken_bytes(weights), self.bytes.device)

    def places(self, weights: Mapping[str, Tensor]) -> Weights:
        """Where each of these goes: tensors of their shapes and types within, one behind the other."""
        found, start = {}, 0
        for name, weight in weights.items():
            nbytes = weight.numel() * weight.element_size()
            found[name] = self.bytes[start : start + nbytes].view(weight.dtype).view(weight.shape)
            start += aligned(nbytes)
        return found


class Arriving(Weights):
    """Weights on their way, which hold they go to and when they are there."""

    def __init__(self, weights: Weights, hold: int, arrived: torch.cuda.Event) -> None:
        super().__init__(weights)
        self.hold, self.arrived = hold, arrived


class CudaCarrier:
    """Copies from pinned memory on a stream of its own, beside the computation, into two holds by turns.

    The copy into a hold waits on the device for the computation with what was there before; the host waits for
    neither. Pinned copies are made once, as far as a share of the free main memory goes; what has none is copied into
    pinned memory on its way, which PyTorch hands out again only when the copies from it are done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # Memory may come from a carrier before, whose weights the device still computes with.
        self.stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self.stream):
            self.holds = [Hold(device) for _ in range(HOLDS)]
        self.left: list[torch.cuda.Event | None] = [None] * HOLDS  # when the computation with each was over
        self.last = 0  # the hold that was filled last
        self.pinnable = int(free_bytes(CPU) * PINNED_SHARE)

    def keep(self, weight: Tensor, before: Tensor | None = None) -> Tensor:
        """A pinned copy while there is room for one."""
        if before is not None and before.is_pinned():
            self.pinnable += pinned_bytes(before)
        nbytes = pinned_bytes(weight)
        if weight.device.type != "cpu" or weight.is_pinned() or nbytes > self.pinnable:
            return weight
        self.pinnable -= nbytes
        return weight.pin_memory()

    def send(self, weights: Mapping[str, Tensor], beside: Mapping[str, Tensor] | None = None) -> Weights:
        """Begin to bring weights over, into the hold where those `beside` are not."""
        last = beside.hold if isinstance(beside, Arriving) else self.last
        place = self.last = (last + 1) % HOLDS
        hold, left = self.holds[place], self.left[place]
        with torch.cuda.stream(self.stream):
            if left is not None:
                self.stream.wait_event(left)  # also for the allocator: memory that goes was used on this stream last
            if hold.needs_more(weights):
                hold.grow(weights)
            sent = hold.places(weights)
            for name, weight in weights.items():
                ready = weight if weight.is_pinned() or weight.device.type != "cpu" else weight.pin_memory()
                sent[name].copy_(ready, non_blocking=True)
            return Arriving(sent, place, self.stream.record_event())

    def wait(self, weights: Mapping[str, Tensor]) -> None:
        """Let the computing stream wait for the copies."""
        if isinstance(weights, Arriving):
            torch.cuda.current_stream(self.device).wait_event(weights.arrived)

    def done(self, weights: Mapping[str, Tensor]) -> None:
        """Let the next copy into their hold wait for the computation asked for so far."""
        if isinstance(weights, Arriving):
            self.left[weights.hold] = torch.cuda.current_stream(self.device).record_event()

    def close(self) -> None:
        """Give pinned memory back, which PyTorch would keep for tensors of the same sizes as long as the process lives.

        The system counts it as taken: the next network would find room for fewer pinned copies each time.
        """
        self.stream.synchronize()
        getattr(torch._C, "_host_emptyCache", lambda: None)()


def writable(nbytes: int, device: torch.device) -> Tensor:
    """Memory that may be written to wherever it was made: in inference mode or not."""
    with torch.inference_mode(False):
        return torch.empty(nbytes, dtype=torch.uint8, device=device)


def carrier_to(device: torch.device) -> Carrier | None:
    """How weights travel to a device; None where they are there already."""
    return CudaCarrier(device) if device.type == "cuda" else None


def taken_bytes(weights: Mapping[str, Tensor]) -> int:
    """Bytes of a hold that weights take."""
    return sum(aligned(weight.numel() * weight.element_size()) for weight in weights.values())


def pinned_bytes(weight: Tensor) -> int:
    """Bytes that a pinned copy takes: PyTorch makes them whole powers of two."""
    nbytes = weight.numel() * weight.element_size()
    return 1 << (nbytes - 1).bit_length() if nbytes else 0


def aligned(nbytes: int) -> int:
    """Bytes up to the next place where a tensor may begin."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


@dataclass(slots=True)
class Station:
    """A layer on the way: its own weights, and those that were sent for it."""

    leaf: nn.Module
    own: dict[str, nn.Parameter]
    sent: Weights | None = None
    kept: dict[str, tuple[nn.Parameter, Tensor]] = field(default_factory=dict)  # what is sent for each of its own


class Stream:
    """A network whose layers compute with weights that were sent for, the next layer's while one computes.

    `close` undoes it. At most two layers' weights are over at one time.
    """

    def __init__(self, network: nn.Module, carrier: Carrier) -> None:
        self.carrier = carrier
        self.order: list[Station] = []  # as first called
        self.known: dict[nn.Module, int] = {}
        self.ahead: Station | None = None  # whose weights were sent before it is called
        self.handles = [
            handle
            for leaf in network.modules()
            if isinstance(leaf, LAYERS) and any(weight is not None for weight in leaf._parameters.values())
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
        self.order.clear()  # and with it what was kept of each
        self.known.clear()
        self.carrier.close()

    def recall(self) -> None:
        """Forget what was sent ahead: the layers' own weights have changed."""
        if self.ahead is not None:
            self.ahead.sent = None
        self.ahead = None

    def _arrive(self, leaf: nn.Module, given: object) -> None:
        station, following = self._station(leaf)
        sent = station.sent
        self.recall()  # also what was sent for a call that did not come
        sent = station.sent = self._send(station) if sent is None else sent
        self.carrier.wait(sent)
        station.own = {name: p for name, p in leaf._parameters.items() if p is not None}
        for name, weight in sent.items():
            leaf._parameters[name] = nn.Parameter(weight, requires_grad=False)
        if following is not None and following is not station:
            following.sent, self.ahead = self._send(following, sent), following

    def _station(self, leaf: nn.Module) -> tuple[Station, Station | None]:
        """A layer's, and the next one's; None where a layer is called for the first time: nobody knows what follows."""
        place = self.known.get(leaf)
        if place is None:
            self.known[leaf] = len(self.order)
            self.order.append(Station(leaf, {}))
            return self.order[-1], None
        return self.order[place], self.order[(place + 1) % len(self.order)]

    def _send(self, station: Station, beside: Weights | None = None) -> Weights:
        held = {name: p for name, p in station.leaf._parameters.items() if p is not None}
        return self.carrier.send({name: self._kept(station, name, p) for name, p in held.items()}, beside)

    def _kept(self, station: Station, name: str, own: nn.Parameter) -> Tensor:
        """A weight as it is sent from; made anew once another one stands in its place."""
        kept = station.kept.get(name)
        if kept is None or kept[0] is not own:
            kept = station.kept[name] = own, self.carrier.keep(own.data, None if kept is None else kept[1])
        return kept[1]

    def _leave(self, leaf: nn.Module, given: object, answer: object) -> None:
        station = self.order[self.known[leaf]]
        for name, own in station.own.items():
            leaf._parameters[name] = own
        if station.sent is not None:
            self.carrier.done(station.sent)
        station.sent = None
        station.own = {}

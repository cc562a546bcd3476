"""Every message between front and worker: tagged msgspec structs of plain data.

What users shape (prompts, event data, outputs) travels as JSON bytes made by json.dumps: NaN, Infinity and integers
of any size survive. Frames on the wire are a big-endian uint32 length and a msgpack body.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal

import msgspec

from executor.contract.definition import NodeDef
from executor.settings import Settings

Wish = Literal["enqueue", "delete", "queue"]

# ---------------------------------------------------------------- front to worker


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process reads from its standard input before anything else, as JSON.

    `outbox` is the file descriptor of its outbox (executor/outbox.py), None where there is none.
    """

    worker: str
    token: str
    front_pid: int
    settings: Settings
    outbox: int | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True, tag="run"):
    """Run one prompt. `secrets_json` holds the keys of extra_data that are stored nowhere, `row` names the job.

    `owner` is whose it is where keys separate: its files lie in folders of their own. `trace` is the file that tells
    what ran when, "" for none; `trace_operators` has torch's operators in it. `alone`: nothing waits behind it, so that
    the front has time to hear of it while it runs. `held`: it is not accepted yet; no code of its nodes may run before
    Begin, and an Interrupt in its place means that it never is.
    """

    job_id: str
    prompt_json: bytes
    targets: tuple[str, ...]
    extra_json: bytes = b"{}"
    secrets_json: bytes = b"{}"
    client_id: str | None = None
    attempt: int = 1
    row: int = 0
    owner: str = ""
    trace: str = ""
    trace_operators: bool = False
    alone: bool = False
    held: bool = False


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """A job that was sent `held` is accepted: its nodes may run."""

    job_id: str


class Followed(msgspec.Struct, frozen=True, tag="followed"):
    """Another job waits behind one that was sent as `alone`."""

    job_id: str


class Interrupt(msgspec.Struct, frozen=True, tag="interrupt"):
    """Stop a job at its next checkpoint."""

    job_id: str


class Free(msgspec.Struct, frozen=True, tag="free"):
    """Unload models and drop cached results, once no prompt runs."""

    models: bool
    cache: bool


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag="ask"):
    """A question that only the worker can answer; the Answer carries the same id."""

    id: int
    question: Literal["describe", "validate", "prompt_hook"]
    body_json: bytes = b"null"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a `describe` question about classes as an owner's prompts see them ("": those that nobody owns).

    `differing` asks for all classes of packs that are listed otherwise for that one than for all.
    """

    owner: str
    names: tuple[str, ...] = ()
    differing: bool = False


class Clients(msgspec.Struct, frozen=True, kw_only=True, tag="clients"):
    """Websocket clients: session id → their feature flags, None: gone. `whole`: these are connected and no others."""

    changes: dict[str, dict[str, object] | None]
    whole: bool = False


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """End the process after the running prompt."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, tag="reply"):
    """The answer to a worker's Request: a JSON value, or the text of what went wrong."""

    id: int
    value_json: bytes = b"null"
    error: str | None = None


# ---------------------------------------------------------------- worker to front


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device as /system_stats lists it; memory in bytes."""

    name: str
    type: str
    index: int | None
    vram_total: int
    vram_free: int
    torch_vram_total: int
    torch_vram_free: int


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """First frame of a worker: proves that the front started it."""

    token: str
    pid: int


class Packs(msgspec.Struct, frozen=True, kw_only=True):
    """What the packs of a worker brought beside nodes.

    `web_dirs` are (name below /extensions/, absolute folder); `address` is where the packs' own routes are served
    ("unix:PATH" or "tcp:HOST:PORT/TOKEN", empty when no pack registered one); `hooks` tells that a pack wants to see
    each body of POST /prompt first; `report_json` is the list of packs as GET /weft/packs shows it. `folders` are the
    kinds of model that packs gave other folders or endings: (kind, absolute folders, endings).
    """

    web_dirs: tuple[tuple[str, str], ...] = ()
    address: str = ""
    hooks: bool = False
    report_json: bytes = b"[]"
    folders: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = ()


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The worker can run prompts and knows these nodes."""

    definitions: tuple[NodeDef, ...]
    wire_json: bytes  # {class name: /object_info entry}; live choices stand as contract.wire's marker
    devices: tuple[Device, ...]
    torch_version: str
    packs: Packs = Packs()


class Refreshed(msgspec.Struct, frozen=True, kw_only=True, tag="refreshed"):
    """Classes that are listed otherwise than when the worker told them last, and the packs as they stand now."""

    definitions: tuple[NodeDef, ...]
    wire_json: bytes
    packs: Packs


class Request(msgspec.Struct, frozen=True, kw_only=True, tag="request"):
    """What a pack wants of the queue, which the front keeps; the Reply carries the same id.

    One that is `at_once` does not wait for what else this worker asked: an event loop of it does nothing meanwhile.
    `owner` is that of the prompt whose node asks ("": nobody's, or no prompt).
    """

    id: int
    wish: Wish
    body_json: bytes = b"null"
    at_once: bool = False
    owner: str = ""


class Stats(msgspec.Struct, frozen=True, kw_only=True, tag="stats"):
    """Devices as they stand after work, and how often this process placed a model's module and had to release one."""

    devices: tuple[Device, ...]
    loads: int = 0
    evictions: int = 0


class Emit(msgspec.Struct, frozen=True, kw_only=True, tag="emit"):
    """A websocket event; its audience: the owner (the client of the prompt), the owner or else everybody, everybody.

    Where keys separate, `owner` is whose prompt it is of: nobody else hears it.
    """

    job_id: str
    event: str
    data_json: bytes
    audience: Literal["owner", "owner_or_all", "all"] = "owner"
    client_id: str | None = None
    owner: str = ""


class Blob(msgspec.Struct, frozen=True, kw_only=True, tag="blob"):
    """A binary websocket event: a preview (both frame kinds are made from it), a text, or a pack's own (`raw`)."""

    job_id: str
    kind: Literal["preview", "text", "raw"]
    node_id: str
    header_json: bytes = b"{}"  # preview: metadata of frame 4
    step_json: bytes = b""  # preview: data of the `progress` event that it belongs to (empty: of none)
    image_type: Literal["image/jpeg", "image/png"] = "image/jpeg"
    body: bytes = b""
    client_id: str | None = None
    event: int = 0  # raw: the frame's type number
    owner: str = ""  # as an Emit's


class Finishing(msgspec.Struct, frozen=True, tag="finishing"):
    """Every node of a prompt has run; its files are being written, beside which the next prompt may come."""

    job_id: str


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """A prompt ended. `messages_json` holds the history's [[event, data], ...]; the last of them has not been sent:
    the front sends it once the row is stored. `leaves`: this worker ends now; `wrote_files`: there is a record of
    files that it wrote. `nodes` are (class, seconds) of each
    node that ran, `reused` is how many results the cache had."""

    job_id: str
    state: Literal["succeeded", "failed", "interrupted"]
    outputs_json: bytes
    meta_json: bytes
    messages_json: bytes
    leaves: bool = False
    wrote_files: bool = False
    nodes: tuple[tuple[str, float], ...] = ()
    reused: int = 0


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag="answer"):
    """The answer to an Ask: a JSON value, or the text of what went wrong."""

    id: int
    value_json: bytes = b"null"
    error: str | None = None


class LogLine(msgspec.Struct, frozen=True, kw_only=True, tag="log"):
    """A line that the worker logged; `job_id` is the prompt whose node logged it, "" for none, as for `exception`."""

    time_s: float
    level: str
    logger: str
    text: str
    exception: str = ""  # its traceback
    job_id: str = ""


ToWorker = Run | Begin | Followed | Interrupt | Free | Ask | Clients | Stop | Reply
FromWorker = Hello | Ready | Refreshed | Request | Stats | Emit | Blob | Finishing | Finished | Answer | LogLine

HEADER = struct.Struct(">I")
MAX_FRAME = 1 << 30


# Made once: a decoder reads its types when it is made, which takes longer than a small message.
_ENCODER = msgspec.msgpack.Encoder()
_TO_WORKER: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_FROM_WORKER: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def frame(message: ToWorker | FromWorker) -> bytes:
    """A message as it goes over the socket."""
    body = _ENCODER.encode(message)
    return HEADER.pack(len(body)) + body


def decode_to_worker(body: bytes) -> ToWorker:
    """The message in a frame's body that came from the front; msgspec.DecodeError if it is none."""
    return _TO_WORKER.decode(body)


def decode_from_worker(body: bytes) -> FromWorker:
    """The message in a frame's body that came from a worker; msgspec.DecodeError if it is none."""
    return _FROM_WORKER.decode(body)


class Splitter:
    """Cuts a stream into the bodies of its frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """The bodies that are whole with this piece of the stream; ValueError for a frame that is too long."""
        rest = self._rest
        rest += data
        found: list[bytes] = []
        start = 0
        while start + HEADER.size <= len(rest):
            (length,) = HEADER.unpack_from(rest, start)
            if length > MAX_FRAME:
                raise ValueError(f"a frame of {length} bytes is longer than {MAX_FRAME}")
            end = start + HEADER.size + length
            if end > len(rest):
                break
            found.append(bytes(rest[start + HEADER.size : end]))
            start = end
        del rest[:start]
        return found


def encode_boot(boot: Boot) -> bytes:
    """A Boot as JSON."""
    return msgspec.json.encode(boot, enc_hook=_plain)


def decode_boot(body: bytes) -> Boot:
    """The Boot in a JSON text; msgspec.DecodeError if it is none."""
    return msgspec.json.decode(body, type=Boot, dec_hook=_special)


def _plain(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a message")


def _special(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise TypeError(f"{kind.__name__} has no place in a message")

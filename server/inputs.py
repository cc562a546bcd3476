"""Files that a prompt brings along: an address or base64 where an uploaded file's name is expected.

Each is fetched or decoded, looked at, and stored below `input/weft_inputs` under the digest of its content; the prompt
then names that file, so that the same content is the same name, and results of it come from the cache.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from executor.contract.concrete import concrete
from executor.contract.definition import NodeDef
from executor.contract.uploads import STORED, FileKind, upload_kind
from executor.errors import AddressRefused, BadInput, FetchFailed, InvalidPrompt
from executor.files import Folders
from executor.graph.input_checks import Error, make_error
from executor.graph.prompt import Prompt
from server.media import pixels
from server.outbound import Outbound
from server.sniffing import ACCEPTED, sniff
from server.users import write_bytes

MOST_FILES = 64
"""Files that one prompt may bring along."""
AT_ONCE = 4
"""Files that are fetched or decoded at the same time, of all prompts: each is held in memory."""
FETCH_S = 60.0
LONGEST_SHOWN = 100
BEGINNINGS = ("http://", "https://", "data:")
_DATA = re.compile(r"data:[^,;]*(?:;[\w=.+-]+)*?;base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One file that a prompt brings along: where, what is accepted there, and the text that stands for it."""

    node_id: str
    name: str
    kind: FileKind
    text: str
    is_url: bool


class Inputs:
    """Takes the files out of prompts."""

    def __init__(self, folders: Folders, outbound: Outbound, *, most_bytes: int) -> None:
        self._folders = folders
        self._outbound = outbound
        self._most_bytes = most_bytes
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def taken(self, prompt: Prompt, definitions: Mapping[str, NodeDef], folders: Folders | None = None) -> Prompt:
        """The prompt with names of stored files in the place of addresses and base64; itself where it has none.

        They are stored in `folders`, those of the prompt's owner.
        InvalidPrompt names every input whose file cannot be had.
        """
        given = list(_given(prompt, definitions))
        if not given:
            return prompt
        if len(given) > MOST_FILES:
            raise BadInput(f"a prompt brings at most {MOST_FILES} files along, not {len(given)}")
        same: dict[tuple[str, FileKind], list[Given]] = defaultdict(list)
        for item in given:
            same[item.text, item.kind].append(item)
        place = folders or self._folders
        storing = (self._stored(items[0], place) for items in same.values())
        found = await asyncio.gather(*storing, return_exceptions=True)
        names: dict[tuple[str, str], str] = {}
        failures: list[tuple[Given, BadInput]] = []
        for items, name in zip(same.values(), found, strict=True):
            if isinstance(name, BadInput):
                failures += [(item, name) for item in items]
            elif isinstance(name, BaseException):
                raise name
            else:
                names.update({(item.node_id, item.name): name for item in items})
        if failures:
            raise _refusal(prompt, definitions, failures)
        return Prompt.parse(_rewritten(prompt, names), definitions)

    async def _stored(self, item: Given, folders: Folders) -> str:
        """The name of the file that one input brings; BadInput says why it cannot be had."""
        async with self._turn:
            if item.is_url:
                fetched = await self._outbound.get(item.text, most_bytes=self._most_bytes, timeout_s=FETCH_S)
                return await asyncio.to_thread(_store, fetched.body, item.kind, folders)
            return await asyncio.to_thread(lambda: _store(_decoded(item.text), item.kind, folders))


def _store(body: bytes, kind: FileKind, folders: Folders) -> str:
    found = sniff(body)
    if found is None or found.ending not in ACCEPTED[kind]:
        what = "of no known format" if found is None else f"a {found.ending} file"
        raise BadInput(f"the content is {what}; here fits {', '.join(sorted(ACCEPTED[kind]))}")
    if found.kind == "image":
        pixels(io.BytesIO(body))  # refuses what is no picture, or too large a one to decode
    name = f"{STORED}/{hashlib.sha256(body).hexdigest()}.{found.ending}"
    path = folders.place(folders.root("input"), name)
    try:
        os.utime(path)  # it is in use again: retention goes by age
    except FileNotFoundError:
        write_bytes(path, body)
    return name


def _given(prompt: Prompt, definitions: Mapping[str, NodeDef]) -> Iterator[Given]:
    for node_id, node in prompt.nodes.items():
        for name, value in (node.inputs or {}).items():
            text, is_url = _text(value)
            if text is None:
                continue
            item = concrete(definitions[node.class_type], node.inputs or {}).told(name)
            kind = None if item is None else upload_kind(item)
            if kind is not None:
                yield Given(node_id=node_id, name=name, kind=kind, text=text, is_url=is_url)


def _text(value: object) -> tuple[str | None, bool]:
    """What stands for a file in an input's value, and whether it is an address; None for any other value."""
    if isinstance(value, str):
        is_file = value[:8].lower().startswith(BEGINNINGS)
        return (value, not value[:5].lower().startswith("data:")) if is_file else (None, False)
    if isinstance(value, dict):
        for key in ("url", "base64"):
            if isinstance(value.get(key), str):
                text = value[key]
                return text, key == "url" and not text[:5].lower().startswith("data:")
    return None, False


def _decoded(text: str) -> bytes:
    """The bytes of base64, bare or in a data URL; white space and missing padding are let pass."""
    start = _DATA.match(text[: LONGEST_SHOWN * 2])
    if start is None and text[:5].lower() == "data:":
        raise BadInput("a data URL must be one of base64: data:image/png;base64,...")
    bare = re.sub(r"\s+", "", text[start.end() if start else 0 :]).rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"the base64 cannot be read: {error}") from error


def _rewritten(prompt: Prompt, names: Mapping[tuple[str, str], str]) -> dict[str, object]:
    raw: dict[str, object] = dict(prompt.raw)
    for node_id in {node_id for node_id, _ in names}:
        inputs = dict(prompt.nodes[node_id].inputs or {})
        inputs |= {name: stored for (node, name), stored in names.items() if node == node_id}
        raw[node_id] = {**prompt.raw[node_id], "inputs": inputs}
    return raw


# ---------------------------------------------------------------- refusals


def _refusal(
    prompt: Prompt, definitions: Mapping[str, NodeDef], failures: list[tuple[Given, BadInput]]
) -> InvalidPrompt:
    errors: dict[str, list[Error]] = defaultdict(list)
    lines = []
    for item, failure in failures:
        fetching = isinstance(failure, AddressRefused | FetchFailed)
        kind, message = (
            ("input_not_fetched", "Input could not be fetched")
            if fetching
            else ("input_not_readable", "Input is no file that can be used")
        )
        details = f"{item.name}: {failure}"
        shown = item.text if len(item.text) <= LONGEST_SHOWN else item.text[:LONGEST_SHOWN] + "..."
        info: Error = {"input_name": item.name, "received_value": shown}
        errors[item.node_id].append(make_error(kind, message, details, info))
        lines.append(f"{message}: node {item.node_id}, {details}")
    node_errors: dict[str, object] = {
        node_id: {
            "errors": found,
            "dependent_outputs": _dependents(prompt, definitions, node_id),
            "class_type": prompt.nodes[node_id].class_type,
        }
        for node_id, found in errors.items()
    }
    kind, message = "prompt_outputs_failed_validation", "Prompt outputs failed validation"
    return InvalidPrompt(kind, message, "\n".join(lines), {}, node_errors)


def _dependents(prompt: Prompt, definitions: Mapping[str, NodeDef], node_id: str) -> list[str]:
    """The outputs that need a node."""
    users: dict[str, set[str]] = defaultdict(set)
    for user, node in prompt.nodes.items():
        for _, link in node.links():
            users[link.node].add(user)
    reached, open_nodes = {node_id}, [node_id]
    while open_nodes:
        new = users[open_nodes.pop()] - reached
        reached |= new
        open_nodes += new
    return [name for name, node in prompt.nodes.items() if name in reached and definitions[node.class_type].is_output]

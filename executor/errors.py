"""The whole exception tree of Weft; HTTP codes and event payloads are made elsewhere.

WeftError
├── BadInput               the caller's data is wrong (400)
│   ├── InvalidPrompt      a graph that is refused, in the shape clients match on
│   ├── UnknownName        a name that does not exist, with the nearest that does
│   ├── UnsafePath         a path that leaves its folder
│   ├── AddressRefused     an address that this server may not call
│   └── FetchFailed        an address that did not give what was asked for
├── ModelFileError         a model file that cannot be used, and what would fit
├── Conflict               a key that was used for something else (409)
├── QueueFull              as many prompts wait as may wait (429)
├── NotReady               definitions or a worker are not there yet (503)
├── WorkerCrashed          the process that ran a job ended
├── JobTimeout             a prompt ran longer than it may
├── DatabaseUnusable       the queue's file cannot be used, and why
├── KeysUnusable           a key file, or a key in it, that opens nothing
├── FrontEndMissing        the web front end that was asked for is not on this machine
├── NotProvided            a pack used a name of its usual host that Weft does not have
├── NodeInputError         a node asked for, or was given, an input that cannot be
├── OutOfMemory            a model and its work do not fit into the device's memory
├── DuplicateNodeError     an expansion reused an id
├── DependencyCycle        nodes that wait for each other
└── Interrupted            the user stopped the prompt
"""

import difflib
from collections.abc import Iterable
from pathlib import Path

Json = dict[str, object]

LONGEST_NAME = 255


def exit_words(failure: SystemExit | KeyboardInterrupt) -> str:
    """How code that wants its process ended said so: `sys.exit(3)` alone tells as much as "3"."""
    if isinstance(failure, KeyboardInterrupt):
        return "KeyboardInterrupt"
    return f"sys.exit({'' if failure.code is None else repr(failure.code)})"


class WeftError(Exception):
    """Base of every error that Weft raises on purpose."""


class BadInput(WeftError):
    """The caller's data is wrong; the message is safe to show."""


class InvalidPrompt(BadInput):
    """A graph that is refused, with the body of the 400 answer (reference/http_api.md section 3)."""

    def __init__(
        self,
        kind: str,
        message: str,
        details: str = "",
        extra_info: Json | None = None,
        node_errors: Json | None = None,
    ) -> None:
        super().__init__(f"{message}: {details}" if details else message)
        self.error: Json = {"type": kind, "message": message, "details": details, "extra_info": extra_info or {}}
        self.node_errors: Json = node_errors or {}

    def body(self) -> Json:
        """The JSON object of the 400 answer."""
        return {"error": self.error, "node_errors": self.node_errors}


class UnknownName(BadInput):
    """A name that does not exist, with the nearest name that does."""

    def __init__(self, what: str, name: str, known: Iterable[str] = ()) -> None:
        self.name = name
        self.nearest = nearest(name, known)
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        super().__init__(f"there is no {what} {name!r}{hint}")


class UnsafePath(BadInput):
    """A path that leaves the folder it has to stay in."""


class AddressRefused(BadInput):
    """An address of the network that this server may not call: which, and why."""


class FetchFailed(BadInput):
    """An address of the network that did not give what was asked for, and why."""


class ModelFileError(WeftError):
    """A model file that cannot be used: which file, why, and what would fit."""

    def __init__(self, path: Path | str, reason: str, fits: str = "") -> None:
        self.path = Path(path)
        super().__init__(f"{self.path.name}: {reason}" + (f"; {fits}" if fits else ""))


class NotReady(WeftError):
    """Definitions or a worker are not there yet; try again after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Conflict(WeftError):
    """A request whose key was used before, for something else."""


class QueueFull(WeftError):
    """As many prompts wait as may wait; try again after `retry_after_s` seconds."""

    def __init__(self, most: int, retry_after_s: int = 10) -> None:
        super().__init__(f"{most} prompts wait, and no more may (--max-queue); try again later")
        self.retry_after_s = retry_after_s


class WorkerCrashed(WeftError):
    """The process that ran a job ended before the job did."""


class JobTimeout(WeftError):
    """A prompt ran longer than --job-timeout allows."""


class DatabaseUnusable(WeftError):
    """The queue's database cannot be used: which file and why."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"the queue's database {path} cannot be used: {reason}")


class KeysUnusable(WeftError):
    """The keys that a server was given cannot be used: which, and why."""


class FrontEndMissing(WeftError):
    """The web front end that was asked for is not on this machine: which, and what is."""


class NotProvided(WeftError):
    """A pack used a name of its usual host that Weft does not have."""

    def __init__(self, name: str, why: str = "") -> None:
        self.name = name
        super().__init__(f"needs {name}, not provided by Weft" + (f": {why}" if why else ""))


class NodeInputError(WeftError):
    """A node asked for, or was given, an input that cannot be."""


class OutOfMemory(WeftError):
    """A model and its work do not fit into the device's memory, with the figures."""

    def __init__(self, figures: str) -> None:
        super().__init__(f"out of memory, also with weights left in the file: {figures}")


class DuplicateNodeError(WeftError):
    """An expansion used the id of a node that exists."""


class DependencyCycle(WeftError):
    """Nodes that wait for each other; `nodes` holds their ids."""

    def __init__(self, nodes: list[str]) -> None:
        super().__init__("Dependency cycle detected")
        self.nodes = nodes


class Interrupted(WeftError):
    """The user stopped the prompt."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The existing name most like `name`, or None when nothing comes near; of names longer than a file's, none does."""
    if len(name) > LONGEST_NAME:
        return None
    lowered = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None

"""Who hears what the dispatcher and its workers tell. Knows no job's way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from executor.contract.definition import NodeDef
from executor.errors import BadInput
from executor.messages import Finished, Ready, Refreshed, Request, Stats
from executor.queue.job import Job

Audience = Literal["owner", "owner_or_all", "all"]


class Publish(Protocol):
    """Where events leave: `data` is an object to dump, or bytes of JSON text; `owner` whose job it is of."""

    def __call__(
        self,
        event: str,
        data: object,
        *,
        audience: Audience,
        client_id: str | None = None,
        job_id: str | None = None,
        owner: str = "",
    ) -> None:
        """Send one event to its audience; returns at once."""
        ...


async def _refuse(request: Request) -> bytes:
    raise BadInput(f"nobody here answers the wish {request.wish!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ears:
    """Who hears what workers tell of themselves, by worker; `request` makes the JSON answer to a worker's wish.

    `ending` hears of a job that its worker has ended and behind which none waits, `ended` when that is stored and told.
    `is_tied` tells which jobs only the first worker may run, `definitions` which node classes there are.
    """

    ready: Callable[[str, Ready], None] = lambda worker, told: None
    refreshed: Callable[[str, Refreshed], None] = lambda worker, told: None
    stats: Callable[[str, Stats], None] = lambda worker, told: None
    ending: Callable[[Job], None] = lambda job: None
    ended: Callable[[Job, Finished], None] = lambda job, told: None
    lost: Callable[[str], None] = lambda worker: None
    request: Callable[[Request], Awaitable[bytes]] = _refuse
    is_tied: Callable[[Job], bool] = lambda job: False
    definitions: Callable[[], Mapping[str, NodeDef]] = dict

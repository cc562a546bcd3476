"""The queue as packs know it (`PromptServer.instance.prompt_queue`): the front keeps it, and each call asks the front.

Reading waits for the answer, also on the event loop that serves the packs' routes (`Line.request` says how).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from executor.worker.line import Line

Item = Sequence[object]  # number, prompt_id, prompt, extra_data, outputs to execute


class PromptQueue:
    """Prompts that wait, run and have run; items are (number, prompt_id, prompt, extra_data, outputs)."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.mutex = threading.RLock()  # packs hold it while they look around; the front's queue needs none of theirs

    @property
    def currently_running(self) -> dict[int, Item]:
        """The prompt that this worker runs now; asks nobody."""
        run = self._line.run
        if run is None:
            return {}
        prompt, extra = json.loads(run.prompt_json), json.loads(run.extra_json)
        return {0: (0.0, run.job_id, prompt, extra, list(run.targets))}

    @property
    def queue(self) -> list[Item]:
        """The prompts that wait: a copy, what is changed on it changes nothing."""
        return self.get_current_queue()[1]

    @property
    def history(self) -> dict[str, object]:
        """Every prompt that ended, by id."""
        return self.get_history()

    def put(self, item: Item) -> None:
        """Queue a prompt; its number counts only if it is negative: then it goes before others."""
        number, *rest = item
        asked = number if isinstance(number, int | float) and number < 0 else None
        self._line.wish("enqueue", [asked, *rest])

    def get_current_queue(self) -> tuple[list[Item], list[Item]]:
        """What runs, and what waits."""
        told = cast(Mapping[str, list[Item]], self._line.request("queue", None))
        return told["queue_running"], told["queue_pending"]

    def get_current_queue_volatile(self) -> tuple[list[Item], list[Item]]:
        """The same: what is told is always a copy."""
        return self.get_current_queue()

    def get_tasks_remaining(self) -> int:
        """How many prompts wait or run."""
        running, pending = self.get_current_queue()
        return len(running) + len(pending)

    def delete_queue_item(self, function: Callable[[Item], bool]) -> bool:
        """Take out the first waiting prompt that `function` says yes to; False if there is none."""
        _, pending = self.get_current_queue()
        chosen = next((item for item in pending if function(item)), None)
        return chosen is not None and bool(self._line.request("delete", [chosen[1]]))

    def wipe_queue(self) -> None:
        """Take out every waiting prompt."""
        _, pending = self.get_current_queue()
        self._line.request("delete", [item[1] for item in pending])

    def get_history(
        self,
        prompt_id: str | None = None,
        max_items: int | None = None,
        offset: int = -1,
        map_function: Callable[[object], object] | None = None,
    ) -> dict[str, object]:
        """Prompts that ended, by id: one, or a window of them; each through `map_function` if there is one."""
        asked = {"prompt_id": prompt_id, "max_items": max_items, "offset": offset if offset >= 0 else None}
        body = {"history": {key: value for key, value in asked.items() if value is not None}}
        told = cast(dict[str, object], self._line.request("queue", body))
        return {key: map_function(value) for key, value in told.items()} if map_function else told

    def set_flag(self, name: str, data: object) -> None:
        """Ask for `unload_models` or `free_memory` once no prompt runs; other names say nothing here."""
        if data and name in ("unload_models", "free_memory"):
            self._line.free(models=True, cache=name == "free_memory")

    def get_flags(self, reset: bool = True) -> dict[str, object]:
        """No flags: what is set is passed on at once."""
        return {}

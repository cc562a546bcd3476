"""Rounds of kill -9 against a server under load: what was answered with 200 is known afterwards."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field

import psutil
import requests

from tests.process.front import graph
from tests.process.house import House

LOADERS = 3
PAUSE_S = 0.02
MOST_S = 0.3
"""How long a round goes on before the kill, at most."""


@dataclass(slots=True)
class Accepted:
    """The ids that were answered with 200."""

    ids: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def load(self, url: str, seed: int) -> None:
        """Submit prompts of several kinds until it is over, or nobody answers."""
        chance = random.Random(seed)
        with requests.Session() as session:
            while not self.over.is_set():
                body: dict[str, object] = {"prompt": made(chance)}
                if chance.random() < 0.3:
                    body["prompt_id"] = f"{seed}-{chance.random()}"
                headers = {"Idempotency-Key": str(chance.random())} if chance.random() < 0.3 else {}
                try:
                    answer = session.post(f"{url}/prompt", json=body, headers=headers, timeout=60)
                except requests.RequestException:
                    self.over.wait(0.01)
                    continue
                self.over.wait(PAUSE_S)
                if answer.status_code == 200:
                    self.ids.append(answer.json()["prompt_id"])


def made(chance: random.Random) -> dict[str, object]:
    """A prompt, unlike all others."""
    salt = str(chance.random())
    return chance.choice(
        (
            graph("Say", text=salt),
            graph("Say", text=salt),
            graph("Sleep", seconds=0.02, mark=""),
            graph("Write", name="kill", count=2, bytes=2000, salt=salt),
            graph("Raise", text=salt),
        )
    )


def round_of_kills(house: House, chance: random.Random) -> list[str]:
    """Load a running server, kill one of its processes at some moment, start it anew; the ids that were accepted.

    In some rounds the worker is warm before, so that kills hit jobs that run; in the others they hit its start.
    """
    if chance.random() < 0.4:
        house.until_ready()
    accepted = Accepted()
    loaders = [
        threading.Thread(target=accepted.load, args=(house.url, chance.randrange(2**32))) for _ in range(LOADERS)
    ]
    for loader in loaders:
        loader.start()
    accepted.over.wait(chance.random() * MOST_S)
    workers = psutil.Process(house.process.pid).children(recursive=True)
    if workers and chance.random() < 0.3:
        chance.choice(workers).kill()
        accepted.over.wait(chance.random() * MOST_S)
    if chance.random() < 0.8:
        house.kill()
        house.start()
    accepted.over.set()
    for loader in loaders:
        loader.join()
    return accepted.ids

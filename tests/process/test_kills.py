"""Accepted is durable: whatever process is killed at whatever moment, each id that was answered is known and ends."""

import random

import pytest

from tests.process.house import House
from tests.process.kills import round_of_kills

ROUNDS = 8


def kill_again_and_again(house: House, rounds: int, seed: int) -> list[str]:
    """Rounds of kills, after each of which every accepted id is known; in the end each ended, with files of its own."""
    chance, accepted = random.Random(seed), []
    house.start()
    for _ in range(rounds):
        accepted += round_of_kills(house, chance)
        assert set(accepted) <= house.known()
    house.until(lambda: house.queue() == ([], []))
    history = house.get("/history").json()
    assert set(accepted) <= history.keys()
    outputs = [output for entry in history.values() for output in entry["outputs"].values()]
    shown = [file["filename"] for output in outputs for file in output.get("files", ())]
    assert len(shown) == len(set(shown))
    written = {path.name for path in (house.base / "output").iterdir()}
    assert set(shown) <= written
    assert not [name for name in written if ".part" in name]
    return accepted


def test_what_was_accepted_is_known_after_kills_and_ends_once(make_house):
    assert len(kill_again_and_again(make_house(), ROUNDS, 20261128)) > ROUNDS


@pytest.mark.soak
def test_what_was_accepted_is_known_after_two_hundred_kills(make_house):
    accepted = kill_again_and_again(make_house("--history-limit", "1000000"), 200, random.randrange(2**32))
    assert len(accepted) > 200


def test_a_lost_database_row_would_be_seen(make_house):
    house: House = make_house().start()
    kept = house.submit(text="a")
    house.ended(kept)
    house.kill()
    for name in ("queue.sqlite3", "queue.sqlite3-wal"):
        (house.base / "user" / name).unlink(missing_ok=True)
    house.start()
    assert kept not in house.known()

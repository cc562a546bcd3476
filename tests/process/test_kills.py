"""Accepted is durable: whatever process is killed at whatever moment, each id that was answered is known and ends."""

import random

from tests.process.house import House
from tests.process.kills import round_of_kills

ROUNDS = 8


def test_what_was_accepted_is_known_after_kills_and_ends_once(make_house):
    house: House = make_house().start()
    chance, accepted = random.Random(20261128), []
    for _ in range(ROUNDS):
        accepted += round_of_kills(house, chance)
        assert set(accepted) <= house.known()
    house.until(lambda: house.queue() == ([], []))
    history = house.get("/history").json()
    assert set(accepted) <= history.keys()
    assert len(accepted) > ROUNDS
    shown = [
        file["filename"]
        for entry in history.values()
        for output in entry["outputs"].values()
        for file in output.get("files", ())
    ]
    assert len(shown) == len(set(shown))
    written = {path.name for path in (house.base / "output").iterdir()}
    assert set(shown) <= written
    assert not [name for name in written if ".part" in name]


def test_a_lost_database_row_would_be_seen(make_house):
    house: House = make_house().start()
    kept = house.submit(text="a")
    house.ended(kept)
    house.kill()
    for name in ("queue.sqlite3", "queue.sqlite3-wal"):
        (house.base / "user" / name).unlink(missing_ok=True)
    house.start()
    assert kept not in house.known()

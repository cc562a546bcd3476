"""Duplicates fold: by Idempotency-Key for as long as it is kept, by a bare prompt_id while its job is there."""

from concurrent.futures import ThreadPoolExecutor

from tests.process.front import graph
from tests.process.house import House


def test_twenty_at_once_and_one_later_are_one_run(house: House, tmp_path):
    body = {"prompt": graph("Write", name="once", count=1, bytes=1), "client_id": "me"}

    def post(_: int) -> tuple[int, str]:
        answer = house.post("/prompt", body, headers={"Idempotency-Key": "twenty"})
        return answer.status_code, answer.text

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, range(20)))
    house.until(lambda: house.queue() == ([], []))
    answers.append(post(0))
    assert len(set(answers)) == 1
    assert answers[0][0] == 200
    assert len(list((house.base / "output").glob("once_*"))) == 1
    other = house.post("/prompt", {**body, "client_id": "you"}, headers={"Idempotency-Key": "twenty"})
    assert other.status_code == 409


def test_a_prompt_id_folds_while_its_job_is_there_and_then_replaces_it(house: House, tmp_path):
    body = {"prompt": graph("Steps", steps=2, seconds=0.01, go=str(tmp_path / "go")), "prompt_id": "bare"}
    first = house.post("/prompt", body)
    house.until(lambda: house.is_running("bare"))
    assert house.post("/prompt", body).text == first.text
    assert house.queue() == (["bare"], [])
    other = house.post("/prompt", {**body, "prompt": graph("Say", text="newest")})
    assert other.status_code == 200
    assert house.queue() == (["bare"], ["bare"])
    (tmp_path / "go").touch()
    house.until(lambda: house.queue() == ([], []))
    assert house.entry("bare")["outputs"] == {"1": {"text": ["newest"]}}


def test_a_key_outlives_the_server(make_house):
    house: House = make_house().start()
    body = {"prompt": graph("Say", text="kept")}
    first = house.post("/prompt", body, headers={"Idempotency-Key": "kept"})
    house.kill()
    house.start()
    assert house.post("/prompt", body, headers={"Idempotency-Key": "kept"}).text == first.text
    house.until(lambda: house.queue() == ([], []))
    assert len(house.get("/history").json()) == 1

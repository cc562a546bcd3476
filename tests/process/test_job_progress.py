"""Progress by plain HTTP: state, place, percent, node, step, seconds left."""

from tests.process.house import House


def test_a_job_tells_how_far_it_is_while_it_waits_runs_and_has_ended(house: House, tmp_path):
    prompt = {
        "1": {"class_type": "Say", "inputs": {"text": "first"}},
        "2": {
            "class_type": "Steps",
            "inputs": {"steps": 10, "seconds": 0.01, "go": str(tmp_path / "go")},
            "_meta": {"title": "My steps"},
        },
    }
    blocking = house.submit("Steps", steps=2, seconds=0.0, go=str(tmp_path / "first"))
    house.until(lambda: house.is_running(blocking))
    before = house.submit(text="between")
    prompt_id = house.post("/prompt", {"prompt": prompt}).json()["prompt_id"]
    waits = house.job(prompt_id)
    assert (waits["state"], waits["queue_position"], waits["percent"], waits["attempts"]) == ("pending", 2, 0.0, 0)
    (tmp_path / "first").touch()
    runs = house.until(lambda: (found := house.job(prompt_id))["step"] == 5 and found)
    assert (runs["state"], runs["queue_position"], runs["steps"]) == ("running", 0, 10)
    assert runs["current_node"] == {"id": "2", "title": "My steps", "class_type": "Steps"}
    assert 0 < runs["percent"] < 100
    assert runs["seconds_left"] > 0
    view = house.get(f"/api/jobs/{prompt_id}").json()
    assert (view["status"], view["state"], view["current_node"]) == ("in_progress", "running", runs["current_node"])
    (tmp_path / "go").touch()
    house.ended(prompt_id)
    over = house.job(prompt_id)
    assert (over["state"], over["percent"], over["seconds_left"], over["current_node"]) == ("succeeded", 100, 0, None)
    assert over["outputs"]["2"] == {"steps": [10]}
    assert house.job(before)["state"] == "succeeded"


def test_a_job_that_failed_says_why(house: House):
    prompt_id = house.submit("Raise", text="no way")
    house.ended(prompt_id)
    told = house.job(prompt_id)
    assert (told["state"], told["percent"]) == ("failed", None)
    assert told["error"] == {
        "node_id": "1",
        "node_type": "Raise",
        "exception_type": "ValueError",
        "exception_message": "no way\n",
    }


def test_an_unknown_job_is_not_there(house: House):
    assert house.get("/weft/jobs/nobody").status_code == 404

"""What the routes of prompts, queue, history and jobs take and answer."""

from __future__ import annotations

from collections.abc import Mapping

from server.openapi.parts import (
    BOOLEAN,
    BYTES,
    INTEGER,
    OBJECT,
    PLAIN,
    PROBLEM,
    REFUSED,
    TEXT,
    TEXTS,
    Operation,
    Query,
    either,
    json,
    members,
    one_of,
    ref,
)

_WINDOW = (
    Query(name="max_items", about="at most so many; without an offset the newest", schema=INTEGER),
    Query(name="offset", about="skip so many of the oldest; below 0: none given", schema=INTEGER),
)
_JOBS = (
    Query(name="status", about="statuses with commas between; none: all"),
    Query(name="workflow_id", about="jobs of this workflow of the front end's"),
    Query(name="sort_by", about="what is compared", schema=one_of("created_at", "execution_duration")),
    Query(name="sort_order", about="desc: newest or longest first", schema=one_of("desc", "asc")),
    Query(name="limit", about="jobs of a page", schema={**INTEGER, "minimum": 1}),
    Query(name="offset", about="jobs before the page", schema={**INTEGER, "minimum": 0}),
)
_JOB_ERROR = json(ref("JobError"))
_OFF = Operation(topic="Jobs", answers={503: json(ref("Disabled"))})

_KEY = Query(
    name="Idempotency-Key",
    about="the same key with the same body is answered as the first time, and runs once",
    place="header",
)
_PREFER = Query(name="Prefer", about="wait, or wait=SECONDS: answer when the prompt has ended", place="header")
_WAITED = {
    202: json(ref("Accepted")),
    409: PROBLEM,
    422: PROBLEM,
    429: PROBLEM,
    500: PROBLEM,
    503: PROBLEM,
    504: PROBLEM,
}

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/prompt"): Operation(
        topic="Prompts",
        answers={200: json(members({"exec_info": members({"queue_remaining": INTEGER})}))},
    ),
    ("POST", "/prompt"): Operation(
        topic="Prompts",
        query=(_KEY, _PREFER),
        body=json(ref("Submission")),
        answers={200: json(either(ref("Ended"), ref("Accepted"))), **REFUSED, **_WAITED},
    ),
    ("POST", "/weft/run"): Operation(
        topic="Prompts",
        query=(
            Query(
                name="answer",
                about="the files' addresses, one file as it is, or all files' contents in JSON",
                schema=one_of("json", "picture", "base64"),
            ),
            Query(name="node", about="the node whose file is wanted"),
            Query(name="index", about="the how manieth of its files, from 0", schema={**INTEGER, "minimum": 0}),
            Query(name="keep", about="let the prompt go on when the client leaves", schema=BOOLEAN),
            Query(
                name="Accept",
                about="image/*, video/* or audio/*: one file as it is; image/webp or image/jpeg alone: in that form",
                place="header",
            ),
            _KEY,
            _PREFER,
        ),
        body=json(ref("Submission")),
        answers={200: json(ref("Ended")), 406: PROBLEM, 410: PROBLEM, **REFUSED, **_WAITED},
        also=(BYTES,),
    ),
    ("POST", "/weft/profile"): Operation(
        topic="Prompts",
        query=(Query(name="torch", about="the operators that torch runs, too", schema=BOOLEAN),),
        body=json(ref("Submission")),
        answers={200: json(OBJECT), **{status: told for status, told in _WAITED.items() if status != 202}, **REFUSED},
    ),
    ("GET", "/queue"): Operation(topic="Prompts", answers={200: json(ref("Queue"))}),
    ("POST", "/queue"): Operation(topic="Prompts", body=json(ref("Removal")), answers={200: None, **REFUSED}),
    ("POST", "/interrupt"): Operation(
        topic="Prompts",
        body=json(members({}, {"prompt_id": TEXT, "force": BOOLEAN})),
        body_required=False,
        answers={200: None, 413: PLAIN},
    ),
    ("POST", "/free"): Operation(
        topic="Prompts",
        body=json(members({}, {"unload_models": BOOLEAN, "free_memory": BOOLEAN})),
        answers={200: None, **REFUSED},
    ),
    ("GET", "/history"): Operation(topic="Prompts", query=_WINDOW, answers={200: json(ref("History")), 400: PROBLEM}),
    ("GET", "/history/{prompt_id}"): Operation(topic="Prompts", answers={200: json(ref("History"))}),
    ("POST", "/history"): Operation(topic="Prompts", body=json(ref("Removal")), answers={200: None, **REFUSED}),
    ("GET", "/ws"): Operation(
        topic="Prompts",
        query=(
            Query(name="clientId", about="the id whose events are wanted; none: the server makes one"),
            Query(name="last_event", about="number the frames (`id`), and begin after this one; 0: all that is kept"),
        ),
        answers={101: None, 400: PLAIN},
    ),
    ("GET", "/weft/events"): Operation(
        topic="Prompts",
        query=(
            Query(name="clientId", about="only what a websocket of this id hears"),
            Query(name="prompt_id", about="only the events of this prompt"),
            Query(name="last_event", about="begin after the event of this number; 0: all that is kept"),
            Query(name="Last-Event-ID", about="the same, as browsers send it when they come back", place="header"),
        ),
        answers={200: ("text/event-stream", TEXT), 400: PROBLEM, 404: PROBLEM},
    ),
    ("GET", "/api/jobs"): Operation(topic="Jobs", query=_JOBS, answers={200: json(ref("Jobs")), 400: _JOB_ERROR}),
    ("GET", "/api/jobs/{id}"): Operation(topic="Jobs", answers={200: json(ref("JobDetail")), 404: _JOB_ERROR}),
    ("GET", "/weft/jobs/{id}"): Operation(topic="Jobs", answers={200: json(ref("JobState")), 404: _JOB_ERROR}),
    ("POST", "/api/jobs/{id}/cancel"): Operation(
        topic="Jobs",
        body=json(members({}, {"force": BOOLEAN})),
        body_required=False,
        answers={200: json(ref("Cancelled")), **REFUSED},
    ),
    ("POST", "/api/jobs/cancel"): Operation(
        topic="Jobs",
        body=json(members({"job_ids": TEXTS})),
        answers={
            200: json(ref("Cancelled")),
            **REFUSED,
            400: json(either(ref("JobError"), ref("Problem"))),
        },
    ),
    **{
        (method, path): _OFF
        for path in ("/api/assets", "/api/assets/{rest}", "/api/tags", "/api/tags/{rest}")
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
    },
}

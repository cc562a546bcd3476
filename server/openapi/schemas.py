"""The named schemas of the document. Knows no route."""

from __future__ import annotations

from collections.abc import Mapping

from executor.queue.job import END_EVENTS
from server.jobs import STATUSES
from server.openapi.parts import (
    ANY,
    BOOLEAN,
    INTEGER,
    NULL,
    NUMBER,
    OBJECT,
    TEXT,
    TEXTS,
    Schema,
    array,
    either,
    mapping,
    members,
    one_of,
    ref,
)

ROOT_NAME = one_of("input", "output", "temp")
_ERROR = {"type": TEXT, "message": TEXT, "details": TEXT, "extra_info": OBJECT}
_WHEN = {"description": "Unix time in milliseconds", **INTEGER}

_STATE: Mapping[str, Schema] = {
    "state": one_of("pending", "running", "succeeded", "failed", "interrupted"),
    "queue_position": {"description": "1: the first to run; 0: it runs", **INTEGER},
    "percent": {"description": "of the work of its nodes, from what they took before", **NUMBER},
    "current_node": members({"id": TEXT, "title": either(TEXT, NULL), "class_type": either(TEXT, NULL)}),
    "step": {"description": "of the current node", **NUMBER},
    "steps": NUMBER,
    "seconds_left": {"description": "as far as it can be foreseen", **NUMBER},
}

SCHEMAS: Mapping[str, Schema] = {
    "Graph": mapping(ref("GraphNode")),
    "GraphNode": members({"class_type": TEXT}, {"inputs": OBJECT, "_meta": OBJECT}),
    "Error": members(_ERROR),
    "NodeErrors": mapping(members({"errors": array(ref("Error")), "dependent_outputs": TEXTS, "class_type": TEXT})),
    "Problem": members({"error": ref("Error"), "node_errors": ref("NodeErrors")}),
    "Submission": members(
        {"prompt": ref("Graph")},
        {
            "client_id": TEXT,
            "prompt_id": either(TEXT, NULL),
            "extra_data": either(members({}, {"webhook": either(TEXT, ref("Webhook"), NULL)}), NULL),
            "number": either(NUMBER, TEXT),
            "front": BOOLEAN,
            "partial_execution_targets": either(TEXTS, NULL),
        },
    ),
    "Accepted": members({"prompt_id": TEXT, "number": NUMBER, "node_errors": ref("NodeErrors")}),
    "OutputFile": members(
        {"node_id": TEXT, "filename": TEXT, "subfolder": TEXT, "type": ROOT_NAME, "content_type": TEXT, "url": TEXT},
        {"base64": either(TEXT, NULL)},
    ),
    "Ended": members(
        {
            "prompt_id": TEXT,
            "state": one_of("succeeded", "failed", "interrupted", "removed"),
            "outputs": OBJECT,
            "files": array(ref("OutputFile")),
            "error": either(OBJECT, NULL),
            "attempts": INTEGER,
            "create_time": _WHEN,
            "start_time": either(_WHEN, NULL),
            "end_time": _WHEN,
        }
    ),
    "QueueItem": {
        "description": "[number, prompt_id, prompt, extra_data, outputs]; with --queue-items id-first "
        "[prompt_id, number, time]",
        "type": "array",
        "minItems": 3,
        "maxItems": 5,
    },
    "Queue": members({"queue_running": array(ref("QueueItem")), "queue_pending": array(ref("QueueItem"))}),
    "Removal": members({}, {"clear": BOOLEAN, "delete": TEXTS}),
    "HistoryEntry": members(
        {
            "prompt": ref("QueueItem"),
            "outputs": OBJECT,
            "status": members(
                {"status_str": one_of("success", "error"), "completed": BOOLEAN, "messages": array(array(ANY))}
            ),
            "meta": OBJECT,
        }
    ),
    "History": mapping(ref("HistoryEntry")),
    "Job": members(
        {"id": TEXT, "status": one_of(*STATUSES), "priority": NUMBER, "create_time": _WHEN},
        {
            "execution_start_time": _WHEN,
            "execution_end_time": _WHEN,
            "execution_error": OBJECT,
            "outputs_count": INTEGER,
            "previewable_outputs_count": INTEGER,
            "preview_output": members({"nodeId": TEXT, "mediaType": TEXT}),
            "workflow_id": TEXT,
        },
    ),
    "Jobs": members(
        {
            "jobs": array(ref("Job")),
            "pagination": members(
                {"offset": INTEGER, "limit": either(INTEGER, NULL), "total": INTEGER, "has_more": BOOLEAN}
            ),
        }
    ),
    "JobDetail": {
        "allOf": [
            ref("Job"),
            members(
                {"outputs": OBJECT, "workflow": members({"prompt": ref("Graph"), "extra_data": OBJECT})},
                {"execution_status": OBJECT, "execution_meta": OBJECT, "update_time": _WHEN, **_STATE},
            ),
        ]
    },
    "JobState": members(
        {
            "id": TEXT,
            **{name: schema if name == "state" else either(schema, NULL) for name, schema in _STATE.items()},
            "attempts": INTEGER,
            "create_time": _WHEN,
            "start_time": either(_WHEN, NULL),
            "end_time": either(_WHEN, NULL),
            "error": either(OBJECT, NULL),
            "outputs": OBJECT,
            "webhooks": array(ref("WebhookState")),
        }
    ),
    "Webhook": members({"url": TEXT}, {"secret": TEXT, "events": array(one_of(*END_EVENTS))}),
    "WebhookState": members(
        {
            "url": {"description": "where it lies: scheme, host and port", **TEXT},
            "state": one_of("pending", "waiting", "delivered", "given_up"),
            "tries": INTEGER,
        },
        {
            "id": either(TEXT, NULL),
            "status": either(INTEGER, NULL),
            "reason": either(TEXT, NULL),
            "next_time": either(_WHEN, NULL),
        },
    ),
    "Cancelled": members({"cancelled": BOOLEAN}),
    "JobError": members({"error": TEXT}, {"invalid_ids": array(ANY)}),
    "Disabled": members({"error": members({"code": TEXT, "message": TEXT, "details": OBJECT})}),
    "NodeInfo": members(
        {"input": OBJECT, "output": array(ANY), "output_name": TEXTS, "name": TEXT, "category": TEXT},
        {
            "input_order": OBJECT,
            "output_is_list": array(BOOLEAN),
            "display_name": either(TEXT, NULL),
            "description": TEXT,
            "python_module": TEXT,
            "output_node": BOOLEAN,
        },
    ),
    "Stored": members({"name": TEXT, "subfolder": TEXT, "type": ROOT_NAME}),
    "SystemStats": members({"system": OBJECT, "devices": array(ref("Device"))}),
    "Device": members(
        {
            "name": TEXT,
            "type": TEXT,
            "index": either(INTEGER, NULL),
            "vram_total": INTEGER,
            "vram_free": INTEGER,
            "torch_vram_total": INTEGER,
            "torch_vram_free": INTEGER,
        }
    ),
    "ModelFile": members({"name": TEXT, "pathIndex": INTEGER, "modified": NUMBER, "created": NUMBER, "size": INTEGER}),
    "FileInfo": members({"path": TEXT, "size": INTEGER, "modified": NUMBER, "created": NUMBER}),
    "Subgraph": members({"source": TEXT, "name": TEXT, "info": OBJECT}, {"data": TEXT}),
    "LogEntry": members({"t": TEXT, "m": TEXT}),
}

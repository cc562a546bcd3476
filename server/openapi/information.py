"""What the routes of nodes, models, the machine and the pages take and answer."""

from __future__ import annotations

from collections.abc import Mapping

from server.openapi.parts import (
    BOOLEAN,
    BYTES,
    INTEGER,
    NULL,
    NUMBER,
    OBJECT,
    PLAIN,
    PROBLEM,
    REFUSED,
    TEXT,
    TEXTS,
    Content,
    Operation,
    array,
    either,
    json,
    mapping,
    members,
    one_of,
    ref,
)

_HTML: Content = ("text/html", TEXT)
_INFO = {200: json(mapping(ref("NodeInfo"))), 503: PROBLEM}
_SIZE = either(members({"cols": INTEGER, "rows": INTEGER}), NULL)
_FILE = {200: BYTES, 304: None, 404: PLAIN, 503: PROBLEM}
_PACK = members({"name": TEXT}, {"module": TEXT, "state": TEXT, "seconds": NUMBER, "nodes": TEXTS, "routes": TEXTS})
_CHECKS = {
    "description": '"ok", or what is wrong',
    **members(dict.fromkeys(("worker", "disk", "queue", "accepting"), TEXT)),
}
_FOLDER = members({"name": TEXT, "folders": TEXTS, "extensions": TEXTS})
_KEEP = {
    "description": "bounds such as 30d, 20GB, 5000files, or the word all, instead of the server's own",
    **members({}, dict.fromkeys(("outputs", "temp", "inputs", "history"), TEXTS)),
}
_REMOVED = members({"folder": TEXT, "name": TEXT, "owner": TEXT, "bytes": INTEGER, "age_s": INTEGER})
_CLEANED = members(
    {
        "dry_run": BOOLEAN,
        "totals": mapping(members({"count": INTEGER, "bytes": INTEGER})),
        "removed": array(_REMOVED),
    }
)

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/object_info"): Operation(topic="Nodes and models", answers=_INFO),
    ("GET", "/object_info/{name}"): Operation(topic="Nodes and models", answers=_INFO),
    ("GET", "/models"): Operation(topic="Nodes and models", answers={200: json(TEXTS)}),
    ("GET", "/models/{folder}"): Operation(topic="Nodes and models", answers={200: json(TEXTS), 404: PLAIN}),
    ("GET", "/embeddings"): Operation(topic="Nodes and models", answers={200: json(TEXTS)}),
    ("GET", "/experiment/models"): Operation(topic="Nodes and models", answers={200: json(array(_FOLDER))}),
    ("GET", "/experiment/models/{folder}"): Operation(
        topic="Nodes and models", answers={200: json(array(ref("ModelFile"))), 404: PLAIN}
    ),
    ("GET", "/experiment/models/preview/{folder}/{index}/{name}"): Operation(
        topic="Nodes and models", answers={200: ("image/webp", {}), 400: PROBLEM, 403: PLAIN, 404: PLAIN}
    ),
    ("GET", "/system_stats"): Operation(topic="Server", answers={200: json(ref("SystemStats"))}),
    ("GET", "/metrics"): Operation(topic="Server", answers={200: PLAIN}),
    ("GET", "/features"): Operation(
        topic="Server",
        answers={200: json(members({"supports_preview_metadata": BOOLEAN, "max_upload_size": INTEGER}))},
    ),
    ("GET", "/health"): Operation(
        topic="Server",
        answers={200: json(members({"status": TEXT, "version": TEXT, "workers": array(OBJECT)}))},
    ),
    ("GET", "/ready"): Operation(
        topic="Server",
        answers={
            200: json(members({"ready": BOOLEAN, "checks": _CHECKS})),
            503: json(members({"ready": BOOLEAN, "reason": TEXT, "checks": _CHECKS})),
        },
    ),
    ("POST", "/weft/clean"): Operation(
        topic="Server",
        body=json(members({}, {"dry_run": BOOLEAN, "keep": _KEEP})),
        answers={200: json(_CLEANED), **REFUSED, 507: PROBLEM},
    ),
    ("GET", "/openapi.json"): Operation(topic="Server", answers={200: json(OBJECT)}),
    ("GET", "/docs/api"): Operation(topic="Server", answers={200: _HTML}),
    ("GET", "/internal/logs"): Operation(topic="Server", answers={200: json(TEXT)}),
    ("GET", "/internal/logs/raw"): Operation(
        topic="Server", answers={200: json(members({"entries": array(ref("LogEntry")), "size": _SIZE}))}
    ),
    ("PATCH", "/internal/logs/subscribe"): Operation(
        topic="Server",
        body=json(members({"clientId": TEXT, "enabled": BOOLEAN})),
        answers={200: None, **REFUSED},
    ),
    ("GET", "/internal/folder_paths"): Operation(topic="Server", answers={200: json(mapping(TEXTS))}),
    ("GET", "/internal/files/{root}"): Operation(
        topic="Server", answers={200: json(TEXTS), 400: json(members({"error": one_of("Invalid directory type")}))}
    ),
    ("GET", "/"): Operation(topic="Front end", answers={200: _HTML}),
    ("GET", "/weft/packs"): Operation(topic="Nodes and models", answers={200: json(array(_PACK)), 503: PROBLEM}),
    ("GET", "/extensions"): Operation(topic="Front end", answers={200: json(TEXTS)}),
    ("GET", "/extensions/{name}"): Operation(topic="Front end", answers=_FILE),
    ("GET", "/api/workflow_templates/{pack}/{name}"): Operation(topic="Front end", answers=_FILE),
    ("GET", "/workflow_templates"): Operation(topic="Front end", answers={200: json(mapping(TEXTS))}),
    ("GET", "/i18n"): Operation(topic="Front end", answers={200: json(mapping(OBJECT))}),
    ("GET", "/global_subgraphs"): Operation(topic="Front end", answers={200: json(mapping(ref("Subgraph")))}),
    ("GET", "/global_subgraphs/{id}"): Operation(topic="Front end", answers={200: json(either(ref("Subgraph"), NULL))}),
    ("GET", "/templates/{name}"): Operation(topic="Front end", answers=_FILE),
    ("GET", "/docs/{name}"): Operation(topic="Front end", answers=_FILE),
    ("GET", "/{name}"): Operation(topic="Front end", answers=_FILE),
}

"""What the routes of pictures, uploads, users and their files take and answer."""

from __future__ import annotations

from collections.abc import Mapping

from server.openapi.parts import (
    ANY,
    BOOLEAN,
    BYTES,
    FILE,
    OBJECT,
    PLAIN,
    PROBLEM,
    REFUSED,
    TEXT,
    TEXTS,
    Content,
    Operation,
    Query,
    array,
    either,
    form,
    json,
    mapping,
    members,
    one_of,
    ref,
)
from server.openapi.schemas import ROOT_NAME

_VIEW = (
    Query(name="filename", about="the file's name; ` [input]`, ` [output]` or ` [temp]` after it beats type"),
    Query(name="type", about="the data folder (default output)", schema=ROOT_NAME),
    Query(name="subfolder", about="the folder below it"),
    Query(name="preview", about="re-encode: webp or jpeg, then perhaps `;` and a quality"),
    Query(name="channel", about="rgb: without alpha; a: alpha alone", schema=one_of("rgba", "rgb", "a")),
)
_PLACE = {"type": ROOT_NAME, "subfolder": TEXT, "overwrite": one_of("true", "1", "false", "0")}
_SHOWN: Mapping[int, Content | None] = {200: BYTES, 206: BYTES, 304: None, 416: None}
_UNKNOWN_USER: Mapping[int, Content | None] = {401: PROBLEM}
_FULL = Query(name="full_info", about="with sizes and times", schema=BOOLEAN)
_OVERWRITE = Query(name="overwrite", about="false: refuse a name that is taken", schema=BOOLEAN)
_WRITTEN: Mapping[int, Content | None] = {
    200: json(either(TEXT, ref("FileInfo"))),
    **REFUSED,
    401: PROBLEM,
    403: PLAIN,
    404: PLAIN,
    409: PLAIN,
}
_LISTED = array(either(TEXT, TEXTS, ref("FileInfo")))

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/view"): Operation(topic="Files", query=_VIEW, answers={**_SHOWN, 400: PROBLEM, 403: PLAIN, 404: PLAIN}),
    ("GET", "/view_metadata/{folder}"): Operation(
        topic="Files",
        query=(Query(name="filename", about="a safetensors file of that kind"),),
        answers={200: json(OBJECT), 404: PLAIN},
    ),
    ("POST", "/upload/image"): Operation(
        topic="Files", body=form({"image": FILE}, _PLACE), answers={200: json(ref("Stored")), **REFUSED}
    ),
    ("POST", "/upload/mask"): Operation(
        topic="Files",
        body=form({"image": FILE, "original_ref": {**TEXT, "contentMediaType": "application/json"}}, _PLACE),
        answers={200: json(ref("Stored")), **REFUSED},
    ),
    ("GET", "/users"): Operation(
        topic="Users", answers={200: json(members({"storage": TEXT}, {"migrated": BOOLEAN, "users": mapping(TEXT)}))}
    ),
    ("POST", "/users"): Operation(
        topic="Users",
        body=json(members({"username": TEXT})),
        answers={200: json(TEXT), **REFUSED, 400: json(either(ref("JobError"), ref("Problem")))},
    ),
    ("GET", "/settings"): Operation(topic="Users", answers={200: json(OBJECT), **_UNKNOWN_USER}),
    ("GET", "/settings/{id}"): Operation(topic="Users", answers={200: json(ANY), **_UNKNOWN_USER}),
    ("POST", "/settings"): Operation(topic="Users", body=json(OBJECT), answers={200: None, **REFUSED, **_UNKNOWN_USER}),
    ("POST", "/settings/{id}"): Operation(
        topic="Users", body=json(ANY), answers={200: None, **REFUSED, **_UNKNOWN_USER}
    ),
    ("GET", "/userdata"): Operation(
        topic="Users",
        query=(
            Query(name="dir", about="the folder", required=True),
            Query(name="recurse", about="with the folders below", schema=BOOLEAN),
            Query(name="split", about="paths with their parts", schema=BOOLEAN),
            _FULL,
        ),
        answers={200: json(_LISTED), 400: PLAIN, **_UNKNOWN_USER, 403: PLAIN, 404: PLAIN},
    ),
    ("GET", "/v2/userdata"): Operation(
        topic="Users",
        query=(Query(name="path", about="the folder; none: all of the user's"),),
        answers={200: json(array(OBJECT)), 400: PLAIN, 403: PLAIN, 404: PLAIN},
    ),
    ("GET", "/userdata/{file}"): Operation(
        topic="Users", answers={**_SHOWN, 400: PROBLEM, **_UNKNOWN_USER, 403: PLAIN, 404: PLAIN}
    ),
    ("POST", "/userdata/{file}"): Operation(
        topic="Users", query=(_OVERWRITE, _FULL), body=("application/octet-stream", FILE), answers=_WRITTEN
    ),
    ("DELETE", "/userdata/{file}"): Operation(
        topic="Users", answers={204: None, 400: PROBLEM, **_UNKNOWN_USER, 403: PLAIN, 404: PLAIN, 507: PROBLEM}
    ),
    ("POST", "/userdata/{file}/move/{dest}"): Operation(topic="Users", query=(_OVERWRITE, _FULL), answers=_WRITTEN),
}

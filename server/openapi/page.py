"""Shows an OpenAPI document as a page for people, with nothing loaded from elsewhere. Knows no routes."""

from __future__ import annotations

import json
from html import escape
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { background: #f5f5f2; padding: .75rem; overflow: auto; border-radius: 4px; }
summary { cursor: pointer; padding: .35rem 0; border-top: 1px solid #ddd; }
summary b { display: inline-block; min-width: 4rem; color: #0a5c8a; }
table { border-collapse: collapse; margin: .5rem 0; } td { padding: .2rem .8rem .2rem 0; vertical-align: top; }
@media (prefers-color-scheme: dark) {
  body { background: #16181a; color: #ddd; } pre { background: #222528; } summary { border-color: #333; }
  summary b { color: #6bb8e0; } a { color: #6bb8e0; }
}
"""


def page(document: dict[str, Any]) -> str:
    """The HTML page of a document."""
    topics: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "servers":
                twin = "servers" not in item
                topics.setdefault(operation["tags"][0], []).append(_operation(method, path, operation, twin=twin))
    sections = "".join(f"<h2>{escape(topic)}</h2>{''.join(parts)}" for topic, parts in sorted(topics.items()))
    schemas = "".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items())
    info = document["info"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}: interface</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{escape(info['title'])} {escape(info['version'])}: interface</h1><p>{escape(info['description'])}</p>"
        f'<p>For programs: <a href="/openapi.json">/openapi.json</a>.</p>{sections}<h2>Forms</h2>{schemas}</html>'
    )


def _operation(method: str, path: str, operation: dict[str, Any], *, twin: bool) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(row['name'])}</code><td>{escape(row['in'])}{', required' if row['required'] else ''}"
        f"<td>{escape(row.get('description', ''))}"
        for row in operation["parameters"]
    )
    body = operation.get("requestBody")
    shown = f"<p>Body:</p>{_content(body['content'])}" if body else ""
    answers = "".join(
        f"<p><b>{status}</b> {escape(answer['description'])}</p>{_content(answer.get('content', {}))}"
        for status, answer in operation["responses"].items()
    )
    also = f"<p>Also <code>/api{escape(path)}</code>.</p>" if twin else ""
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
        f"</summary>{also}<table>{rows}</table>{shown}{answers}</details>"
    )


def _content(content: dict[str, Any]) -> str:
    return "".join(
        f"<pre>{escape(media)}: {escape(json.dumps(told['schema'], indent=1))}</pre>" for media, told in content.items()
    )


def _schema(name: str, schema: object) -> str:
    text = escape(json.dumps(schema, indent=1))
    return f"<details><summary><code>{escape(name)}</code></summary><pre>{text}</pre></details>"

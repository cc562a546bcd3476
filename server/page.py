"""The page at `/` of a server without the web front end. Knows no requests."""

from __future__ import annotations

from server.version import weft_version
from server.webroot import FRONT_END_PACKAGE

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Weft</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; }}
code {{ background: #8882; padding: .1em .3em; border-radius: .2em; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #181818; color: #ddd; }} a {{ color: #8bf; }} }}
</style>
<h1>Weft {version}</h1>
<p>This server runs workflows for ComfyUI's clients: it takes graphs over the same HTTP and websocket API,
queues them, and keeps the pictures. Point a client at this address, or look at
<a href="system_stats"><code>/system_stats</code></a>, <a href="object_info"><code>/object_info</code></a>,
<a href="queue"><code>/queue</code></a> and <a href="history"><code>/history</code></a>.</p>
<p>No web interface is installed with it. The one that ComfyUI uses is a package of its own, under its own licence;
install it beside Weft and start the server again:</p>
<p><code>{command}</code></p>
<p>In a checkout of Weft, <code>make run</code> does that by itself;
<code>--front-end-root FOLDER</code> serves an interface from a folder.</p>
</html>
"""


def root_page() -> str:
    """The page as HTML."""
    return _PAGE.format(version=weft_version(), command=f"pip install {FRONT_END_PACKAGE}")

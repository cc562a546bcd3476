"""What a person does at the front end: mouse, keyboard, buttons. Knows both releases, no server and no test."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.ui.watching import OLD, PATIENCE_S, Seen

if TYPE_CHECKING:
    from playwright.sync_api import Locator

SHOW_ALL = """() => {
    const canvas = window.app.canvas, nodes = window.app.graph.nodes
    const left = Math.min(...nodes.map((n) => n.pos[0])), right = Math.max(...nodes.map((n) => n.pos[0] + n.size[0]))
    const top = Math.min(...nodes.map((n) => n.pos[1])), bottom = Math.max(...nodes.map((n) => n.pos[1] + n.size[1]))
    const {clientWidth: width, clientHeight: height} = canvas.canvas
    canvas.ds.scale = 0.85 * Math.min(width / (right - left), height / (bottom - top + 200))
    const half = 0.5 / canvas.ds.scale
    canvas.ds.offset = [width * half - (left + right) / 2, height * half - (top + bottom) / 2]
    canvas.setDirty(true, true)
}"""
"""Show the whole graph: pictures on nodes out of sight are not loaded."""
PLACE = """([before, at]) => {
    const node = window.app.graph.nodes.find((n) => !before.includes(n.id))
    node.pos = at
    window.app.canvas.deselectAll()
    window.app.canvas.setDirty(true, true)
    return [node.id, node.type]
}"""
"""Put the one new node somewhere."""
FREE = (300, 720)
"""A place in the window where the tests put no node."""
ON_SCREEN = """([id, kind, name]) => {
    const {canvas, graph} = window.app, node = graph.getNodeById(id)
    const widget = kind === "widget" && node.widgets.find((w) => w.name === name)
    const slots = kind === "input" ? node.inputs : node.outputs
    const [x, y] = widget
        ? [node.pos[0] + node.size[0] / 2, node.pos[1] + (widget.y ?? widget.last_y) + 10]
        : node.getConnectionPos(kind === "input", slots.findIndex((slot) => slot.name === name))
    const box = canvas.canvas.getBoundingClientRect(), {scale, offset} = canvas.ds
    return [box.left + (x + offset[0]) * scale, box.top + (y + offset[1]) * scale]
}"""
"""Where a slot or widget of a node is in the window."""
CARRIED = """([name, type, body]) => {
    const carried = new DataTransfer()
    const bytes = Uint8Array.from(atob(body), (c) => c.charCodeAt(0))
    carried.items.add(new File([bytes], name, {type}))
    return carried
}"""
IS_LINKED = """([source, target, given]) => {
    const {graph} = window.app, node = graph.getNodeById(target)
    const slot = node.inputs.findIndex((input) => input.name === given)
    return node.getInputNode(slot)?.id === source
}"""
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""The canvas acts on what it drew last: let it draw."""


class Person:
    """Somebody at a page; each method returns when the page shows that it was done."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.page = seen.page
        self.old = seen.release == OLD

    # ---------------------------------------------------------------- the page

    def open(self, *, first: bool = False) -> None:
        """Open the front end, or open it anew, and wait until it can be used; on a first visit a dialog is over it."""
        opened = self.seen.events.count("status")
        self.page.goto(self.seen.url + "/")
        self.page.wait_for_function("() => window.app?.graph && window.app?.canvas")
        self.seen.until("status", opened + 1)
        (self.page.get_by_role("dialog") if first else self.run_button).last.wait_for()

    def button(self, name: str) -> Locator:
        """The button of this name."""
        return self.page.get_by_role("button", name=name, exact=True).first

    @property
    def run_button(self) -> Locator:
        """The button that queues the graph."""
        return self.button("Run")

    def until(self, what: str, *values: object) -> None:
        """Wait until a JavaScript function of `values` (as one list) is true in the page."""
        self.page.wait_for_function(what, arg=list(values))

    # ---------------------------------------------------------------- graphs

    def start_afresh(self) -> None:
        """An empty graph in a tab of its own."""
        self.button("Create a new blank workflow").click()
        self.until("() => window.app.graph.nodes.length === 0")
        self.page.evaluate("() => { window.app.canvas.ds.scale = 0.75; window.app.canvas.ds.offset = [0, 0] }")

    def drop(self, name: str, body: bytes, kind: str = "application/json") -> None:
        """Drop a file on the canvas."""
        carried = self.page.evaluate_handle(CARRIED, [name, kind, base64.b64encode(body).decode()])
        self.page.dispatch_event("#graph-canvas", "drop", {"dataTransfer": carried, "clientX": 700, "clientY": 450})

    def load(self, path: Path, nodes: int) -> None:
        """Load the graph in a file, of so many nodes."""
        self.drop(path.name, path.read_bytes())
        self.loaded(nodes)

    def loaded(self, nodes: int) -> None:
        """Wait for a graph of so many nodes, and show it whole."""
        self.until("([count]) => window.app.graph.nodes.length === count", nodes)
        self.page.evaluate(SHOW_ALL)

    def add(self, name: str, shown: str, at: tuple[int, int]) -> str:
        """Double-click on the canvas, type a node's name, take the first that is found, put it somewhere; its id."""
        before = self.page.evaluate("() => window.app.graph.nodes.map((n) => n.id)")
        field = self._search()
        field.fill(name)
        found = self.page.locator(".p-autocomplete-list" if self.old else "#results-list").get_by_role("option").first
        found.filter(has_text=shown).wait_for()
        self._choose(field, found, len(before) + 1)
        field.wait_for(state="detached")
        if not self.old:
            self.page.mouse.click(*FREE)  # until then the node hangs on the mouse
        node, kind = self.page.evaluate(PLACE, [before, at])
        assert kind == name
        self.page.evaluate(TWO_FRAMES)
        return node

    def _choose(self, field: Locator, found: Locator, count: int) -> None:
        """Take the node that was found; a key that came before the list heard keys is followed by a click."""
        field.press("Enter")
        for attempt in range(1200):
            if self.page.evaluate("() => window.app.graph.nodes.length") >= count:
                break
            if attempt % 40 == 39 and found.is_visible():
                found.click()
            self.page.wait_for_timeout(100)
        self.until("([count]) => window.app.graph.nodes.length === count", count)

    def _search(self) -> Locator:
        """The open search field; a double-click that the page took for something else is done again."""
        field = self.page.get_by_placeholder("Search Nodes..." if self.old else "Add a node...")
        for attempt in range(200):
            if attempt % 40 == 0:
                self.page.mouse.dblclick(*FREE)
            self.page.wait_for_timeout(100)
            if field.is_visible():
                break
        return field

    def link(self, source: str, output: str, target: str, given: str) -> None:
        """Drag a link from an output to an input, both by name."""
        start = self.page.evaluate(ON_SCREEN, [source, "output", output])
        end = self.page.evaluate(ON_SCREEN, [target, "input", given])
        for _ in range(5):
            self._press(*start)
            self.page.mouse.move(*end, steps=8)
            self.page.evaluate(TWO_FRAMES)
            self.page.mouse.up()
            self.page.evaluate(TWO_FRAMES)
            if self.page.evaluate(IS_LINKED, [source, target, given]):
                return
            self.page.keyboard.press("Escape")  # a link let go over nothing offers nodes
        raise AssertionError(f"{output} of node {source} cannot be dragged to {given} of node {target}")

    def press(self, node: str, widget: str) -> None:
        """Click a button that is drawn on a node."""
        self._press(*self.page.evaluate(ON_SCREEN, [node, "widget", widget]))
        self.page.mouse.up()

    def _press(self, x: float, y: float) -> None:
        """Go there, let the canvas see it, and press."""
        self.page.mouse.move(x, y)
        self.page.evaluate(TWO_FRAMES)
        self.page.mouse.down()
        self.page.evaluate(TWO_FRAMES)

    def set(self, node: str, widget: str, value: object) -> None:
        """Give a widget a value."""
        found = "window.app.graph.getNodeById(id).widgets.find((w) => w.name === name)"
        self.page.evaluate(f"([id, name, value]) => {{ {found}.value = value }}", [node, widget, value])

    def value(self, node: str, widget: str) -> object:
        """The value of a widget."""
        found = "window.app.graph.getNodeById(id).widgets.find((w) => w.name === name)"
        return self.page.evaluate(f"([id, name]) => {found}.value", [node, widget])

    def node(self, kind: str) -> str:
        """The id of the only node of a class."""
        return self.page.evaluate("(kind) => window.app.graph.nodes.find((n) => n.type === kind).id", kind)

    # ---------------------------------------------------------------- running

    def run(self) -> None:
        """Queue the graph."""
        self.run_button.click()

    def pictured(self, kind: str) -> None:
        """Wait for a picture to be drawn on the node of a class."""
        shown = "n.type === kind && n.imgs?.some((image) => image.naturalWidth)"
        self.until(f"([kind]) => window.app.graph.nodes.some((n) => {shown})", kind)

    def wait(self, found: Callable[[], bool], what: str) -> None:
        """Wait for something that only this process can see."""
        waited_s = 0.0
        while not found():
            assert waited_s < PATIENCE_S, f"{what}: not in {PATIENCE_S:g} s"
            self.page.wait_for_timeout(100)
            waited_s += 0.1

    # ---------------------------------------------------------------- what is kept

    def save_as(self, name: str) -> None:
        """Save the workflow under a name."""
        self.page.keyboard.press("Control+s")
        dialog = self.page.get_by_role("dialog").last
        dialog.get_by_role("textbox").fill(name)
        dialog.get_by_role("button", name="Confirm").click()
        self.wait(lambda: any(m == "POST" and "/userdata/workflows%2F" in p for m, _, p in self.seen.answers), "saved")

    def open_workflow(self, name: str) -> None:
        """Open a saved workflow from the list at the side."""
        self.button("Workflows (w)").click()
        self.page.get_by_role("treeitem", name=re.compile(rf"{re.escape(name)}(\.json)?")).last.click()

    def setting(self, words: str) -> Locator:
        """The switch of the one setting whose name has the words, in the opened dialog."""
        self.page.keyboard.press("Control+,")
        self.page.get_by_placeholder("Search Settings...").fill(words)
        switch = self.page.get_by_role("dialog").get_by_role("switch")
        self.wait(lambda: switch.count() == 1, f"one setting for {words!r}")
        return switch

    def photograph(self, path: Path) -> None:
        """Save a picture of the page, without what is different at each run."""
        self.page.evaluate("() => { window.app.canvas.show_info = false; window.app.canvas.setDirty(true, true) }")
        self.page.evaluate(TWO_FRAMES)
        self.page.screenshot(path=str(path))

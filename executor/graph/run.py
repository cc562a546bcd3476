"""Runs one prompt: picks nodes, calls them, keeps their results, tells what happens. Knows no process and no device.

Semantics: reference/execution.md sections 4 to 11; events: reference/http_api.md section 7.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Literal

from executor.context import InterruptFlag, RunContext, current, finishes_later
from executor.contract.concrete import Leaf, concrete, paired
from executor.contract.definition import NodeDef
from executor.contract.registry import Registry
from executor.errors import DependencyCycle, Interrupted
from executor.graph.account import Account, Rest, RunResult
from executor.graph.advice import advice
from executor.graph.asked import Leaves, Stands, TipFor, no_tip, standing, staying
from executor.graph.behind import LEAST_BYTES, WORTH_BYTES, Behind, Earlier, Share
from executor.graph.bind import Function, arranging, bound
from executor.graph.cache import Cache, Entry
from executor.graph.call import (
    Call,
    NodeFailed,
    Part,
    Started,
    merged_outputs,
    merged_ui,
    part_of,
    resolved,
    settled,
    tasks_in,
)
from executor.graph.checks import fingerprint
from executor.graph.dynamic import DynamicPrompt, NodeJson
from executor.graph.expand import graft
from executor.graph.inputs import Gathered, Hidden, Items, gather
from executor.graph.plan import Plan
from executor.graph.progress import Events, Progress
from executor.graph.prompt import Link
from executor.graph.results import Results
from executor.graph.signature import Key, Signatures
from executor.messages import Run

log = logging.getLogger("weft.graph")

__all__ = ["Events", "PromptRun", "Registry", "RunResult", "run_prompt"]

Json = dict[str, object]

PACKS = "custom_nodes."
"""How the modules of packs' nodes begin, as they are listed."""
INTERRUPT_POLL_S = 0.05
"""How often a stop request is looked for while only async nodes work."""

_Tasks = set["asyncio.Task[object]"]
_Watcher = asyncio.Task[tuple[_Tasks, _Tasks]]


async def run_prompt(
    *,
    job: Run,
    registry: Registry,
    cache: Cache,
    events: Events,
    services: object = None,
    interrupt: InterruptFlag | None = None,
    tip_for: TipFor = no_tip,
    stands: Stands = standing,
    threads: Executor | None = None,
    leaves: Leaves = staying,
    earlier: Earlier | None = None,
) -> RunResult:
    """Run a prompt to its end; whatever goes wrong in it becomes part of the result.

    Results in the cache count only while their ui `stands`. On `threads` nodes finish what others need not wait for;
    one that `leaves` as it comes to that does not wait for it either (`RunResult.rest`). `earlier` is what the prompt
    before has left.
    Only cancellation of the calling task comes through, after the prompt's own tasks were cancelled.
    """
    prompt = PromptRun(
        job=job,
        registry=registry,
        cache=cache,
        events=events,
        services=services,
        interrupt=interrupt or InterruptFlag(),
        tip_for=tip_for,
        stands=stands,
        behind=Behind(threads),
        leaves=leaves,
        earlier=Behind(None) if earlier is None else earlier,
    )
    return await prompt.run()


@dataclass(slots=True, kw_only=True)
class _Turn:
    """A node that is under way: what it was called with, and what has come of it."""

    definition: NodeDef
    cls: type
    gathered: Gathered
    began_s: float
    results: Started | None = None  # calls were started; some may be tasks
    share: Share | None = None  # of work that may go on beside other nodes
    parts: list[Part] | None = None  # calls are over; some expand


@dataclass(kw_only=True)
class PromptRun:
    """The state of one running prompt. Also what the plan asks about nodes (`plan.Knowledge`)."""

    job: Run
    registry: Registry
    cache: Cache
    events: Events
    services: object
    interrupt: InterruptFlag
    tip_for: TipFor
    stands: Stands
    behind: Behind
    leaves: Leaves
    earlier: Earlier

    def __post_init__(self) -> None:
        extra: Json = json.loads(self.job.extra_json)
        prompt: dict[str, NodeJson] = json.loads(self.job.prompt_json)
        self.graph = DynamicPrompt(prompt)
        self.hidden = Hidden(
            prompt=prompt,
            dynprompt=self.graph,
            extra_pnginfo=extra.get("extra_pnginfo"),
            secrets=json.loads(self.job.secrets_json),
        )
        self.results = Results(self.graph)
        self.plan = Plan(self.graph, self)
        self._found: Mapping[str, Entry | None] = {}  # what the cache just had of nodes, while the plan is made
        self.signatures = Signatures(self.graph, self.registry.definitions.get, self.job.owner)
        self.account = Account(self.job.job_id, self.graph, self.events)
        self.progress = Progress(self.job.job_id, self.graph, self.events)
        self.events.follow(self.progress)
        self._definitions = self.registry.definitions
        self._known: dict[str, NodeDef | None] = {}  # the definition of each node that was asked about
        self._turns: dict[str, _Turn] = {}
        self._at_work: dict[Key, str] = {}  # nodes whose async work goes on, by key
        self._joined: dict[str, list[str]] = {}  # equal nodes that wait for one of them
        self._wanted = set(self.job.targets)
        self._wake = asyncio.Event()
        self._watchers: set[_Watcher] = set()
        self._current = next(iter(self.job.targets), "")

    async def run(self) -> RunResult:
        """Run to the end; see `run_prompt`."""
        state: Literal["succeeded", "failed", "interrupted"] = "failed"
        self.account.started()
        try:
            await self._prepare()
            while self.plan:
                await self._next()
            if self.behind and not (self.behind.nbytes >= WORTH_BYTES and self.leaves()):
                self.behind.settle()
            state = "succeeded"
        except Interrupted:
            state = "interrupted"
            self.account.interrupted(self._current)
        except NodeFailed as failed:
            self._fail(failed.node_id, failed.cause, failed.inputs)
        except Exception as failure:  # border: whatever the engine itself gets wrong ends the prompt, not the worker
            log.exception("prompt %s failed outside a node", self.job.job_id)
            self._fail(self._current, failure, {})
        finally:
            await self._cancel_tasks()
            if state != "succeeded":  # what nodes began is finished, and told
                self._settle_behind()
            if not self.behind:
                self.progress.close()
        if self.behind:
            return replace(self.account.result(state), rest=Rest(self.account, self.progress, self.behind))
        if state == "succeeded":
            self.account.succeeded()
        return self.account.result(state)

    # ---------------------------------------------------------------- start

    async def _prepare(self) -> None:
        """Make the keys of all nodes, ask the cache, and list the outputs."""
        prompt = self.graph.original_prompt
        for node_id in prompt if self.earlier else ():
            self._let_finish(node_id)
        await self._sign(prompt)
        keys = {node_id: self.signatures[node_id] for node_id in prompt}
        self.cache.begin(keys)
        self._found = {node_id: self._kept(key) for node_id, key in keys.items()}
        self.account.cached({node_id: entry for node_id, entry in self._found.items() if entry is not None})
        targets = [node_id for node_id in prompt if node_id in self._wanted]
        self.results.want(targets)
        for node_id in targets:
            self.plan.add(node_id)
        self._found = {}

    async def _sign(self, nodes: Mapping[str, NodeJson]) -> None:
        told: dict[str, object] = {}
        for node_id, node in nodes.items():
            definition = self.registry.definitions.get(str(node["class_type"]))
            if definition is not None and definition.has_fingerprint:
                self.interrupt.wait_allowed()
                told[node_id] = await fingerprint(node_id, node, definition, self.registry.get(definition.name)[1])
        self.signatures.add(nodes, told)

    # ---------------------------------------------------------------- what the plan asks

    def available(self, node_id: str) -> bool:
        """Tell whether a node's result is there, taking hold of it if the cache has it."""
        return self._entry(node_id) is not None

    def is_output(self, node_id: str) -> bool:
        """Tell whether a node is of an output class."""
        definition = self._definition(node_id)
        return definition is not None and definition.is_output

    def is_eager(self, node_id: str) -> bool:
        """Tell whether a node goes first when ready."""
        definition = self._definition(node_id)
        return definition is not None and (definition.is_output or definition.is_async)

    def is_lazy(self, node_id: str, name: str) -> bool:
        """Tell whether an input is declared lazy."""
        definition = self._definition(node_id)
        item = definition.told(name) if definition is not None else None
        return item is not None and item.lazy

    def added(self, node_id: str) -> None:
        """A node is going to run: hold what it may ask for."""
        self.results.revive(node_id)

    def _definition(self, node_id: str) -> NodeDef | None:
        if node_id not in self._known:
            known = self._definitions.get(self.graph.class_type(node_id))
            self._known[node_id] = None if known is None else concrete(known, self.graph.inputs(node_id))
        return self._known[node_id]

    def _entry(self, node_id: str) -> Entry | None:
        entry = self.results.get(node_id)
        if entry is None:
            entry = self._found[node_id] if node_id in self._found else self._kept_of(node_id)
            if entry is not None:
                self.results.hold(node_id, entry)
                self.results.done(node_id)
        return entry

    def _kept_of(self, node_id: str) -> Entry | None:
        key = self.signatures.get(node_id)
        return None if key is None else self._kept(key)

    def _kept(self, key: Key) -> Entry | None:
        """What the cache has of a node, unless it shows what is there no more."""
        if self.earlier.has(key):
            self.earlier.settle()
        entry = self.cache.get(key)
        if entry is None or (self.stands(entry.ui) and all(self.stands(shown.ui) for shown in entry.inner)):
            return entry
        return None

    def _lookup(self, link: Link) -> Items | None:
        """The items of an output; None if it was not computed or does not exist."""
        entry = self._entry(link.node)
        if entry is None or not -len(entry.outputs) <= link.slot < len(entry.outputs):
            return None
        return entry.outputs[link.slot]

    # ---------------------------------------------------------------- the loop

    async def _next(self) -> None:
        """Run the node whose turn it is, or wait for async work."""
        if self._turns:
            await asyncio.sleep(0)  # let async nodes go on
        if self.behind:
            self.behind.reap()
        node_id = self.plan.pick()
        if node_id is not None:
            self._current = node_id
            await self._guarded(node_id)
        elif self.plan.held():
            await self._wait()
        else:
            loop = self.plan.loop()
            from_expansion = (node_id for node_id in loop if self.graph.get_parent_node_id(node_id) is not None)
            blamed = next(from_expansion, loop[0])
            raise NodeFailed(self.graph.get_display_node_id(blamed), DependencyCycle(loop))

    async def _wait(self) -> None:
        """Wait for async work, looking for a stop request now and then."""
        self._current = self.plan.held()[0]
        self._wake.clear()
        try:
            await asyncio.wait_for(self._wake.wait(), INTERRUPT_POLL_S)
        except TimeoutError:
            self.interrupt.check()

    async def _guarded(self, node_id: str) -> None:
        """Take a node's turn; what its code raises becomes a failure of the node."""
        try:
            await self._take_turn(node_id)
        except (Interrupted, NodeFailed):
            raise
        except asyncio.CancelledError as failure:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise NodeFailed(node_id, failure, self._inputs_of(node_id)) from failure
        except BaseException as failure:  # an exit, or a KeyboardInterrupt of the node's own, ends no worker either
            raise NodeFailed(node_id, failure, self._inputs_of(node_id)) from failure

    def _inputs_of(self, node_id: str) -> Mapping[str, Items]:
        turn = self._turns.get(node_id)
        if turn is None:
            return {}
        by_schema = turn.definition.by_schema  # then hidden values are not among the inputs
        secret = {item.name for item in turn.definition.inputs if item.kind == "hidden" and not by_schema}
        return {name: items for name, items in turn.gathered.values.items() if name not in secret}

    async def _take_turn(self, node_id: str) -> None:
        turn = self._turns.get(node_id)
        if turn is not None and turn.parts is not None:
            self._finish_expansion(node_id, turn)
            return
        if turn is None:
            self._let_finish(node_id)
            entry = self._entry(node_id)
            if entry is not None:
                self._resend(node_id, entry)
                return
            twin = self._at_work.get(self.signatures[node_id])
            if twin is not None:
                self._join(node_id, twin)
                return
            self.interrupt.wait_allowed()
            turn = self._begin(node_id)
            instance = self.cache.instance(node_id, turn.cls)
            if turn.definition.has_lazy_check and await self._needs_more(node_id, turn, instance):
                del self._turns[node_id]
                self.plan.again(node_id)
                return
            name = str(turn.cls.FUNCTION)  # type: ignore[attr-defined]  # every node class has it
            function = bound(instance, name, turn.definition, turn.gathered.hidden)
            if not turn.definition.outputs and finishes_later(function):
                turn.share = self._share(node_id)
            call = self._call(node_id, turn, function)
            turn.results = call.start(turn.gathered.values)
            if tasks_in(turn.results):
                await asyncio.sleep(0)  # one round of the loop: many async calls are over after it
        if turn.results is not None and self._still_working(node_id, turn.results):
            return
        await self._collect(node_id, turn)

    def _join(self, node_id: str, twin: str) -> None:
        """Let a node wait for an equal one whose async work goes on: that result will be this one's too."""
        self._joined.setdefault(twin, []).append(node_id)
        self.progress.started(node_id)
        self.account.executing(node_id)
        self.plan.wait(node_id, twin)

    def _begin(self, node_id: str) -> _Turn:
        self.progress.started(node_id)
        definition, cls = self.registry.get(self.graph.class_type(node_id))
        definition = self._definition(node_id) or definition
        gathered = gather(node_id, self.graph.inputs(node_id), definition, self._lookup, self.hidden)
        turn = self._turns[node_id] = _Turn(definition=definition, cls=cls, gathered=gathered, began_s=time.monotonic())
        self.account.executing(node_id)
        return turn

    def _call(
        self, node_id: str, turn: _Turn, function: Function, *, tells: bool = True, leaf: Leaf | None = None
    ) -> Call:
        context = RunContext(
            job_id=self.job.job_id,
            client_id=self.job.client_id,
            node_id=node_id,
            interrupt=self.interrupt,
            sink=self.progress,
            services=self.services,
            previews=current().previews,
            later=turn.share,
        )

        def on_block(message: str) -> None:
            if tells:
                self.account.blocked(node_id, message)

        return Call(
            function=function,
            takes_lists=turn.definition.takes_lists,
            context=context,
            on_block=on_block,
            arrange=arranging(turn.definition, leaf),
        )

    async def _needs_more(self, node_id: str, turn: _Turn, instance: object) -> bool:
        """Ask a node with a lazy check what else it wants, and let it wait for that."""
        function = bound(instance, "check_lazy_status", turn.definition, turn.gathered.hidden)
        call = self._call(node_id, turn, function, tells=False, leaf=paired)
        named: dict[str, None] = {}
        for answer in await call.all(turn.gathered.values):
            named.update(dict.fromkeys(answer if isinstance(answer, list | tuple | set) else ()))
        values, missing = turn.gathered.values, turn.gathered.missing
        links = dict(self.graph.links(node_id))
        wanted = [
            name
            for name in named
            if name not in values or (name in missing and not (name in links and self.available(links[name].node)))
        ]
        self.plan.need(node_id, wanted)
        return bool(wanted)

    def _still_working(self, node_id: str, results: Started) -> bool:
        """Let a node wait for its unfinished tasks; False once all are over or one has failed."""
        tasks = tasks_in(results)
        open_tasks = [task for task in tasks if not task.done()]
        failed = any(task.done() and (task.cancelled() or task.exception() is not None) for task in tasks)
        if not open_tasks or failed:
            return False
        self._at_work.setdefault(self.signatures[node_id], node_id)
        self.plan.hold(node_id)
        watcher = asyncio.ensure_future(asyncio.wait(open_tasks, return_when=asyncio.FIRST_EXCEPTION))
        watcher.add_done_callback(lambda done: self._woken(node_id, done))
        self._watchers.add(watcher)
        return True

    def _woken(self, node_id: str, watcher: _Watcher) -> None:
        self._watchers.discard(watcher)
        self.plan.unhold(node_id)
        self._wake.set()

    # ---------------------------------------------------------------- what comes of a call

    async def _collect(self, node_id: str, turn: _Turn) -> None:
        """Take what the calls returned: a result, or graphs to run first."""
        parts = [part_of(result, turn.definition) for result in settled(turn.results or [])]
        ui = merged_ui(parts)
        if turn.share is not None and turn.share.works:
            self._finish_behind(node_id, turn, turn.share, ui)
            return
        if ui is not None:
            ui = self.account.made(node_id, ui)
        turn.results = None
        if any(part.graph is not None for part in parts):
            turn.parts = parts
            await self._expand(node_id, parts)
            return
        self._complete(node_id, merged_outputs(parts, turn.definition), ui)

    async def _expand(self, node_id: str, parts: list[Part]) -> None:
        """Put the graphs into the prompt; the node goes on when the outputs it links to are there."""
        added: dict[str, NodeJson] = {}
        for part in parts:
            new = graft(self.graph, node_id, part.graph or {})
            added.update({child: self.graph.get_node(child) for child in new})
        await self._sign(added)
        self.cache.adopt(self.graph.get_real_node_id(node_id), [self.signatures[child] for child in added])
        needed = list(dict.fromkeys(link.node for part in parts for link in part.links()))
        outputs = [child for child in added if self.is_output(child)]
        self._wanted.update(outputs)
        self.results.want([*outputs, *needed])
        for child in outputs:
            self.plan.add(child)
        for child in needed:
            self.plan.wait(node_id, child)
        self.plan.again(node_id)

    def _finish_expansion(self, node_id: str, turn: _Turn) -> None:
        parts = turn.parts or []
        outputs = merged_outputs([resolved(part, self._lookup) for part in parts], turn.definition)
        for child in dict.fromkeys(link.node for part in parts for link in part.links()):
            self.results.release(child)
        own = self.account.shown.get(node_id)
        self._complete(node_id, outputs, own.ui if own is not None else None)

    def _complete(self, node_id: str, outputs: tuple[list[object], ...], ui: Mapping[str, object] | None) -> None:
        """Keep a node's result, and let what waited for it go on."""
        turn = self._turns[node_id]
        seconds = time.monotonic() - turn.began_s
        entry = self._keep(node_id, outputs, ui, seconds)
        self.account.seconds.append((turn.definition.name, seconds))
        self.results.hold(node_id, entry)
        self.account.executed.append(node_id)
        self._leave(node_id)
        for equal in self._joined.pop(node_id, ()):
            self.results.hold(equal, entry)
            self.account.executed.append(equal)
            self.account.shared(equal, entry)
            self._leave(equal)
        self.cache.relieve(self._needed_keys)

    # ---------------------------------------------------------------- work beside other nodes

    def _share(self, node_id: str) -> Share | None:
        """Where a node may hand over its last work, where other nodes or the next prompt may go on meanwhile."""
        has_others = self.plan.has_others(node_id)
        if not has_others and not self.leaves():
            return None
        self.earlier.settle()  # the pictures of one prompt at most wait in memory
        return self.behind.share(LEAST_BYTES if has_others else WORTH_BYTES)

    def _let_finish(self, node_id: str) -> None:
        """Wait for open work before a node that may look for its files, a pack's or an equal one.

        For the files of the prompt before a node that looks at files waits, too: it was to run after that prompt.
        """
        if self.behind or self.earlier:
            definition = self._definition(node_id)
            is_pack = definition is None or definition.pack.startswith(PACKS)
            if definition is None or is_pack or definition.has_fingerprint:
                self.earlier.settle()
            if is_pack or self.behind.has(self.signatures.get(node_id)):
                self.behind.settle()

    def _finish_behind(self, node_id: str, turn: _Turn, share: Share, ui: dict[str, object] | None) -> None:
        """Go on while a node's last work is done; it is told as executed by the thread that does it."""
        shown: list[dict[str, object] | None] = []
        name, began_s = turn.definition.name, turn.began_s  # and not the turn, which holds what it was called with

        def told() -> None:
            shown.append(None if ui is None else self.account.made(node_id, ui))
            self.account.executed.append(node_id)
            self.account.seconds.append((name, time.monotonic() - began_s))
            self.progress.finished(node_id)

        def after() -> None:
            self._keep(node_id, (), shown[0], time.monotonic() - began_s)

        self.behind.begin(node_id, self.signatures[node_id], share, told, after)
        self._drop(node_id)

    def _settle_behind(self) -> None:
        """Where a prompt fails, let what nodes began be finished, and told; one failure is enough to tell."""
        try:
            self.behind.settle()
        except NodeFailed as failed:
            log.warning("node %s could not finish its work", failed.node_id, exc_info=failed.cause)

    # ---------------------------------------------------------------- a node's end

    def _needed_keys(self) -> Iterable[Key]:
        """The keys of results that nodes which may still run ask for, or are."""
        nodes = (*self.results.needed(), *self.plan.pending())
        return (key for node_id in nodes if (key := self.signatures.get(node_id)) is not None)

    def _keep(
        self, node_id: str, outputs: tuple[list[object], ...], ui: Mapping[str, object] | None, seconds: float
    ) -> Entry:
        """Put a node's result, which took so long, into the cache."""
        entry = Entry(outputs=outputs, ui=ui, inner=self.account.inner(node_id), seconds=seconds)
        self.cache.put(self.signatures[node_id], entry)
        return entry

    def _resend(self, node_id: str, entry: Entry) -> None:
        """A node whose result is there already: its old ui is told again."""
        self.account.resent(node_id, entry)
        self._leave(node_id)

    def _leave(self, node_id: str) -> None:
        if self._at_work.get(self.signatures[node_id]) == node_id:
            del self._at_work[self.signatures[node_id]]
        self.progress.finished(node_id)
        self._drop(node_id)

    def _drop(self, node_id: str) -> None:
        """Take a node off the plan, and let go of what it was called with."""
        self._turns.pop(node_id, None)
        self.results.done(node_id)
        self.plan.complete(node_id)
        if node_id in self._wanted:
            self._wanted.discard(node_id)
            self.results.release(node_id)

    # ---------------------------------------------------------------- the end

    def _fail(self, node_id: str, failure: BaseException, inputs: Mapping[str, Items]) -> None:
        definition = self._definition(node_id) if self.graph.has_node(node_id) else None
        tip = self.tip_for(failure) or advice(failure, node_id, self.graph, definition, inputs)
        name = self.graph.class_type(node_id) if self.graph.has_node(node_id) else ""
        log.error("the prompt failed at node %s (%s)", node_id, name, exc_info=failure)
        self.account.failed(node_id, failure, inputs, tip)

    async def _cancel_tasks(self) -> None:
        """Stop the async calls that are still under way."""
        tasks = [task for turn in self._turns.values() for task in tasks_in(turn.results or [])]
        for task in tasks:
            task.cancel()
        if tasks or self._watchers:  # a gathering of nothing takes a round of the loop
            await asyncio.gather(*tasks, *self._watchers, return_exceptions=True)

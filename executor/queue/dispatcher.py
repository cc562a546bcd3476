"""Gives jobs to idle workers and turns their messages into rows and events. Knows no HTTP and no sockets.

Whatever happens to workers, each job gets exactly one terminal event.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace

from executor.engine.base import Engine, EngineMessage, Question, WorkerInfo, WorkerLost
from executor.errors import NotReady, QueueFull, WorkerCrashed
from executor.leftovers import Leftovers
from executor.messages import Blob, Emit, Finished, Finishing, LogLine, Ready, Refreshed, Request, Stats
from executor.queue.ahead import Ahead
from executor.queue.ears import Ears, Publish
from executor.queue.ends import Ends
from executor.queue.entries import Entries
from executor.queue.job import Job, Key, Result, about, interrupted_result, now_ms
from executor.queue.litter import Litter
from executor.queue.placement import Placement
from executor.queue.progress import Follow, Paces, Progress
from executor.queue.relay import relay
from executor.queue.requests import Requests
from executor.queue.running import Ending, Held, Running, run_message
from executor.queue.store import MAX_ATTEMPTS, Store
from executor.queue.traces import Traces
from executor.queue.warmth import Warmth

log = logging.getLogger("weft.dispatcher")

RESTART_S = 10  # what a client is told to wait when the server stops
OVERDUE_GRACE_S = 2.0  # between asking a job whose time is up to stop and ending its worker
CLAIM_PAUSE_S = 1.0  # before a job that could not be given is tried again
Rest = Callable[[], Awaitable[None]]
OF_JOBS = (Emit, Blob, Finishing, Finished, WorkerLost, Ready)  # heard in the order of the jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many jobs may wait, and how many seconds one may run; 0: as many, as long as they like."""

    waiting: int = 0
    job_timeout_s: float = 0.0


class Dispatcher:
    """The one place that moves jobs between store and workers; lives on one event loop."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        publish: Publish,
        publish_blob: Callable[[Blob], None] | None = None,
        ears: Ears | None = None,
        *,
        limits: Limits | None = None,
        leftovers: Leftovers | None = None,
    ) -> None:
        self.store = store
        self.engine = engine
        self.traces = Traces()
        self._publish = publish
        self._publish_blob = publish_blob or (lambda blob: None)
        self._ears = ears or Ears()
        self._limits = limits or Limits()
        self._litter = Litter(leftovers)
        self._warmth = Warmth(self._ears.definitions)
        self._placement = Placement(self._warmth, self._ears.is_tied)
        self._paces = Paces()
        self._endings = Ends(store, publish)
        self._requests = Requests(self._ears.request, engine.reply)
        self._running: dict[str, Running] = {}  # by worker
        self._ends: dict[str, Ending] = {}  # by worker: its last job's end, being stored and told
        self._entries = Entries(engine, self._roused)
        self._ahead = Ahead(engine, lambda: store.next() is not None)
        self._held: dict[str, Held] = {}  # by worker: what came of its next job before it may be told
        self._returns: set[asyncio.Task[None]] = set()  # of jobs whose worker was gone as they came
        self._stop_asked: dict[int, bool] = {}  # rows of jobs that the user stopped -> by force
        self._wake = asyncio.Event()
        self._freed = asyncio.Event()  # set whenever a job leaves a worker
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the engine and the dispatching; the store must be open."""
        await self._litter.take_stock({job.row for job in self.store.pending()})
        await self.engine.start(self._heard)
        self._tasks = [asyncio.create_task(self._dispatch(), name="weft-dispatch")]
        self._wake.set()

    async def stop(self, drain_timeout_s: float = 0.0) -> None:
        """Take and give no more jobs, let running ones end for a while, put the rest back, end the workers."""
        self._stopping = True
        self._wake.set()
        with suppress(TimeoutError):  # what is being accepted is given
            await asyncio.wait_for(self._until(lambda: not self._entries), CLAIM_PAUSE_S)
        try:
            await asyncio.wait_for(self._until(lambda: not self._running and not self._ends), drain_timeout_s)
        except TimeoutError:
            for running in [running for running in self._running.values() if not running.ending]:
                log.warning(
                    "prompt %s goes back to the queue: the server stops", running.job.id, extra=about(running.job.id)
                )
                await self._put_back(running)
        await self.engine.stop()
        watches = [running.watch for running in self._running.values() if running.watch is not None]
        ends = [*(end.task for end in self._ends.values()), *(held.task for held in self._held.values())]
        ending = [*self._tasks, *self._requests.open(), *self._returns, *self._ahead.open(), *ends, *watches]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        self._tasks = []
        await self._litter.close()

    # ---------------------------------------------------------------- what routes call

    @property
    def is_stopping(self) -> bool:
        """Tell whether an orderly stop has begun."""
        return self._stopping

    def require_room(self) -> None:
        """Raise NotReady during an orderly stop, QueueFull while as many jobs wait as may."""
        if self._stopping:
            raise NotReady("the server is stopping and takes no more prompts", RESTART_S)
        if 0 < self._limits.waiting <= self.store.waiting():
            raise QueueFull(self._limits.waiting)

    async def submit(self, job: Job, key: Key | None = None) -> Job:
        """Accept a job: when this returns it is on disk, announced, and will end in history.

        Raises as `require_room`, and sqlite3.Error when the disk refuses the job.
        """
        self.require_room()
        chosen = None if self.store.next() is not None else self._choose([job])
        if chosen is not None:
            return await self._submit_to(chosen[0].id, job, key)
        stored = await self.store.add(job, key=key)
        self._wake.set()
        self._ahead.comes(self._running.values())
        self._endings.tell_status(stored)
        return stored

    async def _submit_to(self, worker: str, job: Job, key: Key | None) -> Job:
        """Accept a job for a worker that has nothing to do, in one commit.

        The worker gets it at once and prepares it meanwhile; it runs no code of a node, and nobody hears of it, before
        it is accepted.
        """
        coming, accepting = self.store.enter(job, worker, key, lambda accepted: self._decide(running, accepted))
        running = Running(job=coming, worker=worker, follow=Follow(job=coming, paces=self._paces), alone=True)
        self._entries.offer(running, self.traces.told(run_message(coming, alone=True, held=True)))
        return await accepting

    def _decide(self, running: Running, accepted: bool) -> None:
        """A job that its worker has already is on disk, or will never be."""
        if not accepted:
            self._entries.refuse(running.worker)
            return
        self._running[running.worker] = running
        seen = self._entries.accept(running.worker)
        if len(self.engine.workers()) > 1:
            self._placement.began(running.worker, running.job)
        self._endings.tell_status(running.job)  # it waits
        if running.worker not in self._ends:
            self._endings.tell_status(running.job)  # it runs
        self._time(running)
        self._freed.set()
        if not seen:
            back = asyncio.create_task(self._never_started(running), name=f"return of {running.job.id}")
            self._returns.add(back)
            back.add_done_callback(self._returns.discard)
            back.add_done_callback(_tell_failure)

    def interrupt(self, prompt_id: str | None = None, *, force: bool = False, owner: str | None = None) -> bool:
        """Stop what runs (None: everything that runs), of one owner or anybody's; tells whether there was something.

        A job whose end is being stored has ended: it is left alone.
        """
        over = {running.job.row for running in self._all() if running.ending}
        asked = (job for job in self.store.running(owner) if prompt_id in (None, job.id))
        chosen = {job.row for job in asked if job.row not in over}
        for row in chosen:
            self._stop_asked[row] = force or self._stop_asked.get(row, False)
        for running in [running for running in self._running.values() if running.job.row in chosen]:
            self.engine.interrupt(running.worker, running.job.id, force=force)
        return bool(chosen)

    def free(self, *, models: bool, cache: bool) -> None:
        """Let the workers unload models and drop cached results once they are idle."""
        if models or cache:
            self._warmth.freed()
            self.engine.free(models=models or cache, cache=cache)

    async def delete(self, ids: Iterable[str], owner: str | None = None) -> list[Job]:
        """Remove waiting jobs by id, of one owner or anybody's."""
        removed = await self.store.delete(ids, owner)
        await self._litter.doom(self._ahead.delete(removed))
        self._endings.tell_status(*removed)
        await self._litter.tidy(removed)
        return removed

    async def clear(self, owner: str | None = None) -> list[Job]:
        """Remove every waiting job, of one owner or anybody's."""
        removed = await self.store.clear(owner)
        await self._litter.doom(self._ahead.delete(removed))
        self._endings.tell_status(*removed)
        await self._litter.tidy(removed)
        return removed

    async def ask(
        self, question: Question, body_json: bytes, *, timeout_s: float = 30.0, worker: str | None = None
    ) -> bytes:
        """A worker's answer to a question, as JSON text; errors as in Engine.ask."""
        return await self.engine.ask(question, body_json, timeout_s=timeout_s, worker=worker)

    def is_idle(self) -> bool:
        """Tell whether a worker has nothing to do."""
        return any(info.state == "idle" for info in self.engine.workers())

    def is_up(self) -> bool:
        """Tell whether a worker can answer questions."""
        return any(info.state in ("idle", "busy") for info in self.engine.workers())

    def host(self) -> WorkerInfo:
        """The worker whose packs answer for themselves: their routes, their hooks, their state."""
        return self.engine.workers()[0]

    def current(self) -> tuple[Running, ...]:
        """What runs now, with the node each worker told last."""
        return tuple(running for running in self._running.values() if not running.ending)

    def progress(self, row: int) -> Progress | None:
        """How far a running job is; None for one that does not run."""
        return next((running.follow.view() for running in self._all() if running.job.row == row), None)

    def _all(self) -> Iterator[Running]:
        """Every job in the hands of workers, and those whose end is being stored."""
        yield from self._running.values()
        for end in self._ends.values():
            yield end.running

    def status(self, owner: str | None = None) -> dict[str, object]:
        """The data of a status event: of one owner's jobs, or of all."""
        return self._endings.status(owner)

    # ---------------------------------------------------------------- giving jobs

    async def _dispatch(self) -> None:
        while not self._stopping:
            await self._wake.wait()
            self._wake.clear()
            while not self._stopping and self.store.next() is not None and (chosen := self._next()) is not None:
                try:
                    await self._give(*chosen)
                except Exception:  # a job that cannot be given must not end the giving of all others
                    log.exception("a job could not be given to worker %s", chosen[0].id)
                    await asyncio.sleep(CLAIM_PAUSE_S)

    def _next(self) -> tuple[WorkerInfo, Job] | None:
        """The first waiting job that a worker may run, with that worker: an idle one, else one that writes files."""
        jobs = self._ahead.others(self.store.pending())
        chosen = self._choose(jobs)
        if chosen is None and jobs and not jobs[0].attempts and not self._litter.may_be_of(jobs[0]):
            workers = self.engine.workers()
            return self._placement.choose(jobs[:1], self._ahead.workers(workers, jobs[0]), workers)
        return chosen

    def _choose(self, jobs: Sequence[Job]) -> tuple[WorkerInfo, Job] | None:
        """The job of these that an idle worker should run next, with that worker."""
        workers = self.engine.workers()
        idle = [info for info in workers if info.state == "idle" and self._is_free(info.id)]
        return self._placement.choose(jobs, idle, workers)

    def _is_free(self, worker: str) -> bool:
        """Tell whether a worker can be given a job: it has none, though the last one's end may not be stored yet."""
        taken = (self._running, self._entries, self._ahead)
        return all(worker not in workers for workers in taken)

    async def _give(self, worker: WorkerInfo, wanted: Job) -> None:
        if worker.id in self._running:
            self._give_ahead(worker.id, wanted)
            return
        job = self.store.claim(worker.id, wanted.row)
        if job is not None:
            await self._start(worker.id, job)

    def _give_ahead(self, worker: str, job: Job) -> None:
        """Send a job, which goes on waiting, to a worker that only writes files of the one before."""
        if len(self.engine.workers()) > 1:
            self._placement.began(worker, job)
        alone = len(self._ahead.others(self.store.pending())) < 2
        early = Running(job=job, worker=worker, follow=Follow(job=job, paces=self._paces), alone=alone)
        self._ahead.give(early, self.traces.told(run_message(replace(job, attempts=job.attempts + 1), alone=alone)))

    def _take_turn(self, worker: str) -> None:
        """The job of a worker has ended: the one that it has already runs, and what it told so far is heard."""
        early = None if self._stopping else self._ahead.turn(worker)
        if early is None:
            return
        running = early.running
        job = self.store.claim(worker, running.job.row)
        if job is None:  # it is being deleted
            self._ahead.withdraw(early)
            return
        running.job = job
        self._running[worker] = running
        self._time(running)
        held = self._held.get(worker)
        if held is not None:
            held.messages.extendleft(reversed(early.messages))
        elif early.messages:
            self._hold(worker, early.messages)

    async def _start(self, worker: str, job: Job) -> None:
        """Send a claimed job to its worker.

        The last words about the worker's job before may still be to come: a worker does not wait for the disk. What
        is told of the new job waits for them (`_heard`).
        """
        running = Running(job=job, worker=worker, follow=Follow(job=job, paces=self._paces))
        self._running[worker] = running
        if len(self.engine.workers()) > 1:
            self._placement.began(worker, job)
        if worker not in self._ends:
            self._endings.tell_status(job)
        await self._litter.tidy([job])
        if running.ending:
            return
        self._time(running)
        running.alone = self.store.next() is None
        try:
            self.engine.run(worker, self.traces.told(run_message(job, alone=running.alone)))
        except WorkerCrashed as error:
            log.warning("prompt %s: %s", job.id, error, extra=about(job.id))
            if self._running.get(worker) is running and not running.ending:
                await self._never_started(running)
            return
        if job.row in self._stop_asked:  # it came while the job was on its way
            self.engine.interrupt(worker, job.id, force=self._stop_asked[job.row])

    def _time(self, running: Running) -> None:
        """Have a job's time watched, where it is bounded."""
        if self._limits.job_timeout_s > 0:
            running.watch = asyncio.create_task(self._watch(running), name=f"time of {running.job.id}")

    async def _watch(self, running: Running) -> None:
        """End a job whose time is up: by asking, then by ending its worker."""
        await asyncio.sleep(self._limits.job_timeout_s)
        running.overdue = True
        log.warning("prompt %s runs longer than %g s: it is ended", running.job.id, self._limits.job_timeout_s)
        self.engine.interrupt(running.worker, running.job.id)
        await asyncio.sleep(OVERDUE_GRACE_S)
        self.engine.interrupt(running.worker, running.job.id, force=True)

    async def _never_started(self, running: Running) -> None:
        """The worker never saw the job: it goes back as if it had not been taken, unless the user stopped it."""
        if running.job.row in self._stop_asked:
            await self._end(running, interrupted_result(running.job))
        else:
            await self._put_back(running)
        self._leave(running)

    async def _put_back(self, running: Running) -> None:
        """Return a job to the queue as if it had not been taken."""
        running.ending = True
        await self.store.requeue(running.job, counted=False)
        self._endings.tell_status(running.job)

    # ---------------------------------------------------------------- hearing workers

    def _heard(self, worker: str, message: EngineMessage) -> None:
        """Hear a message now, or after what its worker told before that has to wait."""
        self._follow(worker, message)
        held = self._held.get(worker)
        if not isinstance(message, OF_JOBS):
            self._hear_one(worker, message)
        elif held is not None:
            held.messages.append(message)
        elif worker in self._ends or worker in self._entries:
            self._hold(worker, [message])
        elif (rest := self._hear_one(worker, message)) is not None:
            self._hold(worker, [], rest)

    def _hold(self, worker: str, messages: Iterable[EngineMessage], first: Rest | None = None) -> None:
        """Hear these messages of a worker, and those that follow, when they may be told, and after this is done."""
        waiting = deque(messages)
        task = asyncio.create_task(self._catch_up(worker, waiting, first), name=f"next of {worker}")
        self._held[worker] = Held(waiting, task)

    async def _catch_up(self, worker: str, messages: deque[EngineMessage], first: Rest | None) -> None:
        """Hear what a worker told of its next job, after the last words about the one before and its acceptance."""
        rest = first
        while rest is not None or messages:
            if rest is not None:
                await self._finish_hearing(worker, rest)
            while (end := self._ends.get(worker)) is not None:
                await asyncio.wait({end.task})
            await self._entries.decided(worker)
            rest = self._hear_one(worker, messages.popleft()) if messages else None
        del self._held[worker]

    async def _finish_hearing(self, worker: str, rest: Rest) -> None:
        try:
            await rest()
        except Exception:  # one bad message must not end the server's hearing
            log.exception("a message of worker %s could not be handled", worker)

    def _hear_one(self, worker: str, message: EngineMessage) -> Rest | None:
        """Do what a message asks for; what of it takes time is returned."""
        try:
            if self._entries.swallows(worker, message):
                return None
            gone = self._ahead.ended(worker, message)
            if self._ahead.keeps(worker, message):
                return None
            if gone is None and not isinstance(message, WorkerLost):
                self._hear(worker, message)
                return None
            return partial(self._hear_of_loss, worker, gone, message)
        except Exception:  # one bad message must not end the server's hearing
            log.exception("a message of worker %s could not be handled", worker)
            return None

    async def _hear_of_loss(self, worker: str, gone: Job | None, message: EngineMessage) -> None:
        """A worker is rid of a job before its turn, or lost: what it wrote goes, at once or before it runs again."""
        if gone is not None:
            self._litter.lost(gone)
            if not self.store.holds(gone.row):
                await self._litter.tidy([gone])
            self._roused()
        if isinstance(message, WorkerLost):
            self._ears.lost(worker)
            self._warmth.lost(worker)
            self._requests.drop(worker)
            await self._lost(worker, message.reason)

    def _hear(self, worker: str, message: EngineMessage) -> None:
        match message:
            case Emit():
                self._publish(
                    message.event,
                    message.data_json,
                    audience=message.audience,
                    client_id=message.client_id,
                    job_id=message.job_id or None,
                    owner=message.owner,
                )
            case Blob():
                self._publish_blob(message)
            case Finishing():
                running = self._running.get(worker)
                if running is not None and running.job.id == message.job_id and self._ahead.finishing(running):
                    self._wake.set()
            case Finished():
                self._finished(worker, message)
            case Ready():
                self._ears.ready(worker, message)
                self._wake.set()
            case Refreshed():
                self._ears.refreshed(worker, message)
            case Request():
                self._requests.take(worker, message)
            case LogLine():
                relay(message)
            case Stats():
                self._ears.stats(worker, message)

    def _follow(self, worker: str, message: EngineMessage) -> None:
        """Take in how far a job is at the moment at which it is told, whenever clients hear of it."""
        if not isinstance(message, Emit | Blob):
            return
        known = (self._entries.of(worker), self._running.get(worker), self._ahead.of(worker))
        running = next((found for found in known if found and found.job.id == message.job_id), None)
        if running is None:
            return
        try:
            if isinstance(message, Emit):
                running.follow.hear(message.event, message.data_json)
            elif message.step_json:
                running.follow.hear("progress", message.step_json)
        except Exception:  # a pack may send anything under an event's name
            log.exception("what worker %s told of its prompt could not be understood", worker)

    def _finished(self, worker: str, message: Finished) -> None:
        running = self._running.get(worker)
        if running is None or running.ending or running.job.id != message.job_id:
            return
        result = Result(
            state=message.state,
            outputs_json=message.outputs_json,
            meta_json=message.meta_json,
            messages_json=message.messages_json,
        )
        running.follow.ended()
        if running.overdue and message.state == "interrupted":
            late = running.late(self._limits.job_timeout_s)
            result = replace(late, outputs_json=message.outputs_json, meta_json=message.meta_json)
        running.ending = True
        if self.store.next() is None:
            self._ears.ending(running.job)  # what was told so far goes out while the disk works
        writing = self._endings.begin(running.job, result)  # on its way before anything else is done
        end = self._finish(running, result, writing, message)
        task = asyncio.create_task(end, name=f"end {running.job.id}")
        task.add_done_callback(_tell_failure)
        self._ends[worker] = Ending(running, task)
        self._leave(running)  # the next job begins meanwhile
        self._take_turn(worker)

    async def _finish(self, running: Running, result: Result, writing: Awaitable[bool], message: Finished) -> None:
        seconds = (now_ms() - (running.job.started_ms or now_ms())) / 1000
        try:
            await self._end(running, result, writing)
            following = self._running.get(running.worker)
            if following is not None:  # it began meanwhile
                self._endings.tell_status(following.job)
        finally:
            del self._ends[running.worker]
            self._freed.set()
        if message.wrote_files:
            self._litter.ended(running.job)
        await asyncio.sleep(0)  # who waits for the end has it first
        self._ears.ended(running.job, message)
        text = "prompt %s %s after %.2f s"
        log.info(text, running.job.id, result.state, seconds, extra=about(running.job.id))

    async def _lost(self, worker: str, reason: str) -> None:
        running = self._running.get(worker)
        if running is None or running.ending:
            return
        job = running.job
        if running.overdue:
            await self._end_stopped(running, running.late(self._limits.job_timeout_s))
        elif job.row in self._stop_asked:
            await self._end_stopped(running, running.stopped())
        elif job.attempts < MAX_ATTEMPTS:
            text = "worker %s ended while it ran prompt %s (%s): the prompt runs again"
            log.warning(text, worker, job.id, reason, extra=about(job.id))
            running.ending = True
            self._litter.lost(job)
            await self.store.requeue(job)
            self._endings.tell_status(job)
        else:
            node = running.follow.node()
            where = f" at node {node['node_id']}" if node["node_id"] else ""
            text = f"the worker process ended{where} ({reason}); attempt {job.attempts} was the last"
            log.error("prompt %s failed: %s", job.id, text, extra=about(job.id))
            running.ending = True
            await self._litter.settle(job)  # whole files stay: nothing will make them again
            await self._end(running, running.crashed(text))
        self._leave(running)

    async def _end_stopped(self, running: Running, result: Result) -> None:
        """End a job that was to end anyway as its worker went away: what a node was still writing goes."""
        running.ending = True
        await self._litter.settle(running.job, running.follow.over())
        await self._end(running, result)

    async def _end(self, running: Running, result: Result, writing: Awaitable[bool] | None = None) -> None:
        """Store and tell the end of a job; `writing` is the storing where it is under way."""
        running.ending = True
        if await self._endings.store(running.job, result, writing):
            self._stop_asked.pop(running.job.row, None)

    def _leave(self, running: Running) -> None:
        """The worker's place is free."""
        if running.watch is not None:
            running.watch.cancel()
        if self._running.get(running.worker) is running:
            del self._running[running.worker]
        self._roused()

    def _roused(self) -> None:
        """A worker may have become free."""
        if self.store.next() is not None:
            self._wake.set()
        self._freed.set()

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that changes as jobs leave workers."""
        while not is_so():
            self._freed.clear()
            await self._freed.wait()


def _tell_failure(task: asyncio.Task[None]) -> None:
    """Log what ended a task that nobody waits for."""
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.error("%s failed", task.get_name(), exc_info=failure)

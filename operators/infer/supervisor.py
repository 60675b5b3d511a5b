"""Keep an engine child at work: know what it is doing, notice when it dies or hangs, and lose no request.

The actor that asks owns one of these. All its state is touched by one thread, which also starts the children,
so that their tie to us (PDEATHSIG) holds as long as this process lives.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.engines.kinds import EngineSettings, describe
from operators.infer.engine_handle import Done, Stats
from operators.infer.engine_log import EngineLog
from operators.infer.engine_wire import ENGINE_MESSAGES, pack_request, unpack_answer
from operators.infer.poison_bisector import PoisonBisector
from operators.infer.utilization import Utilization
from operators.processes.child import Child, Limits, spawn
from schemas.errors import ChildDied, EngineError, Failure, SpecError
from schemas.request import Completion, Request

LOAD_ATTEMPTS = 3
"""Deaths in a row while loading until no engine is expected any more."""
RUNAWAY_MB = 256
"""Growth without progress from which a stall is taken for a runaway allocation."""
WEIGH_S = 1.0
"""An engine at work is weighed no more often."""
TICK_S = 0.1
CLOSE_S = 5.0


@dataclass
class _Running:
    """One generation of the engine child."""

    child: Child
    number: int
    outbox: queue.SimpleQueue[Request | None] = field(default_factory=queue.SimpleQueue)
    asked_at: dict[str, float] = field(default_factory=dict)  # of what it has not answered
    look_at: float = 0.0  # for what is late
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1))  # to be read
    ready: bool = False
    progress: int = -1
    moved_at: float = field(default_factory=time.monotonic)
    moved_mb: int = 0  # address space at about that time
    weighed_at: float = 0.0  # when that was looked at
    last_error: str = ""
    over: bool = False

    def end(self) -> None:
        """Its threads go, whatever they wait for; the channel has to be closed as well."""
        self.over = True
        self.outbox.put(None)
        self.turn.release()


class Supervisor:
    """engine: what the child builds. limits: default: as the engine wants them.

    localize: makes settings for this node of `engine`, whose files may lie elsewhere; in its own time, before a child
    starts. stall_s: seconds without any progress, requests being under way, after which the engine counts as hung.
    load_s: the same for loading. logs: the folder of the engine's log. Used from any number of threads.
    """

    def __init__(
        self,
        engine: EngineSettings,
        *,
        limits: Limits | None = None,
        localize: Callable[[EngineSettings], EngineSettings] | None = None,
        stall_s: float = 300.0,
        load_s: float = 1800.0,
        logs: Path | None = None,
    ) -> None:
        self._engine = engine
        self._localize = localize
        self._limits = limits or Limits(memory_mb=engine.memory_mb)
        self._stall_s = stall_s
        self._load_s = load_s
        self.log = EngineLog(logs)
        self.stats = Stats(log=str(self.log.path))
        self.broken: str | None = None
        """Why no engine can be had at all; set once and for good."""
        self._requests: dict[str, tuple[Request, Done]] = {}
        self._bisector = PoisonBisector(limit=2 * engine.slots)
        self.utilization = Utilization(engine.slots)
        self._generation: _Running | None = None
        self._started = 0
        self._load_deaths = 0
        self._inbox: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="supervisor", daemon=True)
        self._thread.start()

    def submit(self, request: Request, done: Done) -> None:
        """done(request, answer) is called exactly once, from the supervisor's thread; it must be quick.

        The pictures' buffers are held until then. Raises EngineError when there is and will be no engine.
        """
        if self.broken is not None:
            raise EngineError("engine_error", self.broken)
        self._inbox.put(("submit", request, done))

    def ask(self, request: Request) -> Future[Completion | Failure]:
        """The same as a future."""
        future: Future[Completion | Failure] = Future()
        self.submit(request, lambda _, answer: future.set_result(answer))
        return future

    def close(self) -> None:
        """Tell the child to end, see that it does, fail what is still waiting."""
        self._inbox.put(("close",))
        self._thread.join()

    @property
    def child_pid(self) -> int | None:
        generation = self._generation
        return generation.child.pid if generation is not None else None

    # everything below runs in the supervisor's thread

    def _work(self) -> None:
        self._start()
        while not self._closed:
            try:
                event = self._inbox.get(timeout=TICK_S)
            except queue.Empty:
                event = ("tick",)
            match event:
                case ("submit", request, done):
                    self._take(request, done)
                case ("message", generation, message):
                    self._receive(generation, message)
                    generation.turn.release()
                case ("close",):
                    self._closed = True
                case _:
                    pass
            if not self._closed:
                self._watch()
                self._send()
        self._end()

    def _start(self) -> None:
        try:
            if self._localize is not None:
                self._engine, self._localize = self._localize(self._engine), None
            python = self._engine.python()
            child = spawn(
                "operators.infer.engine_child",
                limits=self._limits,
                name="the engine",
                printed=self.log.write,
                of_engine=True,
                keys=self._engine.keys,
                python=python,
            )
        except SpecError as error:  # its files cannot be had
            self._give_up(str(error))
            return
        except OSError as error:  # an interpreter that is not there, or no process to be had
            self._give_up(f"the engine cannot be started: {error}")
            return
        self.utilization.started_anew()
        generation = self._generation = _Running(child, self._started)
        self._started += 1
        threading.Thread(target=self._read, args=(generation,), daemon=True).start()
        threading.Thread(target=self._write, args=(generation,), daemon=True).start()

    def _read(self, generation: _Running) -> None:
        """One message at a time: a child that sends faster than they are taken waits, and does not fill our memory."""
        message: dict[str, Any] | ChildDied | None = {}
        while isinstance(message, dict) and not generation.over:
            generation.turn.acquire()
            try:
                frame = generation.child.channel.receive(ENGINE_MESSAGES, None)
                message = None if frame is None else frame.head
            except ChildDied as death:
                message = ChildDied(death.kind, f"{generation.child.name} {death}")
            self._inbox.put(("message", generation, message))

    def _write(self, generation: _Running) -> None:
        """Sends on a thread of their own: a child that does not read must not stop us from noticing."""
        with contextlib.suppress(OSError):
            generation.child.channel.send({"engine": describe(self._engine)})
            while (request := generation.outbox.get()) is not None:
                generation.child.channel.send(*pack_request(request))

    def _take(self, request: Request, done: Done) -> None:
        if self.broken is not None:
            done(request, Failure("infer", "engine_error", self.broken))
            return
        assert request.request_id not in self._requests, f"request {request.request_id} is under way already"
        self._requests[request.request_id] = (request, done)
        self._bisector.submit(request.request_id)
        if self._generation is None:
            self._start()

    def _receive(self, generation: _Running, message: dict[str, Any] | ChildDied | None) -> None:
        """message: checked by ENGINE_MESSAGES; None when the child closed its channel; or why it cannot go on."""
        if self.broken is not None or generation is not self._generation:
            return
        if not isinstance(message, dict):
            self._on_exit(generation, message or generation.child.exit_reason())
        elif "last_error" in message:
            generation.last_error = message["last_error"]
        elif "fatal" in message:
            self._give_up(message["fatal"])
        elif "ready" in message:
            if not generation.ready:
                generation.ready = True
                self._load_deaths = 0
                self._moved(generation)
        elif "alive" in message:
            if message["alive"] != generation.progress:
                generation.progress = message["alive"]
                self._moved(generation)
        elif self._bisector.answered(message["answer"]):
            self.utilization.answered(message["used_s"], time.time())
            self._moved(generation)
            del generation.asked_at[message["answer"]]
            self._finish(message["answer"], unpack_answer(message))

    def _moved(self, generation: _Running) -> None:
        now = generation.moved_at = time.monotonic()
        if now >= generation.weighed_at + WEIGH_S:  # not for every answer
            generation.moved_mb, generation.weighed_at = generation.child.address_space_mb, now

    def _stall(self, generation: _Running) -> ChildDied:
        """A runaway allocation holds the loop long before the limit strikes; it is not the same as a hang."""
        grown_mb = generation.child.address_space_mb - generation.moved_mb
        reason = f"the engine made no progress for {self._stall_s:g} s"
        if grown_mb > RUNAWAY_MB:
            return ChildDied("out_of_memory", f"{reason} while its memory grew by {grown_mb} MB")
        return ChildDied("timeout", reason)

    def _watch(self) -> None:
        """Kill a child that does nothing."""
        generation = self._generation
        if generation is None or self.broken is not None:
            return
        if generation.ready and not self._bisector.running:
            self._moved(generation)  # idle is no stall
            return
        still_s = time.monotonic() - generation.moved_at
        if not generation.ready and still_s > self._load_s:
            self._on_exit(generation, ChildDied("timeout", f"the engine was not loaded within {self._load_s:g} s"))
        elif generation.ready and still_s > self._stall_s:
            self._on_exit(generation, self._stall(generation))
        elif generation.ready and (late := self._late(generation)):
            self._on_exit(generation, ChildDied("timeout", f"the engine let the deadline of {late} requests pass"))

    def _late(self, generation: _Running) -> int:
        """How many requests should have been answered long ago; looked at once a second. The engine itself keeps the
        deadlines, and says that it makes progress: it is believed for a while."""
        now = time.monotonic()
        if now < generation.look_at:
            return 0
        generation.look_at = now + 1
        asked = ((self._requests[request_id][0], at) for request_id, at in generation.asked_at.items())
        return sum(now > at + request.deadline_s + self._stall_s for request, at in asked)

    def _on_exit(self, generation: _Running, death: ChildDied) -> None:
        generation.end()
        generation.child.kill()
        self.stats.deaths += 1
        reason = f" ({generation.last_error})" if generation.last_error else ""
        self.stats.death = f"{death}{reason}\n{self.log.tail()}".strip()
        if self._requests or not generation.ready:  # at the end of a job its engine may be ended before we are
            self.log.note(f"{death}{reason}")
        if not generation.ready:
            self._load_deaths += 1
            if self._load_deaths >= LOAD_ATTEMPTS:
                times = f"while it was loading, {LOAD_ATTEMPTS} times in a row"
                log = f"; its log: {self.log.path}" if self.log.path.is_file() else ""
                self._give_up(f"{death} {times}{reason}{log}")
                return
        poisoned = self._bisector.died(self._requests)
        if poisoned is not None:
            deaths = self._bisector.deaths.pop(poisoned)
            self.stats.quarantined += 1
            self._finish(poisoned, Failure("infer", death.kind, f"{death} over this request{reason}", deaths))
        if self._requests or not generation.ready:
            self._start()
        else:  # nobody waits for it, and at the end of a job nobody will
            self._generation = None

    def _send(self) -> None:
        generation = self._generation
        if generation is None or not generation.ready or self.broken is not None:
            return
        idle = not self._bisector.running
        for request_id in self._bisector.admit():
            if idle:
                self._moved(generation)
                self.utilization.asked(time.time())
                idle = False
            self.stats.asked += 1
            self.stats.asked_again += request_id in self._bisector.deaths
            generation.asked_at[request_id] = time.monotonic()
            generation.outbox.put(self._requests[request_id][0])

    def _finish(self, request_id: str, answer: Completion | Failure) -> None:
        request, done = self._requests.pop(request_id)
        self.stats.answered += 1
        done(request, answer)

    def _give_up(self, reason: str) -> None:
        self.broken = reason
        if self._generation is not None:
            self._generation.end()
            self._generation.child.kill()
        for request_id in self._bisector.drain():
            self._finish(request_id, Failure("infer", "engine_error", reason))

    def _end(self) -> None:
        if self._generation is not None:
            generation, self._generation = self._generation, None
            generation.end()
            generation.child.channel.shutdown()  # the child takes that for the end, once it is loaded
            if generation.ready:
                generation.child.wait(CLOSE_S)
            generation.child.kill()
        self.log.close()
        for request_id in self._bisector.drain():
            self._finish(request_id, Failure("infer", "aborted", "the job ended before this was answered"))

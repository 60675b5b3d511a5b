"""Keep an engine child at work: know what it is doing, notice when it dies or hangs, and lose no request.

The actor that asks owns one of these. All its state is touched by one thread, which also starts the children,
so that their tie to us (PDEATHSIG) holds as long as this process lives.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from operators.infer.engine_wire import pack_request, unpack_answer
from operators.infer.poison_bisector import Suspects
from operators.infer.utilization import Occupancy
from operators.processes.child import Child, Frame, Limits, spawn
from schemas.errors import ChildDied, EngineError, Failure
from schemas.request import Completion, Request

Done: TypeAlias = Callable[[Request, Completion | Failure], None]

LOAD_ATTEMPTS = 3
"""Deaths in a row while loading until no engine is expected any more."""
RUNAWAY_MB = 256
"""Growth without progress from which a stall is taken for a runaway allocation."""
TICK_S = 0.1
CLOSE_S = 5.0


def interpreter(engine: dict[str, Any]) -> str | None:
    """The Python of this engine's child where it is not ours: vLLM may have an environment, and a torch, of its own."""
    return os.environ.get("SIGHTREAD_VLLM_PYTHON") if engine["kind"] == "vllm" else None


@dataclass
class Stats:
    deaths: int = 0
    asked: int = 0  # requests sent to a child, repeats included
    asked_again: int = 0
    answered: int = 0
    condemned: int = 0


@dataclass
class _Running:
    """One life of the engine child."""

    child: Child
    number: int
    outbox: queue.SimpleQueue[Request | None] = field(default_factory=queue.SimpleQueue)
    ready: bool = False
    progress: int = -1
    moved_at: float = field(default_factory=time.monotonic)
    moved_mb: int = 0  # address space at that time
    last_words: str = ""


class Supervisor:
    """engine: the description that `operators/engine_child.build` takes.

    stall_s: seconds without any progress, requests being under way, after which the engine counts as hung.
    load_s: the same for loading. Used from any number of threads.
    """

    def __init__(
        self,
        engine: dict[str, Any],
        *,
        limits: Limits | None = None,
        stall_s: float = 300.0,
        load_s: float = 1800.0,
    ) -> None:
        self._engine = engine
        self._limits = limits or Limits()
        self._stall_s = stall_s
        self._load_s = load_s
        self.stats = Stats()
        self.broken: str | None = None
        """Why no engine can be had at all; set once and for good."""
        self._requests: dict[str, tuple[Request, Done]] = {}
        slots = int(engine.get("slots", 8))
        self._suspects = Suspects(limit=2 * slots)
        self.occupancy = Occupancy(slots)
        self._life: _Running | None = None
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
        life = self._life
        return life.child.pid if life is not None else None

    # everything below runs in the supervisor's thread

    def _work(self) -> None:
        self._start()
        while not self._closed:
            try:
                message = self._inbox.get(timeout=TICK_S)
            except queue.Empty:
                message = ("tick",)
            match message:
                case ("submit", request, done):
                    self._take(request, done)
                case ("frame", number, frame) if self._life is not None and number == self._life.number:
                    self._hear(self._life, frame)
                case ("close",):
                    self._closed = True
                case _:
                    pass
            if not self._closed:
                self._watch()
                self._send()
                self.occupancy.note(len(self._suspects.running), time.time())
        self._end()

    def _start(self) -> None:
        number = self._life.number + 1 if self._life is not None else 0
        python = interpreter(self._engine)
        child = spawn("operators.infer.engine_child", limits=self._limits, name="the engine", python=python)
        life = self._life = _Running(child, number)
        threading.Thread(target=self._read, args=(life,), daemon=True).start()
        threading.Thread(target=self._write, args=(life,), daemon=True).start()

    def _read(self, life: _Running) -> None:
        frame: Frame | None = Frame({})
        while frame is not None:
            try:
                frame = life.child.channel.recv()
            except (OSError, ValueError):
                frame = None
            self._inbox.put(("frame", life.number, frame))

    def _write(self, life: _Running) -> None:
        """Sends on a thread of their own: a child that does not read must not stop us from noticing."""
        with contextlib.suppress(OSError):
            life.child.channel.send({"engine": self._engine})
            while (request := life.outbox.get()) is not None:
                life.child.channel.send(*pack_request(request))

    def _take(self, request: Request, done: Done) -> None:
        if self.broken is not None:
            done(request, Failure("ask", "engine_error", self.broken))
            return
        assert request.request_id not in self._requests, f"request {request.request_id} is under way already"
        self._requests[request.request_id] = (request, done)
        self._suspects.submit(request.request_id)

    def _hear(self, life: _Running, frame: Frame | None) -> None:
        if self.broken is not None:
            return
        if frame is None:
            self._bury(life, life.child.obituary())
        elif "last_words" in frame.head:
            life.last_words = frame.head["last_words"][:500]
        elif "fatal" in frame.head:
            self._give_up(frame.head["fatal"])
        elif "ready" in frame.head:
            life.ready = True
            self._load_deaths = 0
            self._moved(life)
        elif "alive" in frame.head:
            if frame.head["alive"] != life.progress:
                life.progress = frame.head["alive"]
                self._moved(life)
        elif self._suspects.answered(frame.head["answer"]):
            self._moved(life)
            self._finish(frame.head["answer"], unpack_answer(frame.head))

    def _moved(self, life: _Running) -> None:
        life.moved_at = time.monotonic()
        life.moved_mb = life.child.address_space_mb

    def _stall(self, life: _Running) -> ChildDied:
        """A runaway allocation holds the loop long before the limit strikes; it is not the same as a hang."""
        grown_mb = life.child.address_space_mb - life.moved_mb
        reason = f"the engine made no progress for {self._stall_s:g} s"
        if grown_mb > RUNAWAY_MB:
            return ChildDied("out_of_memory", f"{reason} while its memory grew by {grown_mb} MB")
        return ChildDied("timeout", reason)

    def _watch(self) -> None:
        """Kill a child that does nothing."""
        life = self._life
        if life is None or self.broken is not None:
            return
        if life.ready and not self._suspects.running:
            self._moved(life)  # idle is no stall
            return
        still_s = time.monotonic() - life.moved_at
        if not life.ready and still_s > self._load_s:
            self._bury(life, ChildDied("timeout", f"the engine was not loaded within {self._load_s:g} s"))
        elif life.ready and still_s > self._stall_s:
            self._bury(life, self._stall(life))

    def _bury(self, life: _Running, death: ChildDied) -> None:
        life.outbox.put(None)
        life.child.kill()
        self.stats.deaths += 1
        said = f" ({life.last_words})" if life.last_words else ""
        if not life.ready:
            self._load_deaths += 1
            if self._load_deaths >= LOAD_ATTEMPTS:
                self._give_up(f"{death} while it was loading, {LOAD_ATTEMPTS} times in a row{said}")
                return
        guilty = self._suspects.died(self._requests)
        if guilty is not None:
            deaths = self._suspects.deaths.pop(guilty)
            self.stats.condemned += 1
            self._finish(guilty, Failure("ask", death.kind, f"{death} over this request{said}", deaths))
        self._start()

    def _send(self) -> None:
        life = self._life
        if life is None or not life.ready or self.broken is not None:
            return
        idle = not self._suspects.running
        for request_id in self._suspects.admit():
            if idle:
                self._moved(life)
                idle = False
            self.stats.asked += 1
            self.stats.asked_again += request_id in self._suspects.deaths
            life.outbox.put(self._requests[request_id][0])

    def _finish(self, request_id: str, answer: Completion | Failure) -> None:
        request, done = self._requests.pop(request_id)
        self.stats.answered += 1
        done(request, answer)

    def _give_up(self, reason: str) -> None:
        self.broken = reason
        if self._life is not None:
            self._life.outbox.put(None)
            self._life.child.kill()
        for request_id in self._suspects.drain():
            self._finish(request_id, Failure("ask", "engine_error", reason))

    def _end(self) -> None:
        if self._life is not None:
            life, self._life = self._life, None
            life.outbox.put(None)
            life.child.channel.close()  # the child takes that for the end
            life.child.wait(CLOSE_S)
            life.child.kill()
        for request_id in self._suspects.drain():
            self._finish(request_id, Failure("ask", "aborted", "the job ended before this was answered"))

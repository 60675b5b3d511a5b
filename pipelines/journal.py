"""Tells whoever looks at an output from elsewhere what a run does and what happened: `_job/progress.json` every few
seconds, `_job/events.jsonl` (pipelines/event_log.py). Knows no terminal, and of a run what a Progress is told.

A thread writes, as long as this run has the lease. What cannot be written is left: no journal is a reason to end a
run, or to keep one from ending. What is held in memory is bounded, whatever the run does.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Hashable
from typing import Any, Self

from operators.processes import ending
from operators.store.lease import LeaseGuard, holder_of
from operators.store.retries import in_haste, retries_of
from operators.store.store import Store
from pipelines.event_log import EventLog, shortened, write_progress
from pipelines.pace import Pace, asked_ago_s
from pipelines.plan import commits_at_once
from pipelines.progress import Progress
from pipelines.rounds import now, who
from pipelines.summary.summary import Summary
from pipelines.summary.utilization import Used
from schemas.address import is_remote
from schemas.errors import JobConflict, SightreadError, SpecError
from schemas.version import VERSION

EVERY_S, REMOTE_EVERY_S = 5.0, 15.0
"""Between two writes, where the store is a folder and where it answers over a network."""
MOST_WAITING = 1000
"""Events that are not written yet; of more the oldest go."""
MOST_DIFFERENT = 500
"""Things that are counted one by one: kinds of failures of a task, engines."""
_LAST_S = 10.0
"""For the last words of a run."""
_PATIENCE_S = 5.0
_LOOK_S = 0.5


class Journal(Progress):
    """Within `with`: told of a run as it goes, and of its end by `finished` or by what is raised.

    guard: of the run's lease, without which nothing is written. name: of the spec. workers: decoders.
    """

    def __init__(self, store: Store, guard: LeaseGuard, *, name: str, workers: int, every_s: float = 0.0) -> None:
        self._store = store
        self._guard = LeaseGuard(guard.output, guard.token)  # asked by a thread of its own
        self._every_s = every_s or (REMOTE_EVERY_S if is_remote(store.address) else EVERY_S)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._silent = False
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._log = EventLog(store)
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MOST_WAITING)
        self._times: Counter[Hashable] = Counter()
        self._failures: Counter[str] = Counter()
        self._deaths: dict[str, int] = {}
        self._checked: Counter[str] = Counter()
        self.used = Used({"decode": workers, "commit": commits_at_once(store.address)})
        self._pace = Pace()
        self._began_s = time.monotonic()
        self._asked_s: float | None = None  # when the engine got its first request
        self._receipts = self._new_rows = self._output_tokens = 0
        self._before_rows = self._chunks = 0
        self._ending: str | None = None
        self._facts: dict[str, Any] = {
            "state": "listing", "at": now(), "began": now(), "who": who(), "what": "", "job": name,
            "host": socket.gethostname(), "pid": os.getpid(), "version": VERSION,
            "inputs": None, "probed": 0, "to_probe": 0, "planned_rows": None, "done_rows": 0, "answered_rows": 0,
            "open_chunks": None,
            "fetched_inputs": 0, "fetched_bytes": 0, "store_retries": 0, "exit_code": None, "why": None,
        }  # fmt: skip

    def __enter__(self) -> Self:
        left = ""
        with contextlib.suppress(OSError, SightreadError), in_haste(_PATIENCE_S):
            holder = holder_of(self._store)
            if holder is not None and holder.token == self._guard.token:
                self._facts |= {"who": holder.who, "what": holder.what, "began": holder.since}
                left = holder.left_by
        self._event("run began", **{key: self._facts[key] for key in ("what", "who", "job", "version")})
        if left:
            self._event("lease taken over", left_by=left)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None:
            self._facts |= {"state": "ended", "exit_code": _code_of(error), "why": shortened(_reason_of(error))}
            self._event("ended early", **self._end(), why=self._facts["why"])
        self._over.set()
        self._thread.join(_LAST_S)
        self._silent = True  # one that still waits for a store writes nothing after it

    def finished(self, summary: Summary) -> None:
        """The run came to its end."""
        self._facts |= {"state": "ended", "exit_code": summary.exit_code}
        self._event("ended", **self._end())

    def _end(self) -> dict[str, Any]:
        return {
            "exit_code": self._facts["exit_code"], "new_rows": self._new_rows,
            "failures": dict(self._failures), "seconds": round(time.monotonic() - self._began_s, 1),
        }  # fmt: skip

    # what it is told

    def listing(self, files: int) -> None:
        self._state("listing", inputs=files)

    def listed(self, inputs: int, skipped: dict[str, int]) -> None:
        self._state("probing", inputs=inputs)
        self._event("listed", inputs=inputs, skipped=dict(sorted(skipped.items())[:20]))

    def grown(self, new: int, changed: int, gone: int, *, asked_again: bool) -> None:
        self._event("inputs differ", new=new, changed=changed, gone=gone, asked_again=asked_again)

    def remark(self, text: str) -> None:
        self._event("remark", text=shortened(text))

    def fetched(self, size_bytes: int) -> None:
        with self._lock:
            self._facts["fetched_inputs"] += 1
            self._facts["fetched_bytes"] += size_bytes

    def waiting(self, address: str) -> None:
        self._count("waiting", "waiting for an input", address=shortened(address.partition("?")[0]))

    def probed(self, inputs: int, total: int) -> None:
        self._state("probing", probed=inputs, to_probe=total)

    def planned(self, rows: int, done: int, chunks: int) -> None:
        with self._lock:
            self._before_rows, self._chunks = done, chunks
            state = {"state": "starting"} if not (self._receipts or self._facts["answered_rows"]) else {}
            self._facts |= {**state, "planned_rows": rows, **self._done()}
        self._count("planned", "planned", rows=rows, done=done, chunks=chunks)

    def _done(self) -> dict[str, int]:
        """Of what is planned by now."""
        return {
            "done_rows": self._before_rows + self._new_rows,
            "open_chunks": max(0, self._chunks - self._receipts),
        }

    def starting(self, what: str) -> None:
        self._state("starting")
        self._event("starting", what=what)

    def answered(self, rows: int, tokens: int, asked_ago_s: float | None) -> None:
        with self._lock:
            now_s = time.monotonic()
            if self._asked_s is None and asked_ago_s is not None:
                self._asked_s = now_s - asked_ago_s
            self._pace.reached(rows, tokens, now_s, asked_ago_s or 0.0)
            self._facts |= {"state": "asking", "answered_rows": self._before_rows + rows}

    def receipt(self, receipt: dict[str, Any]) -> None:
        self._state("asking")
        self._engine(receipt)
        place = {key: receipt[key] for key in ("task", "chunk_id")}
        if receipt["outcome"] == "failed":
            self._count("failed", "not committed", **place, message=shortened(receipt["message"] or ""))
            return
        self.used.add(receipt)
        with self._lock:
            now_s, took_s = time.monotonic(), asked_ago_s(receipt)
            if self._asked_s is None and took_s is not None:
                self._asked_s = now_s - took_s
            self._receipts += 1
            self._new_rows += receipt["rows"]
            self._output_tokens += receipt["output_tokens"]
            self._pace.reached(self._new_rows, self._output_tokens, now_s, took_s or 0.0)
            self._facts |= self._done()
        for failure in receipt["failures"] or ():
            kind = {key: failure[key] for key in ("stage", "kind")}
            with self._lock:
                self._failures[str(failure["kind"])] += failure["rows"]
            message = shortened(failure["message"] or "")
            where = ("failed", receipt["task"], *kind.values())
            self._count(where, "rows failed", failure["rows"], **place, failure=kind, message=message)

    def halted(self, receipt: dict[str, Any]) -> None:
        self._engine(receipt)
        kinds = {"no_engine": "no engine", "lost": "store lost", "refused": "store refused"}
        kind = kinds.get(receipt["outcome"], str(receipt["outcome"]))
        self._event(kind, task=receipt["task"], message=shortened(receipt["message"] or ""))

    def taken_out(self, parts: int) -> None:
        self._event("all failed", parts=parts)

    def checked(self, part: dict[str, Any]) -> None:
        self._state("checking")
        self._checked.update(part["outcomes"] or ())

    def publishing(self) -> None:
        if self._checked:
            self._event("code checked", outcomes=dict(self._checked))
        self._state("publishing")

    def published(self, files: int) -> None:
        self._event("published", files=files)

    def _state(self, state: str, **facts: Any) -> None:
        with self._lock:
            self._facts |= {"state": state, **facts}

    def _event(self, kind: str, **facts: Any) -> None:
        with self._lock:
            self._waiting.append({"at": now(), "kind": kind, **facts})

    def _count(self, what: Hashable, kind: str, times: int = 1, **facts: Any) -> None:
        """An event for the first of its sort, and for its tenth, hundredth and so on."""
        with self._lock:
            if what not in self._times and len(self._times) >= MOST_DIFFERENT:
                return
            before = self._times[what]
            after = self._times[what] = before + times
        if not before or len(str(before)) < len(str(after)):
            self._event(kind, times=after, **facts)

    def _engine(self, receipt: dict[str, Any]) -> None:
        for again in receipt["retries"] or ():
            self._asked_again(again)
        engine = receipt["engine"]
        if engine is None or (engine["actor"] not in self._deaths and len(self._deaths) >= MOST_DIFFERENT):
            return
        actor, deaths = str(engine["actor"]), int(engine["deaths"] or 0)
        if actor not in self._deaths and engine["since_s"] is not None:
            self._event("engine answers", engine=actor, slots=engine["slots"], log=engine.get("log"))
        if deaths > self._deaths.get(actor, 0):
            why, _, tail = (engine.get("death") or "").partition("\n")
            anew = "no engine" if receipt["outcome"] == "no_engine" else "started anew"
            facts = {"why": shortened(why), "then": anew, "log": engine.get("log"), "last_lines": shortened(tail)}
            self._event("engine died", engine=actor, times=deaths, **facts)
        with self._lock:
            self._deaths[actor] = max(deaths, self._deaths.get(actor, 0))

    def _asked_again(self, again: dict[str, Any]) -> None:
        with self._lock:
            self._facts["store_retries"] += again["times"]
        stage = str(again["stage"])
        self._count(("retries", stage), "store asked again", again["times"], stage=stage, reason=again["reason"])

    # what it writes

    def _work(self) -> None:
        with in_haste(_PATIENCE_S):
            self._write()
            written_s = time.monotonic()
            while not self._over.wait(min(_LOOK_S, self._every_s)):
                self.used.look()
                ends = ending.exit_reason() if self._ending is None else None
                if ends is not None:  # it may be the last word: what unwinds may be cut short
                    self._ending = ends
                    self._event("told to end", why=ends)
                if ends is not None or time.monotonic() - written_s >= self._every_s:
                    self._write()
                    written_s = time.monotonic()
            self._write()

    def _write(self) -> None:
        """A store that says no, or another driver that has the lease, is no matter of ours."""
        for again in retries_of("driver"):
            self._asked_again(again)
        with contextlib.suppress(OSError, SightreadError):
            if not self._guard.held() or self._silent:
                return
            with self._lock:
                events = list(self._waiting)
                self._waiting.clear()
            try:
                if events:
                    self._log.add(events)
            except (OSError, SightreadError):
                with self._lock:  # tried once more next time, as far as there is room
                    later = list(self._waiting)
                    self._waiting.clear()
                    self._waiting.extend([*events, *later])
            if not self._silent:
                write_progress(self._store, self._progress())

    def _progress(self) -> dict[str, Any]:
        now_s = time.monotonic()
        with self._lock:
            use = self.used.summary()
            facts = self._facts | {"at": now(), "seconds": round(now_s - self._began_s, 1)}
            run_s = max(1e-6, now_s - (self._asked_s if self._asked_s is not None else self._began_s))
            run = self._new_rows / run_s, self._output_tokens / run_s
            left = (facts["planned_rows"] or 0) - max(facts["done_rows"], facts["answered_rows"])
            left_s = self._pace.left_s(left, now_s) if facts["state"] == "asking" else None
            rows_per_s, tokens_per_s = self._pace.rates(now_s) or run
            rates = {
                "rows_per_s": rows_per_s, "tokens_per_s": tokens_per_s,
                "rows_per_s_run": run[0], "tokens_per_s_run": run[1],
            }  # fmt: skip
            facts |= {
                "new_rows": self._new_rows,
                "failed_rows": sum(self._failures.values()),
                "failures": dict(self._failures.most_common()),
                "engine_deaths": sum(self._deaths.values()),
            }
        if self._ending is not None and facts["state"] != "ended":
            facts |= {"state": "ending", "why": self._ending}
        return {
            **facts,
            **{key: round(value, 3) for key, value in rates.items()},
            "eta_s": None if left_s is None else round(left_s),
            "bottleneck": use.bottleneck if use is not None else None,
            "utilization": None if use is None else use.as_json(),
        }


def _reason_of(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return ending.exit_reason() or "interrupted"
    return str(error) if isinstance(error, SightreadError) else f"{type(error).__name__}: {error}"


def _code_of(error: BaseException) -> int | None:
    """Of the command, as far as it follows from that."""
    if isinstance(error, (SpecError, JobConflict)):
        return 2
    return 1 if isinstance(error, (SightreadError, OSError)) else None

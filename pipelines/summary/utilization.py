"""What held a run back: how busy each stage was, and which of them the others waited for. Figures over the receipts of
a run, as they come. Knows nothing of Ray.

The span is that from the first request to a loaded engine to the last receipt. In it a stage could have worked for its
workers x the span, and that is what its busy and its idle seconds add up to:

    decode, probe and others   the whole of their calls, child starts and transport among it, as receipts tell of them
    open, parse                of the process that asks an engine: some call opens a whole input; makes requests, reads
                               and checks replies, writes rows
    engine                     a slot is busy while a request is in the engine
    commit                     the whole of its calls; publish is the part of them that shows readers what is there
    driver                     CPU of the process that runs the job, and what its main thread waited for a CPU
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ENGINE_BUSY = 0.9
"""Share of its slots from which the engine is what the others wait for, whatever else is busy."""
BUSY = 0.5
"""Share of its time from which a stage may be."""
FEW = 4
"""Parts that are too few for stages to work beside each other."""
ENOUGH = 10
"""Requests a slot, below which even the bare engine idles at the end: a fifth of its slots at five."""
_SECONDS = ("busy_s", "idle_s", "share")
ORDER = ("probe", "decode", "open", "parse", "engine", "commit", "publish", "driver")
WITHIN = {"publish": "commit"}
"""Stages that work in calls of another."""
_LOOKS = 4096
"""At the driver's clock, until an engine answers."""
_MOST_ENGINES = 10_000
_SCHEDSTAT = Path("/proc/self/schedstat")


@dataclass(frozen=True)
class StageUse:
    """workers: that could work at once. busy_s + idle_s: workers x span. share: busy_s of that."""

    stage: str
    workers: int
    busy_s: float
    idle_s: float
    share: float


@dataclass(frozen=True)
class UtilizationSummary:
    """utilization: share of the engines' slots in use; the output tokens a second over those of the same engine with
    all requests at hand are close to it (`sightread bench pipeline` measures both). since_s: when the span began, since
    the epoch. deaths: engines that died and were started anew. bottleneck: a stage, or engine deaths, requests (so few
    that waiting for the last replies is much of the run), or Ray (no stage was busy: chunks wait between them).
    """

    utilization: float
    tokens_per_s: float
    since_s: float
    span_s: float
    deaths: int
    bottleneck: str
    stages: list[StageUse]

    def as_json(self) -> dict[str, Any]:
        return {
            **{key: _rounded(value) for key, value in asdict(self).items()},
            "stages": [{key: _rounded(value) for key, value in asdict(stage).items()} for stage in self.stages],
        }

    @classmethod
    def of(cls, value: Any) -> UtilizationSummary | None:
        """Of what `as_json` wrote, or anybody else; None where it is no such thing."""
        try:
            stages = [
                StageUse(str(stage["stage"]), int(stage["workers"]), *(float(stage[key]) for key in _SECONDS))
                for stage in value["stages"]
            ]
            return cls(
                utilization=float(value["utilization"]),
                tokens_per_s=float(value["tokens_per_s"]),
                since_s=float(value["since_s"]),
                span_s=float(value["span_s"]),
                deaths=int(value["deaths"]),
                bottleneck=str(value["bottleneck"]),
                stages=stages,
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            return None


def summarize_utilization(
    receipts: Iterable[dict[str, Any]], workers: Mapping[str, int] | None = None
) -> UtilizationSummary | None:
    """receipts: rows of RECEIPTS. workers: as Used has them. None where no engine answered anything."""
    used = Used(workers)
    for receipt in receipts:
        used.add(receipt)
    return used.summary()


class Used:
    """The figures of receipts as they come; what it holds does not grow with them. For any threads of the process that
    runs the job.

    workers: of the stages, by name; one where it is not said. An engine's are told by receipts.
    """

    def __init__(self, workers: Mapping[str, int] | None = None) -> None:
        self._lock = threading.Lock()
        self._workers = dict(workers or {})
        self._engines: dict[str, dict[str, Any]] = {}
        self._busy_s: Counter[str] = Counter()
        self._parts = self._rows = self._output_tokens = 0
        self._since_s: float | None = None
        self._until_s = 0.0
        # when, and the CPU-seconds of this process by then
        self._looks: deque[tuple[float, float]] = deque(maxlen=_LOOKS)
        self._cpu_since_s = self._cpu_until_s = 0.0
        self.look()

    def look(self) -> None:
        """At what the driver has used; once in a while, so that its share can be told from the first request on."""
        with self._lock:
            if self._since_s is None:
                self._looks.append((time.time(), _cpu_s()))

    def add(self, receipt: Mapping[str, Any]) -> None:
        """A row of RECEIPTS."""
        self.look()
        with self._lock:
            self._until_s, self._cpu_until_s = time.time(), _cpu_s()
            self._add(receipt)

    def _add(self, receipt: Mapping[str, Any]) -> None:
        if (engine := receipt["engine"]) is not None and engine["since_s"] is not None:
            known = self._engines.get(engine["actor"])
            if engine["until_s"] >= known["until_s"] if known else len(self._engines) < _MOST_ENGINES:
                self._engines[engine["actor"]] = engine
            if self._since_s is None or engine["since_s"] < self._since_s:
                self._since_s = engine["since_s"]
                self._cpu_since_s = _at(self._since_s, self._looks)
        plan = receipt.get("plan") or {}
        planned = [{**plan, "stage": "probe"}] if plan.get("busy_s") else []
        for call in [*planned, *(receipt["spent"] or ())]:
            # what was done before an engine could be asked took nothing from it
            late_s = max(0.0, (self._since_s or call["began_s"] + call["busy_s"]) - call["began_s"])
            self._busy_s[call["stage"]] += max(0.0, call["busy_s"] - late_s)
        self._parts += receipt["rows"] is not None
        self._rows += receipt["rows"] or 0
        self._output_tokens += receipt["output_tokens"] or 0

    def summary(self) -> UtilizationSummary | None:
        """None where no engine answered anything."""
        with self._lock:
            return self._summary()

    def _summary(self) -> UtilizationSummary | None:
        engines = list(self._engines.values())
        if self._since_s is None or (span_s := self._until_s - self._since_s) <= 0:
            return None
        busy_s = dict.fromkeys(self._workers, 0.0) | dict(self._busy_s)
        busy_s |= {
            "parse": sum(engine["parse_s"] or 0.0 for engine in engines),
            "open": sum(engine["open_s"] or 0.0 for engine in engines),
            "engine": sum(engine["busy_s"] for engine in engines),
            "driver": self._cpu_until_s - self._cpu_since_s,
        }
        slots = sum(engine["slots"] for engine in engines)
        workers = self._workers | {"parse": len(engines), "open": len(engines), "engine": slots}
        stages = [
            _stage(name, workers.get(WITHIN.get(name, name), 1), seconds, span_s)
            for name, seconds in sorted(busy_s.items(), key=lambda item: _place(item[0]))
            if seconds or name != "open"
        ]
        deaths = sum(engine["deaths"] for engine in engines)
        shares = {stage.stage: stage.share for stage in stages}
        return UtilizationSummary(
            utilization=shares["engine"],
            tokens_per_s=self._output_tokens / span_s,
            since_s=self._since_s,
            span_s=span_s,
            deaths=deaths,
            bottleneck=bottleneck(shares, deaths, parts=self._parts, enough=self._rows >= ENOUGH * slots),
            stages=stages,
        )


def _cpu_s() -> float:
    return time.process_time() + _waited_s()


def _waited_s() -> float:
    """By the main thread, for a CPU that others had. 0 where the kernel does not say."""
    try:
        with _SCHEDSTAT.open("rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _at(moment_s: float, looks: Iterable[tuple[float, float]]) -> float:
    """The CPU-seconds used by then, between the looks before and after it."""
    used = 0.0
    for (before_s, before), (after_s, after) in pairwise(looks):
        if before_s <= moment_s < after_s:
            return before + (after - before) * (moment_s - before_s) / (after_s - before_s)
        used = after if moment_s >= after_s else used
    return used


def bottleneck(shares: Mapping[str, float], deaths: int, *, parts: int, enough: bool) -> str:
    """shares: of the time of each stage. parts: of so many, receipts came. enough: whether there were requests enough
    to keep all slots busy."""
    if shares["engine"] >= ENGINE_BUSY:
        return "engine"
    if deaths:
        return "engine deaths"
    if parts < FEW:
        return "requests"
    stage = max((name for name in shares if name not in WITHIN), key=lambda name: shares[name])
    if shares[stage] >= BUSY:
        inner = {name: shares[name] for name, outer in WITHIN.items() if outer == stage and name in shares}
        return next((name for name, share in inner.items() if share > shares[stage] / 2), stage)
    return "Ray" if enough else "requests"


def _stage(name: str, workers: int, busy_s: float, span_s: float) -> StageUse:
    capacity_s = workers * span_s
    busy_s = min(busy_s, capacity_s)  # clocks of several machines
    return StageUse(name, workers, busy_s, capacity_s - busy_s, busy_s / capacity_s)


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def _place(name: str) -> tuple[int, str]:
    """In the order that chunks pass them; those of other names first."""
    return (ORDER.index(name) if name in ORDER else -1), name

"""Whether the engine was kept busy, and what kept it from it: figures over the receipts of a run. Knows nothing of
Ray.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

BUSY = 0.9
"""Share of its time from which a stage is what the others wait for."""
CLOSE = 0.6
ENOUGH = 10
"""Requests a slot, below which even the bare engine idles at the end: a fifth of its slots at five."""
_CHUNKS = 4096
"""Of which it is known that they were decoded."""


@dataclass(frozen=True)
class UtilizationSummary:
    """utilization: share of the engines' slots in use from the first request to the last answer; the output tokens a
    second over those of the same engine with all requests at hand are close to it (`sightread bench pipeline`
    measures both). decode, commit: share of that time in which their workers worked. span_s: that time.
    deaths: engines that died and were started anew. bottleneck: engine, engine deaths, decode, commit, object store
    (chunks on their way between stages), or requests (so few that waiting for the last replies is much of the run).
    """

    utilization: float
    tokens_per_s: float
    decode: float
    commit: float
    span_s: float
    deaths: int
    bottleneck: str


def summarize_utilization(receipts: Iterable[dict[str, Any]], *, workers: int) -> UtilizationSummary | None:
    """receipts: rows of RECEIPTS. workers: decoders. None where no engine answered anything."""
    used = Used()
    for receipt in receipts:
        used.add(receipt)
    return used.summary(workers)


class Used:
    """The figures of receipts as they come; what it holds does not grow with them. The receipts of a chunk, which is
    decoded once for all its tasks, come close to each other."""

    def __init__(self) -> None:
        self._engines: dict[str, dict[str, Any]] = {}
        self._decoded: dict[str, float] = {}  # of the last chunks
        self._decode_s = self._commit_s = 0.0
        self._rows = self._output_tokens = 0

    def add(self, receipt: dict[str, Any]) -> None:
        """A row of RECEIPTS."""
        engine = receipt["engine"]
        known = self._engines.get(engine["actor"]) if engine is not None else None
        if engine is not None and engine["since_s"] is not None and (not known or engine["until_s"] > known["until_s"]):
            self._engines[engine["actor"]] = engine
        decode_s = receipt["decode_s"] or 0.0
        self._decode_s += decode_s - self._decoded.pop(receipt["chunk_id"], 0.0)
        self._decoded[receipt["chunk_id"]] = decode_s
        if len(self._decoded) > _CHUNKS:
            del self._decoded[next(iter(self._decoded))]
        self._commit_s += receipt["commit_s"] or 0.0
        self._rows += receipt["rows"] or 0
        self._output_tokens += receipt["output_tokens"] or 0

    def summary(self, workers: int) -> UtilizationSummary | None:
        """workers: decoders. None where no engine answered anything."""
        engines = list(self._engines.values())
        if not engines:
            return None
        since_s = min(engine["since_s"] for engine in engines)
        span_s = max(engine["until_s"] for engine in engines) - since_s
        if span_s <= 0:
            return None
        slots = sum(engine["slots"] for engine in engines)
        utilization = sum(engine["busy_s"] for engine in engines) / (slots * span_s)
        decode = min(1.0, self._decode_s / (workers * span_s))
        commit = min(1.0, self._commit_s / span_s)
        deaths = sum(engine["deaths"] for engine in engines)
        return UtilizationSummary(
            utilization=utilization,
            tokens_per_s=self._output_tokens / span_s,
            decode=decode,
            commit=commit,
            span_s=span_s,
            deaths=deaths,
            bottleneck=_bottleneck(utilization, decode, commit, deaths, enough=self._rows >= ENOUGH * slots),
        )


def _bottleneck(utilization: float, decode: float, commit: float, deaths: int, *, enough: bool) -> str:
    if utilization >= BUSY:
        return "engine"
    if deaths:
        return "engine deaths"
    share, stage = max((decode, "decode"), (commit, "commit"))
    if share >= CLOSE:
        return stage
    return "object store" if enough else "requests"

"""Whether the engine was kept busy, and what kept it from it: figures over the receipts of a run. Knows nothing of
Ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BUSY = 0.9
"""Share of its time from which a stage is what the others wait for."""
CLOSE = 0.6
ENOUGH = 10
"""Requests a slot, below which even the bare engine idles at the end: a fifth of its slots at five."""


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


def summarize_utilization(receipts: Sequence[dict[str, Any]], *, workers: int) -> UtilizationSummary | None:
    """receipts: rows of RECEIPTS. workers: decoders. None where no engine answered anything."""
    used: dict[str, dict[str, Any]] = {}
    for receipt in receipts:
        engine = receipt["engine"]
        known = used.get(engine["actor"]) if engine is not None else None
        if engine is not None and engine["since_s"] is not None and (not known or engine["until_s"] > known["until_s"]):
            used[engine["actor"]] = engine
    if not used:
        return None
    since_s = min(engine["since_s"] for engine in used.values())
    span_s = max(engine["until_s"] for engine in used.values()) - since_s
    if span_s <= 0:
        return None
    slots = sum(engine["slots"] for engine in used.values())
    utilization = sum(engine["busy_s"] for engine in used.values()) / (slots * span_s)
    decode_s = sum({receipt["chunk_id"]: receipt["decode_s"] or 0.0 for receipt in receipts}.values())
    decode = min(1.0, decode_s / (workers * span_s))
    commit = min(1.0, sum(receipt["commit_s"] or 0.0 for receipt in receipts) / span_s)
    deaths = sum(engine["deaths"] for engine in used.values())
    rows = sum(receipt["rows"] or 0 for receipt in receipts)
    return UtilizationSummary(
        utilization=utilization,
        tokens_per_s=sum(receipt["output_tokens"] or 0 for receipt in receipts) / span_s,
        decode=decode,
        commit=commit,
        span_s=span_s,
        deaths=deaths,
        bottleneck=_bottleneck(utilization, decode, commit, deaths, enough=rows >= ENOUGH * slots),
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

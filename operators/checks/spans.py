"""Whether times lie in the clip or video that they are about, and run forward. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.task import View

SLACK_S = 1.0
"""By which a time may miss the ends: models round to whole seconds, and frames are half a second apart."""


def span_faults(spans: Sequence[tuple[float, float]], view: View, *, ordered: bool = False) -> tuple[str, ...]:
    """Of FAULTS: span_outside, span_order (a span that ends before it begins; with `ordered`, one that begins
    before the one before it)."""
    faults = []
    start_s, end_s = view.start_s, view.end_s
    if start_s is not None and end_s is not None:
        low, high = start_s - SLACK_S, end_s + SLACK_S
        if any(first < low or second > high for first, second in spans):
            faults.append("span_outside")
    starts = [first for first, _ in spans]
    if any(first > second for first, second in spans) or (ordered and starts != sorted(starts)):
        faults.append("span_order")
    return tuple(faults)

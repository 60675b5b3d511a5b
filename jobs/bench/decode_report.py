"""What `sightread bench decode` says of its figures, as Markdown: a table of all readers, and ours beside the best."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from jobs.bench.decode_cases import Case
from jobs.bench.decode_rounds import BARE, OURS, Result


class Figures:
    """What is there so far. workers: processes that decode the same at once."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.cases: list[Case] = []
        self.results: list[Result] = []

    def of(self, case: Case) -> list[Result]:
        return [result for result in self.results if result.case == case.name]

    def per_s(self, case: Case, result: Result) -> list[float]:
        """Frames or pages a second of wall time, by all workers, of each round."""
        return [case.count * self.workers / wall_s for wall_s in result.wall_s]

    def cpu(self, case: Case, result: Result) -> list[float]:
        """Of each round: CPU seconds of a second of video, or pages of a CPU second."""
        if case.is_video:
            return [cpu_s / (case.seconds * self.workers) for cpu_s in result.cpu_s]
        return [case.count * self.workers / cpu_s for cpu_s in result.cpu_s]

    def best_peer(self, case: Case) -> Result | None:
        """Of those all of whose pictures and times are right: the one with the most a second."""
        right = [result for result in self.of(case) if result.is_peer and result.is_right and result.wall_s]
        return max(right, key=lambda result: statistics.median(self.per_s(case, result)), default=None)

    def as_json(self) -> dict[str, Any]:
        return {
            "workers": self.workers,
            "cases": [
                {"name": case.name, "what": case.what, "wanted": case.count, "seconds": case.seconds}
                for case in self.cases
            ],
            "measured": [asdict(result) for result in self.results],
            "beside": [
                {"case": case.name, "reader": ours.reader, "best": best.reader, "wall": wall, "cpu": cpu}
                for case in self.cases
                if (best := self.best_peer(case)) is not None
                for ours in self.of(case)
                if not ours.is_peer and ours.wall_s
                for wall, cpu in [(times(best, ours, "wall_s"), times(best, ours, "cpu_s"))]
            ],
        }


def times(peer: Result, ours: Result, key: str) -> tuple[float, float, float]:
    """How many times as long as ours the peer takes: median, least and most of the rounds, each for itself, since a
    machine is not as fast in all of them."""
    ratios = [theirs / mine for theirs, mine in zip(getattr(peer, key), getattr(ours, key), strict=False)]
    return statistics.median(ratios), min(ratios), max(ratios)


def lines(figures: Figures, missing: dict[str, str]) -> Iterator[str]:
    """missing: reader -> why it was left out."""
    yield from _beside(figures)
    yield ""
    yield from _all_readers(figures)
    yield ""
    yield "What the cases are:"
    yield ""
    yield from (f"- `{case.name}`: {case.what}; {case.count} {_noun(case)}" for case in figures.cases)
    versions = dict.fromkeys(result.version for result in figures.results if result.version)
    yield f"- versions: {', '.join(versions)}"
    yield from (f"- left out: {reader}: {why}" for reader, why in missing.items())


def _beside(figures: Figures) -> Iterator[str]:
    yield from _head(("case", "best peer", f"{OURS}: by wall", "by CPU", f"{BARE}: by wall", "by CPU"))
    for case in figures.cases:
        best = figures.best_peer(case)
        cells = []
        for name in (OURS, BARE):
            ours = next((one for one in figures.of(case) if one.reader == name and one.wall_s), None)
            for key in ("wall_s", "cpu_s"):
                is_there = best is not None and ours is not None
                cells.append(_ratio(*times(best, ours, key)) if is_there else "-")  # type: ignore[arg-type]
        yield _row((case.name, best.reader if best is not None else "none that is right", *cells))


def _all_readers(figures: Figures) -> Iterator[str]:
    yield from _head(("case", "reader", "a second", "CPU", "right pictures", "right times"))
    for case in figures.cases:
        unit = "s/video-s" if case.is_video else "pages/CPU-s"
        for result in figures.of(case):
            if result.fault is not None and not result.wall_s:
                yield _row((case.name, result.reader, "-", "-", "-", result.fault))
                continue
            rates = _spread(figures.per_s(case, result), "{:.1f}".format)
            cpu = _spread(figures.cpu(case, result), ("{:.4f}" if case.is_video else "{:.1f}").format)
            right = f"{result.pictures} of {result.wanted}", f"{result.times} of {result.wanted}"
            note = f" ({result.fault})" if result.fault else ""
            yield _row((case.name, result.reader, f"{rates} {_noun(case)}", f"{cpu} {unit}", right[0], right[1] + note))


def _noun(case: Case) -> str:
    return "frames" if case.is_video else "pages"


def _head(columns: Sequence[str]) -> Iterator[str]:
    yield _row(columns)
    yield "|" + "|".join("-" for _ in columns) + "|"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    if not values:
        return "-"
    return f"{form(statistics.median(values))} ({form(min(values))} to {form(max(values))})"


def _ratio(median: float, least: float, most: float) -> str:
    return f"**{median:.2f}** ({least:.2f} to {most:.2f})"

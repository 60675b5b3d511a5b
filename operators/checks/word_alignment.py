"""Which word of a reading is which of a page, where blocks may stand in another order. Pure.

Runs of words that both hold come first, then the longest common subsequence of what lies between two of them, then
pairs, then single words: in that order a word finds the place that its neighbors speak for. Each word is used once. The
time is near-linear in the words: runs are looked up, and what is compared all with all is bounded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rapidfuzz.distance import LCSseq

_RUN = 4
"""Words in a row that seldom stand in two places."""
_MOST_PAIRS = 4_000_000
"""Of words that are compared all with all, in one gap."""


@dataclass
class Alignment:
    """layer_of: for each word of the reading its place in the layer, read_of: the other way round; -1 for none."""

    layer_of: list[int]
    read_of: list[int]

    def pair(self, read: int, layer: int) -> None:
        self.layer_of[read], self.read_of[layer] = layer, read


@dataclass(frozen=True)
class Gap:
    """Words of the reading without a place, [start, end), between two that have one or the text's ends. runs: those of
    the layer that stand where these should, [start, end) each: behind the word before, and before the word behind."""

    start: int
    end: int
    runs: tuple[tuple[int, int], ...]

    @property
    def in_place(self) -> bool:
        """Whether the words around it are neighbors in the layer as well, but for one run."""
        return len(self.runs) == 1


Settle: TypeAlias = Callable[[Gap, bool], bool]
"""Called with a gap that is in place, and whether all its common words are paired; says whether the rest of it stands
for the rest of its run as it is, which is then paired as a whole."""


def aligned(read: Sequence[str], layer: Sequence[str], settle: Settle) -> Alignment:
    ids: dict[str, int] = {}
    one = [ids.setdefault(key, len(ids)) for key in read]
    two = [ids.setdefault(key, len(ids)) for key in layer]
    alignment = Alignment([-1] * len(one), [-1] * len(two))
    _pair_runs(alignment, one, two, _RUN)
    _pair_between(alignment, one, two, settle)
    for length in (2, 1):
        _pair_runs(alignment, one, two, length)
    return alignment


def gaps(alignment: Alignment) -> list[Gap]:
    """In the order of the reading; also the empty ones where only the layer has words."""
    layer_of, read_of = alignment.layer_of, alignment.read_of
    all_gaps = []
    start = 0
    while start <= len(layer_of):
        end = start
        while end < len(layer_of) and layer_of[end] < 0:
            end += 1
        before = layer_of[start - 1] if start else -1
        behind = layer_of[end] if end < len(layer_of) else len(read_of)
        first = _run_from(read_of, before + 1)
        last = _run_to(read_of, behind)
        runs = tuple(dict.fromkeys(run for run in (first, last) if run[0] < run[1]))
        if end > start or runs:
            all_gaps.append(Gap(start, end, runs))
        start = end + 1
    return all_gaps


def _run_from(places: Sequence[int], start: int) -> tuple[int, int]:
    end = start
    while end < len(places) and places[end] < 0:
        end += 1
    return start, end


def _run_to(places: Sequence[int], end: int) -> tuple[int, int]:
    start = end
    while start > 0 and places[start - 1] < 0:
        start -= 1
    return start, end


class _Free:
    """Places in ascending order of which each is given away once."""

    def __init__(self) -> None:
        self.places: list[int] = []
        self.following: list[int] = []

    def append(self, place: int) -> None:
        self.following.append(len(self.places))
        self.places.append(place)

    def at_or_behind(self, place: int, is_free: Callable[[int], bool]) -> int | None:
        """The first free place from there on, else the first of all."""
        for start in (bisect_left(self.places, place), 0):
            index = self._free_from(start, is_free)
            if index < len(self.places):
                return self.places[index]
        return None

    def _free_from(self, index: int, is_free: Callable[[int], bool]) -> int:
        passed = []
        while index < len(self.places) and (self.following[index] != index or not is_free(self.places[index])):
            passed.append(index)
            index = max(self.following[index], index + 1)
        for other in passed:  # what was passed once is not looked at again
            self.following[other] = index
        return index


def _pair_runs(alignment: Alignment, read: Sequence[int], layer: Sequence[int], length: int) -> None:
    """Pair runs of at least that many words, each with the next such run of the layer that is free."""
    layer_of, read_of = alignment.layer_of, alignment.read_of
    free: dict[tuple[int, ...], _Free] = {}
    for place in range(len(layer) - length + 1):
        if all(read_of[place + step] == -1 for step in range(length)):
            free.setdefault(tuple(layer[place : place + length]), _Free()).append(place)

    def is_free(place: int) -> bool:
        return all(read_of[place + step] == -1 for step in range(length))

    place, expected = 0, 0
    while place + length <= len(read):
        if layer_of[place] >= 0:
            expected = layer_of[place] + 1
            place += 1
            continue
        places = free.get(tuple(read[place : place + length]))
        start = None
        if places is not None and all(layer_of[place + step] == -1 for step in range(length)):
            start = places.at_or_behind(expected, is_free)
        if start is None:
            place += 1
            continue
        begin = place
        while (
            begin and start and layer_of[begin - 1] == -1 == read_of[start - 1] and read[begin - 1] == layer[start - 1]
        ):
            begin, start = begin - 1, start - 1
        place = begin
        while place < len(read) and start < len(layer) and layer_of[place] == -1 == read_of[start]:
            if read[place] != layer[start]:
                break
            alignment.pair(place, start)
            place, start = place + 1, start + 1
        expected = start


def _pair_between(alignment: Alignment, read: Sequence[int], layer: Sequence[int], settle: Settle) -> None:
    """Pair what lies between two words that are neighbors but for a gap on either side, in order."""
    for gap in _both_sided(alignment):
        start, end = gap.runs[0]
        if settle(gap, False):
            _pair_all(alignment, gap)
        elif (gap.end - gap.start) * (end - start) <= _MOST_PAIRS:
            for block in LCSseq.opcodes(read[gap.start : gap.end], layer[start:end]):
                if block.tag == "equal":
                    for step in range(block.src_end - block.src_start):
                        alignment.pair(gap.start + block.src_start + step, start + block.dest_start + step)
    for gap in _both_sided(alignment):
        if settle(gap, True):
            _pair_all(alignment, gap)


def _both_sided(alignment: Alignment) -> list[Gap]:
    return [gap for gap in gaps(alignment) if gap.in_place and gap.start < gap.end]


def _pair_all(alignment: Alignment, gap: Gap) -> None:
    (start, end), count = gap.runs[0], gap.end - gap.start
    for step in range(max(count, end - start)):
        one, two = gap.start + min(step, count - 1), start + min(step, end - start - 1)
        alignment.layer_of[one] = max(alignment.layer_of[one], two)
        alignment.read_of[two] = max(alignment.read_of[two], one)

"""How far the words of a reading are out of the order in which a page has them, where blocks may stand in any. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from operators.checks.page_words import Word
from operators.checks.word_alignment import Alignment


@dataclass(frozen=True)
class Disorder:
    """lines: of the page, of which words were read. jumps_back: how often the reading goes back in the page, more than
    once, for each step between its lines; or the page in the reading, whichever is less: a table may be read by
    columns of which the file has the rows. torn: words that stand the other way round than their neighbor in the same
    line. torn_lines: lines that stand before the line that they go on from, by their small letter. pieces: how often
    the reading goes from one of the lines to another."""

    lines: int = 0
    jumps_back: float = 0.0
    torn: int = 0
    torn_lines: int = 0
    pieces: int = 0


def disorder(alignment: Alignment, read: Sequence[Word], layer: Sequence[Word]) -> Disorder:
    """Formulas and numbers that fill a line (of pages) are left out: they may stand anywhere."""
    in_read = [
        (place, other)
        for place, other in enumerate(alignment.layer_of)
        if other >= 0 and not read[place].formula and not layer[other].alone
    ]
    in_layer = sorted((other, place) for place, other in in_read)
    turned = [(layer[a], layer[b]) for (a, one), (b, two) in itertools.pairwise(in_layer) if two < one]
    lines = [layer[other].line for _, other in in_read]
    jumps = _descents([other for _, other in in_read]), _descents([place for _, place in in_layer])
    rows = len(set(lines)), len({read[place].line for place, _ in in_read})
    shares = [count / max(1, row - 1) for count, row in zip(jumps, rows, strict=True)]
    return Disorder(
        lines=len(set(lines)),
        jumps_back=min(shares) if min(jumps) > 1 else 0.0,
        torn=sum(first.line == second.line for first, second in turned),
        torn_lines=sum(second.line == first.line + 1 and second.small for first, second in turned),
        pieces=sum(one != two for one, two in itertools.pairwise(lines)),
    )


def _descents(places: Sequence[int]) -> int:
    return sum(second < first for first, second in itertools.pairwise(places))

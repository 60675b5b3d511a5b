"""Whether a text turns in a circle, as greedy decoding does (docs/facts/qwen3-vl.md §5): wherever it does so, over and
over or counting up. What repeats on pages is no loop: cells, lines of forms, leaders, rules. Pure, linear in the text.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Hashable, Sequence

_TURNS, _LETTERS = 8, 200
"""Turns, and characters of them all, within a line."""
_LINES = {1: 100, 2: 50, 3: 25}
"""Turns of lines of so few words: such stand in columns and in forms. Of longer ones _SENTENCES."""
_SENTENCES = 8
_CELLS = 100
"""Turns of what stands between a table's marks, or has a place to fill in."""
_COUNTED_CELLS = 60
_THINGS = 16
"""Turns of one thing of a list, with the same numbers each time: none stands twice in the same place."""
_THING = re.compile(r"\{[^{}]*\"[^\"{}]{1,40}\"\s*:\s*\[[\d\s.,-]+\][^{}]*\}")
_SIGNS, _SIGN_LETTERS = 300, 600
"""Turns of what holds no letter: numbers in a column."""
_LONGEST_TURN = 250
_MOST_WORDS, _MOST_SENTENCES = 12, 8
"""Of one turn."""
_RUNS = re.compile(
    r"([!?])\1{59,}|([^\w\s])\2{399,}|_{800,}"  # one sign
    r"|[|\t \xa0]{400,}|[|\s]{3000,}|[|:\- ]{1500,}"  # pipes and blanks, of a line or of many; rules of tables
    r"|[^\S\n]{600,}|\s{1000,}"
)
_CELL_MARK = re.compile(r"[|\t{}\[\]<>]|&nbsp;|\\\\|_{3,}|\.{4,}|-{4,}|[□☐]")
_TAG = re.compile(r"<[^<>]{0,200}>")
_WORD = re.compile(r"[^\W\d_]+")
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_SENTENCE_END = re.compile(r"(?<=[。！？\n])|(?<=[^\d\s][.!?])(?=\s)")
"""A point behind a number ends none: it may be that of an item."""
_TOKEN = re.compile(r"\n|[^\s|]+|\|")
_NUMBER = re.compile(r"\d{1,9}")


def repeats(text: str) -> bool:
    sentences = [piece.lstrip(" ") for piece in _SENTENCE_END.split(text) if piece.strip()]
    return (
        _RUNS.search(text) is not None
        or _ends_in_circle(text.rstrip())
        or _turns(_TOKEN.findall(text), _MOST_WORDS, " ")
        or _turns(sentences, _MOST_SENTENCES, "")
        or _counts_up(sentences)
    )


def _ends_in_circle(text: str) -> bool:
    """Of characters: words that no blank parts, and what ends in the middle of a turn."""
    tail = text[-_LONGEST_TURN * _TURNS * 2 :]
    for period in range(1, min(_LONGEST_TURN, len(tail) // _TURNS) + 1):
        unit = tail[-period:]
        if tail.endswith(unit * _TURNS):
            turns = max(_least_turns(unit), -(-_LETTERS // period))
            if text.endswith(unit * turns):
                return True
    return False


def _least_turns(unit: str) -> int:
    """Of this text, from which it is a loop."""
    bare = _TAG.sub(" ", unit)
    words = len(_WORD.findall(bare)) + len(_IDEOGRAPH.findall(bare)) // 2
    if not words:
        return max(_SIGNS, _SIGN_LETTERS // len(unit))
    if _CELL_MARK.search(unit):
        return _THINGS if _THING.search(unit + unit) else _CELLS
    if "\n" in unit:
        return _LINES.get(words // (unit.count("\n") or 1), _SENTENCES)
    return _TURNS


def _turns(units: Sequence[str], longest: int, blank: str) -> bool:
    """Whether one to `longest` of them come again and again."""
    ids = _ids(units)
    for period in range(1, min(longest, len(ids) // _TURNS) + 1):
        # most texts have no such run, which is seen in a tenth of the time
        if b"\1" * (period * (_TURNS - 1)) not in bytes(map(operator.eq, ids[period:], ids)):
            continue
        run = 0
        for place in range(period, len(ids) + 1):
            if place < len(ids) and ids[place] == ids[place - period]:
                run += 1
                continue
            if run >= period * (_TURNS - 1):
                turns = run // period + 1
                unit = blank.join(units[place - period : place])
                if turns >= _least_turns(unit) and turns * len(unit) >= _LETTERS:
                    return True
            run = 0
    return False


def _ids(units: Sequence[Hashable]) -> list[int]:
    known: dict[Hashable, int] = {}
    return [known.setdefault(unit, len(known)) for unit in units]


def _counts_up(sentences: Sequence[str]) -> bool:
    """Whether the same is said with one number more each time: `12. The pump was tested.` Several numbers, as of boxes,
    or a line of numbers alone count nothing."""
    run = 0
    before: tuple[str, int] | None = None
    for sentence in sentences:
        number = _NUMBER.search(sentence)
        counted = (_NUMBER.sub("#", sentence).strip(), int(number[0])) if number else None
        follows = counted is not None and before is not None and counted == (before[0], before[1] + 1)
        run = run + 1 if follows else 0
        if run >= _SENTENCES and counted is not None:
            words = len(_WORD.findall(_TAG.sub(" ", counted[0]))) + len(_IDEOGRAPH.findall(counted[0])) // 2
            cells = _CELL_MARK.search(sentence) is not None
            least = _COUNTED_CELLS if cells else _LINES.get(words, _SENTENCES)
            if words and run + 1 >= least and "{" not in sentence:
                return True
        before = counted
    return False

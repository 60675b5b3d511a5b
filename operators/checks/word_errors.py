"""What a reading has wrong of a page's words, looked at where each stands: numbers, misread words, and words that one
side lacks. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from rapidfuzz.distance import Levenshtein

from operators.checks.page_words import Word
from operators.checks.word_alignment import Alignment, Gap, gaps

LETTERS_A_WORD = 5
_NEAR = 0.4
"""Edits per letter up to which a word is another one misread, and not another word."""
_OTHERWISE_PARTED = 1.5
"""Times as many words as the other text has in the same place: letters set apart, or no blanks."""
_LONGEST = 20_000
"""Letters that are compared all with all."""
_LONG_DIGITS = 3
_PAGE_NUMBER = re.compile(r"\d{1,4}|[ivxlc]{1,6}")
_PAGE_NUMBERS = 2
"""Numbers that fill a line of a page and that a reading may leave out."""
_NOTE_DIGITS = 2
"""Of the number of a footnote, which stands right behind its word."""


class WordErrors:
    """missing_words, extra_words, wrong_numbers, misread_words: counts. missing, extra, missing_within, extra_within:
    as in text_layer.Difference."""

    def __init__(self, read: Sequence[Word], layer: Sequence[Word]) -> None:
        self._read, self._layer = read, layer
        self.missing_words = self.extra_words = self.wrong_numbers = self.misread_words = 0
        self.missing = self.extra = self.missing_within = self.extra_within = 0.0

    def settle(self, gap: Gap, last: bool) -> bool:
        """For word_alignment.aligned: what is the same but for blanks, is misread or is a wrong number."""
        start, end = gap.runs[0]
        words, others = self._read[gap.start : gap.end], self._layer[start:end]
        text, truth = _letters(words), _letters(others)
        if text == truth:
            self.wrong_numbers += len(words) == len(others) and _numbers(words) != _numbers(others)
            return True
        if max(len(text), len(truth)) > _LONGEST:
            return False
        if not last:
            counts = sorted((len(words), len(others)))
            if counts[1] <= _OTHERWISE_PARTED * counts[0] or 2 * len(_keys(words) & _keys(others)) > counts[0]:
                return False
            letters = Levenshtein.distance(text, truth, score_cutoff=len(truth) // 4)
            if letters > len(truth) // 4:
                return False
            self._misread(letters / LETTERS_A_WORD, within=True)
            digits = {_digits(text), _digits(truth)}
            self.wrong_numbers += len(digits) == 2 and "" not in digits
            return True
        if wrong := self._wrong_numbers(words, others):
            if not (self._is_among_words(gap) or len(words) == len(others) == 1):
                return False  # of a table that is read by columns
            self.wrong_numbers += wrong
            return len(words) == len(others)
        most = _NEAR if len(words) == len(others) else _NEAR / 2
        if (edits := _near(text, truth, most)) is not None:
            self._misread(edits / LETTERS_A_WORD, within=True)
            return True
        return False

    def _is_among_words(self, gap: Gap) -> bool:
        """Whether a word, or an end of the text, stands beside it."""
        sides = (gap.start - 1, gap.end)
        return any(not 0 <= side < len(self._read) or not self._read[side].number for side in sides)

    def count(self, alignment: Alignment) -> None:
        """The rest, once all is paired that can be."""
        matched = [place for place, other in enumerate(alignment.layer_of) if other >= 0]
        for place in matched:
            self._count_pair(self._read[place], self._layer[alignment.layer_of[place]])
        read_lines = _mostly_matched(self._read, alignment.layer_of)
        layer_lines = _mostly_matched(self._layer, alignment.read_of)
        counted: set[tuple[int, int]] = set()
        formulas: list[Word] = []
        for gap in gaps(alignment):
            words = [word for word in self._read[gap.start : gap.end] if not word.formula]
            formulas += [word for word in self._read[gap.start : gap.end] if word.formula]
            runs = [run for run in gap.runs if run not in counted]
            if words and runs:
                text = _letters(words)
                run = min(runs, key=lambda run: _distance(text, _letters(self._layer[slice(*run)])))
                others = self._layer[slice(*run)]
                self.wrong_numbers += self._wrong_numbers(words, others)
                if (edits := _near(text, _letters(others))) is not None:
                    counted.add(run)
                    self._misread(edits / LETTERS_A_WORD, within=words[0].line in read_lines)
                    continue
            self._count_extra(words, read_lines)
        left_out: list[Word] = []
        page_numbers = 0
        place = 0
        while place < len(self._layer):
            start = place
            while place < len(self._layer) and alignment.read_of[place] < 0:
                place += 1
            if place > start and (start, place) not in counted:
                left_out += self._layer[start:place]
            place = max(place, start + 1)
        excused = []
        for word in left_out:
            if word.alone and _PAGE_NUMBER.fullmatch(word.raw) and page_numbers < _PAGE_NUMBERS:
                page_numbers += 1
            elif not (word.ordinal or (word.glued and len(word.raw) <= _NOTE_DIGITS)):
                excused.append(word)
        self._count_missing(excused, layer_lines, formulas)

    def _count_pair(self, word: Word, other: Word) -> None:
        if word.number and other.number and {word.negative, other.negative} == {True, False}:
            self.wrong_numbers += 1

    def _wrong_numbers(self, words: Sequence[Word], others: Sequence[Word]) -> int:
        """How many numbers stand in the place of others."""
        read, truth = Counter(_numbers(words)), Counter(_numbers(others))
        wrong, lacking = read - truth, truth - read
        if not wrong or not lacking or _digits(_letters(words)) == _digits(_letters(others)):
            return 0
        if all(word.glued for word in others if word.number and word.key in lacking) and not any(
            word.glued for word in words if word.number and word.key in wrong
        ):
            return 0  # letters within a number: it is the layer that was misread
        if len(others) == 1 and others[0].alone and len(words) > 2 * len(others):
            return 0  # a page's number was left out where a figure's text came in
        return min(wrong.total(), lacking.total())

    def _misread(self, words: float, *, within: bool) -> None:
        self.misread_words += 1
        self.missing_words += 1
        self.extra_words += 1
        self.missing += words
        self.extra += words
        if within:
            self.missing_within += words
            self.extra_within += words

    def _count_extra(self, words: Iterable[Word], lines: set[int]) -> None:
        for word in words:
            if not word.ordinal:
                self.extra_words += 1
                self.wrong_numbers += word.glued and not word.number and len(word.raw) == 1  # 282.5O
                self.extra += _weight(word)
                self.extra_within += _weight(word) if word.line in lines else 0

    def _count_missing(self, words: Sequence[Word], lines: set[int], formulas: Sequence[Word]) -> None:
        """Formulas are written in another order than they are shown in: what is left of them on one side may stand for
        as much on the other, but a digit for the same one only."""
        spare = Counter("".join(word.raw for word in words if word.number))
        self.wrong_numbers += bool(Counter("".join(word.raw for word in formulas if word.number)) - spare)
        letters = sum(len(word.raw) for word in formulas)
        for word in words:
            if letters > 0:
                letters -= len(word.raw)
                continue
            within = word.line in lines
            self.missing_words += 1
            self.missing += _weight(word)
            self.missing_within += _weight(word) if within else 0
            if within and word.number and not word.glued and ("." in word.key or len(word.raw) >= _LONG_DIGITS):
                self.wrong_numbers += 1


def _weight(word: Word) -> float:
    """A letter alone is a speck as often as a word."""
    return 0.3 if len(word.raw) == 1 and word.raw.isascii() and not word.number else 1.0


def _letters(words: Iterable[Word]) -> str:
    return "".join(word.raw for word in words)


def _keys(words: Iterable[Word]) -> set[str]:
    return {word.key for word in words}


def _numbers(words: Iterable[Word]) -> list[str]:
    return sorted(word.key for word in words if word.number and not word.formula)


def _digits(letters: str) -> str:
    return "".join(char for char in letters if char.isdecimal())


def _distance(text: str, truth: str) -> float:
    longest = max(len(text), len(truth), 1)
    return 1.0 if longest > _LONGEST else Levenshtein.distance(text, truth) / longest


def _near(text: str, truth: str, most: float = _NEAR) -> int | None:
    """Edits between a word and the same one misread; None between two words."""
    longest = max(len(text), len(truth))
    if longest > _LONGEST or not text or not truth:
        return None
    edits = Levenshtein.distance(text, truth)
    return edits if edits <= most * longest else None


def _mostly_matched(words: Sequence[Word], places: Sequence[int]) -> set[int]:
    """Lines at least half of whose words have a match."""
    words_in = Counter(word.line for word in words)
    matched = Counter(word.line for word, place in zip(words, places, strict=True) if place >= 0)
    return {line for line, count in words_in.items() if 2 * matched[line] >= count}

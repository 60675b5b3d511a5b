"""Which slice of the results an input's rows belong to: files of a size that readers like, the same for ever. Pure.

An input stays in the slice that it got when its units were first counted; the next slice begins where one has enough.
"""

from __future__ import annotations

from collections.abc import Iterable

from operators.media.formats import FULL_INPUT_KINDS

MOST_UNITS = 32_768
"""Of a slice, until the next input begins another: some 100 MB of pages."""
_FULL = 16
"""Units that a whole document or video counts for: its answer is so much longer."""


class Slices:
    """Told of inputs in the order of their manifests, or of the chunks that were cut of them then."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[int, int]] = {}  # input -> slice, and the round that brought it
        self._last = self._units = 0

    def of(self, input_id: str, unit_kinds: Iterable[str | None], round_: int) -> int:
        """unit_kinds: of all units that are planned of it; they count where the input is new."""
        if (known := self._of.get(input_id)) is not None:
            return known[0]
        if self._units >= MOST_UNITS:
            self._last, self._units = self._last + 1, 0
        self._of[input_id] = self._last, round_
        self._units += sum(map(_weight, unit_kinds))
        return self._last

    def cut(self, input_id: str, slice_: int, unit_kind: str | None, round_: int) -> None:
        """A unit of a chunk that is there already."""
        if slice_ > self._last:
            self._last, self._units = slice_, 0
        if self._of.setdefault(input_id, (slice_, round_)) == (self._last, round_):
            self._units += _weight(unit_kind)


def _weight(unit_kind: str | None) -> int:
    return _FULL if unit_kind in FULL_INPUT_KINDS else 1

"""Which slice of the results an input's rows belong to: files of a size that readers like, the same for ever. Pure.

An input gets its slice when it is listed, by the units that its kind and size let one expect, and stays in it whatever
round asks about it; the next slice begins where one has enough.
"""

from __future__ import annotations

from operators.media.formats import DOCUMENT, EPISODE, VIDEO

MOST_UNITS = 32_768
"""Expected of a slice, until the next input begins another: some 100 MB of pages."""
_BYTES_PER_UNIT = {DOCUMENT: 50_000, VIDEO: 1_000_000}
"""Of a usual page, and of a clip."""
_EPISODE = 16
_MOST = 2048
"""Units that one input counts for: a scan of a gigabyte has no more pages than others."""


class Slices:
    """Told of inputs in order. last, units: the slice that the next one gets, and what is expected of it already."""

    def __init__(self, last: int = 0, units: int = 0) -> None:
        self._last, self._units = last, units

    def of(self, media: str | None, size_bytes: int | None) -> int:
        """Of an input that has none yet."""
        if self._units >= MOST_UNITS:
            self._last, self._units = self._last + 1, 0
        self._units += expected_units(media, size_bytes)
        return self._last


def expected_units(media: str | None, size_bytes: int | None) -> int:
    if media == EPISODE:
        return _EPISODE
    if media in _BYTES_PER_UNIT:
        return min(_MOST, 1 + (size_bytes or 0) // _BYTES_PER_UNIT[media])
    return 1

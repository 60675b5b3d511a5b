"""A file that a store answers for over a network, fetched in ranges: what is wanted of it and nothing else, and all of
one version. Knows nothing of Parquet.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterable

HOLE_BYTES = 256 << 10
"""Between two ranges that are wanted: fetched along, since another request takes longer."""
Range = tuple[int, int]
"""From a byte to the one behind the last."""


class RangeFile(io.RawIOBase):
    """Open to be read from any place; a place that was not wanted before is fetched when it is read. What was fetched
    is kept until it is closed."""

    def __init__(self, size_bytes: int, fetch: Callable[[int, int], bytes]) -> None:
        """fetch: raises Replaced where the file is another by now; OSError."""
        self.size_bytes = size_bytes
        self._fetch = fetch
        self._starts: list[int] = []  # of pieces, in order
        self._pieces: dict[int, bytes] = {}
        self._place = 0

    def want(self, ranges: Iterable[Range]) -> None:
        """Fetch these now, those that lie close together by one request. Raises Replaced, OSError."""
        for start, end in _joined((max(0, start), min(end, self.size_bytes)) for start, end in ranges):
            if start < end and self._held(start, end) is None:
                self._pieces[start] = self._fetch(start, end)
        self._starts = sorted(self._pieces)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size_bytes}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readall(self) -> bytes:
        return self.read()

    def read(self, size: int | None = -1) -> bytes:
        rest = max(0, self.size_bytes - self._place)
        length = rest if size is None or size < 0 else min(size, rest)
        if length == 0:
            return b""
        start, end = self._place, self._place + length
        if (data := self._held(start, end)) is None:
            self.want([(start, end)])
            data = self._held(start, end)
        assert data is not None
        self._place = end
        return data

    def close(self) -> None:
        self._pieces, self._starts = {}, []
        super().close()

    def _held(self, start: int, end: int) -> bytes | None:
        """None where no piece has all of it."""
        before = bisect_right(self._starts, start)
        if not before:
            return None
        first = self._starts[before - 1]
        piece = self._pieces[first]
        return piece[start - first : end - first] if end <= first + len(piece) else None


def _joined(ranges: Iterable[Range]) -> list[Range]:
    joined: list[Range] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1] + HOLE_BYTES:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined

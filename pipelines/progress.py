"""What a run reports while it runs. This base drops it; jobs/display.py shows it. Knows nothing of terminals."""

from __future__ import annotations

import threading
from typing import Any

from operators.media.ahead import Fetching


class Progress(Fetching):
    """May be told in any thread of `fetched`, `waiting`, `answered` and, where a run goes on meanwhile, `listing`; of
    the rest in one."""

    def listing(self, files: int) -> None:
        """So many files were looked at so far."""

    def listed(self, inputs: int, skipped: dict[str, int]) -> None:
        """Inputs of the job, and what the listing left out, by reason."""

    def grown(self, new: int, changed: int, gone: int, *, asked_again: bool) -> None:
        """Inputs that the last listing found beside those that the job had. asked_again: whether the changed are."""

    def probed(self, inputs: int, total: int) -> None:
        """So many inputs are opened and cut into chunks."""

    def planned(self, rows: int, done: int, chunks: int) -> None:
        """Rows that the job will have, how many are committed already, chunks to go."""

    def remark(self, text: str) -> None:
        """What else is to be known of what is asked, and of what is not."""

    def starting(self, what: str) -> None:
        """Something that takes seconds begins (Ray, the engine)."""

    def answered(self, rows: int, tokens: int, asked_ago_s: float | None) -> None:
        """So many rows and tokens the engines of this run have answered by now, committed or not; as far as they say.
        asked_ago_s: since the first request."""

    def receipt(self, receipt: dict[str, Any]) -> None:
        """One part is committed (a row of RECEIPTS)."""

    def halted(self, receipt: dict[str, Any]) -> None:
        """What ends the run: a row of RECEIPTS that has no rows to tell of."""

    def taken_out(self, parts: int) -> None:
        """Parts whose rows all failed with the error that ends the run are open again."""

    def checked(self, part: dict[str, Any]) -> None:
        """The code of one part was tried out (a row of CODE_CHECKED)."""

    def publishing(self) -> None:
        """All is answered, and what readers see is brought up to it."""

    def published(self, files: int) -> None:
        """So many files of it were written."""

    def ended(self) -> None:
        """Nothing more will come; also after an error."""


class Several(Progress):
    """Tells all of them, in order, one thing at a time whichever thread it comes from."""

    def __init__(self, *listeners: Progress) -> None:
        self._listeners = listeners
        self._lock = threading.RLock()

    def fetched(self, size_bytes: int) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.fetched(size_bytes)

    def waiting(self, address: str) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.waiting(address)

    def listing(self, files: int) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.listing(files)

    def listed(self, inputs: int, skipped: dict[str, int]) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.listed(inputs, skipped)

    def grown(self, new: int, changed: int, gone: int, *, asked_again: bool) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.grown(new, changed, gone, asked_again=asked_again)

    def remark(self, text: str) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.remark(text)

    def probed(self, inputs: int, total: int) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.probed(inputs, total)

    def planned(self, rows: int, done: int, chunks: int) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.planned(rows, done, chunks)

    def starting(self, what: str) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.starting(what)

    def answered(self, rows: int, tokens: int, asked_ago_s: float | None) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.answered(rows, tokens, asked_ago_s)

    def receipt(self, receipt: dict[str, Any]) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.receipt(receipt)

    def halted(self, receipt: dict[str, Any]) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.halted(receipt)

    def taken_out(self, parts: int) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.taken_out(parts)

    def checked(self, part: dict[str, Any]) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.checked(part)

    def publishing(self) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.publishing()

    def published(self, files: int) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.published(files)

    def ended(self) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.ended()

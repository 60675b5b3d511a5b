"""A listing that goes on beside a run: in a thread, a piece after the other, until it is over or nobody wants it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import pyarrow as pa

from pipelines.folder import JobFolder
from pipelines.growth import Intake
from pipelines.listing import PIECE, Lister
from schemas.errors import SightreadError

_log = logging.getLogger(__name__)

LOOK_S = 0.05
LEAD = 4 * PIECE
"""Inputs that are listed without regard to anybody: enough for the first seconds of work."""
HELD_BACK_S = 10.0
"""Until the rest is listed, if nothing is answered before. A driver has one interpreter and few cores, and the start of
a cluster and its actors needs them: the first answer of 100,000 files came 10 s after that of ten with the whole
listing beside it, and 4 s without (2 cores)."""


class ListingAhead:
    """run: names it in the output, where whoever plans learns that it is over. pieces: of the lister, those that are
    left."""

    def __init__(self, folder: JobFolder, run: str, lister: Lister, pieces: Iterator[pa.Table], intake: Intake) -> None:
        self.intake = intake
        self.run = run
        self._folder = folder
        self._lister, self._pieces = lister, pieces
        self._stopped = threading.Event()
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._list, name="listing", daemon=True)

    def start(self) -> None:
        """Raises StoreLost."""
        self._folder.write_listing({**self._folder.read_listing(), "of": self.run, "over": False})
        self._thread.start()

    def brings_any(self) -> bool:
        """Whether there is anything to be asked about; waits until that is known."""
        self._started.set()  # nothing else is under way
        while self._thread.is_alive() and not self.intake.asked:
            time.sleep(LOOK_S)
        return self.intake.asked > 0

    def go_on(self) -> None:
        """What had to start has started: the first answer is there."""
        self._started.set()

    def stop(self) -> None:
        """Nobody wants the rest: it ends with the piece that is under way."""
        self._stopped.set()
        self._started.set()

    def check(self) -> None:
        """Wait for the end. Raises what the listing raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _list(self) -> None:
        try:
            for piece in self._pieces:
                if self._stopped.is_set():
                    return
                self.intake.take(piece)
                if self.intake.inputs > LEAD:
                    self._started.wait(HELD_BACK_S)
                    self._started.set()
            self.intake.close(self._lister.skipped, of=self.run)
        except (SightreadError, OSError) as error:
            _log.info("the listing ended early: %s", error)
            self._error = error
            self._say_so()
        except BaseException as error:  # a fault of ours; the run must not wait for ever
            self._error = error
            self._say_so()
            raise

    def _say_so(self) -> None:
        """Whoever plans is not to wait for more; what there is is done."""
        try:
            self._folder.write_listing({**self._folder.read_listing(), "of": self.run, "over": True})
        except SightreadError as error:
            _log.info("nor can that be written down: %s", error)

"""A listing that goes on beside a run: in a thread, a piece after the other, until it is over or nobody wants it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pyarrow as pa

from pipelines.folder import JobFolder
from pipelines.growth import Intake
from pipelines.listing import Lister
from schemas.errors import SightreadError

_log = logging.getLogger(__name__)


class ListingAhead:
    """run: names it in the output, where whoever plans learns that it is over. pieces: of the lister, those that are
    left."""

    def __init__(self, folder: JobFolder, run: str, lister: Lister, pieces: Iterator[pa.Table], intake: Intake) -> None:
        self.intake = intake
        self.run = run
        self._folder = folder
        self._lister, self._pieces = lister, pieces
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._list, name="listing", daemon=True)

    def start(self) -> None:
        """Raises StoreLost."""
        self._folder.write_listing({**self._folder.read_listing(), "of": self.run, "over": False})
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Nobody wants the rest: it ends with the piece that is under way."""
        self._stopped.set()

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

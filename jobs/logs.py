"""Where log lines go: to stderr, quietly, and to the file of a job. Knows nothing of commands."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from schemas.printable import one_line, printable

ROOMS = ("schemas", "model", "operators", "pipelines", "jobs")
SHOWN = "jobs.display"
"""The logger of what the terminal shows already: for the file only."""


class _Formatter(logging.Formatter):
    """A record is one line, and steers no terminal, whatever names and messages are in it; a traceback has its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  of logging.Formatter
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


_FORMAT = _Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


@contextlib.contextmanager
def to_stderr(verbose: int) -> Iterator[None]:
    """verbose: how often -v was said. Warnings without it, INFO with one, DEBUG with two; of others' only warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel({0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG))
    handler.addFilter(lambda record: record.name != SHOWN)
    with _handled_by(handler):
        for room in ROOMS:
            logging.getLogger(room).setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
        yield


@contextlib.contextmanager
def to_file(path: Path) -> Iterator[None]:
    """INFO and above, at the end of a file that is there from the first line on."""
    handler = _LateFile(path, encoding="utf-8", delay=True)
    handler.setLevel(logging.INFO)
    try:
        with _handled_by(handler):
            yield
    finally:
        handler.close()


@contextlib.contextmanager
def _handled_by(handler: logging.Handler) -> Iterator[None]:
    handler.setFormatter(_FORMAT)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


class _LateFile(logging.FileHandler):
    """Makes its folder too, and not before there is a line to write. Lines that the disk refuses are lost: no log is a
    reason to end a run."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # of opening it
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  of logging.Handler
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of the last lines
            super().close()

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()

"""How often FFmpeg has complained: what a demuxer steps over, it says nowhere else."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

import av.logging


@contextlib.contextmanager
def complaints() -> Iterator[Callable[[], int]]:
    """Counts its errors meanwhile, in the one thread that there is; nothing of them is printed."""
    logger = logging.getLogger("libav")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        yield lambda: int(av.logging.get_last_error()[0])
    finally:
        av.logging.set_level(before)

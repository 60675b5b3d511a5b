"""A decoder child with a format of its own: what it does at a page is the page's word in ODD_DOES, from page 1 on.

Started as the other is, `python -m tests.support.odd_child FD …`.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from operators.media import decoder_child
from operators.media.progress import progress
from operators.units import Decoded, Planned
from schemas.errors import InputError

SIDE_PX = (64, 32)
_leaked: list[bytes] = []


def _page(does: str) -> Decoded | InputError:
    match does.split(":"):
        case ["reads"]:
            pass
        case ["is_malformed"]:
            return InputError("malformed", "odd")
        case ["raises"]:
            raise ValueError("odd")
        case ["errs"]:
            raise TypeError("ours")
        case ["cannot_read"]:
            raise OSError(errno.EIO, "the disk is odd")
        case ["condemns"]:
            raise InputError("encrypted", "all of it")
        case ["leaks", megabytes]:
            _leaked.append(bytes(int(megabytes) << 20))
        case ["eats"]:
            raise MemoryError
        case ["dies"]:
            os.abort()
        case ["hangs"]:
            time.sleep(1000)
        case ["progresses", seconds]:
            end = time.monotonic() + float(seconds)
            while time.monotonic() < end:
                time.sleep(0.05)
                progress()
        case ["works", seconds]:
            end_ns = time.process_time_ns() + float(seconds) * 1e9
            while time.process_time_ns() < end_ns:
                pass
        case _:
            raise AssertionError(does)
    return Decoded(*SIDE_PX, frames=(np.zeros((*SIDE_PX[::-1], 3), np.uint8),))


def _decode(_source: Any, units: list[Planned], _settings: Any) -> Iterator[Decoded | InputError]:
    acts = os.environ["ODD_DOES"].split(",")
    for unit in units:
        assert unit.page is not None
        yield _page(acts[unit.page - 1])


def _probe(_source: Any, _settings: Any) -> list[Planned]:
    acts = os.environ["ODD_DOES"].split(",")
    for does in acts:
        if isinstance(fault := _page(does), InputError):
            raise fault
    return [Planned(page=number) for number in range(1, len(acts) + 1)]


if __name__ == "__main__":
    decoder_child._decoder = lambda _source, _media: ("document", SimpleNamespace(probe=_probe, decode=_decode))  # type: ignore[assignment,return-value]
    decoder_child.main()

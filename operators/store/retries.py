"""How long one waits for a store that says no for now: throttled, broken for a moment, or gone. Knows no store.

What may pass is tried again, at growing intervals with jitter, until PATIENCE_S; then the store is lost, which ends
a run. A refusal is tried a few times (stores refuse under load too) and then believed.
"""

from __future__ import annotations

import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from schemas.errors import InputError, SpecError, StoreLost

PATIENCE_S = 300.0
"""Until a store that does not answer is given up; SIGHTREAD_STORE_PATIENCE_S says otherwise."""
FIRST_PATIENCE_S = 20.0
"""The same for one that a command asks for the first time, before it begins: the address may be wrong."""
REFUSALS = 6
TIMEOUT_S = 20.0
"""Without a byte, until a request is given up and asked again; SIGHTREAD_STORE_TIMEOUT_S says otherwise."""
LONGEST_SETTING_S = 30 * 86_400.0
FIRST_S, LONGEST_S = 0.1, 15.0

MOST_REASON = 300
"""Characters of a reason that are kept."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_counting = threading.Lock()
_times, _reason = 0, ""
_haste = threading.local()


class MayPass(OSError):
    """5xx, throttling, a reset, a stall, a body that is cut off. An OSError: to who writes, the store says no."""


class Refused(OSError):
    """403, 401: by who has no right, and by stores under load."""


class NoCredentials(Refused):
    """They could not be had: nobody gets anything, whatever is asked for."""


def patience_s() -> float:
    """Seconds that a store may be silent. Raises SpecError."""
    return _seconds("SIGHTREAD_STORE_PATIENCE_S", PATIENCE_S)


def timeout_s() -> float:
    """Seconds that a request may be. Raises SpecError."""
    return _seconds("SIGHTREAD_STORE_TIMEOUT_S", TIMEOUT_S)


def _seconds(variable: str, usual: float) -> float:
    text = os.environ.get(variable, "")
    try:
        seconds = float(text or usual)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_SETTING_S:
        raise SpecError(f"{variable}: {text!r} is no number of seconds")
    return seconds


def patiently(ask: Callable[[], _T], about: str, patience_s: float = PATIENCE_S) -> _T:
    """What `ask` returns, asked again while it raises MayPass. about: the address, for messages.

    Raises StoreLost after patience_s, and where credentials cannot be had; InputError permission after REFUSALS; and
    whatever else `ask` raises.
    """
    patience_s = min(patience_s, getattr(_haste, "patience_s", math.inf))
    started_s, refusals, wait_s = time.monotonic(), 0, FIRST_S
    while True:
        try:
            return ask()
        except Refused as error:
            refusals += 1
            if refusals >= REFUSALS or time.monotonic() - started_s + wait_s > getattr(_haste, "patience_s", math.inf):
                lost = isinstance(error, NoCredentials)
                raise StoreLost(f"{error}") if lost else InputError("permission", f"{error}") from None
            reason: OSError = error
        except MayPass as error:
            if time.monotonic() - started_s + wait_s > patience_s:
                lasted = f"for {time.monotonic() - started_s:.0f} s"
                raise StoreLost(f"{about} does not answer {lasted}: {error}") from None
            reason = error
        _count(f"{about}: {reason}")
        _log.info("%s: %s; tried again in about %.1f s", about, reason, wait_s)
        time.sleep(wait_s * random.uniform(0.5, 1.0))
        wait_s = min(LONGEST_S, wait_s * 2)


@contextmanager
def in_haste(patience_s: float) -> Iterator[None]:
    """In this thread nobody is waited for longer: what is asked can be done without."""
    _haste.patience_s = patience_s
    try:
        yield
    finally:
        del _haste.patience_s


def _count(reason: str) -> None:
    global _times, _reason
    with _counting:
        _times, _reason = _times + 1, reason[:MOST_REASON]


def retries_of(stage: str) -> list[dict[str, Any]]:
    """How often this process asked again since this was last called, as RETRIES has it; empty where it never did."""
    global _times
    with _counting:
        times, _times = _times, 0
        return [{"stage": stage, "times": times, "reason": _reason}] if times else []

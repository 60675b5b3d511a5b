"""How long to wait until something is tried again. Knows nothing of what it is."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import random
from collections.abc import Iterator, Mapping

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0


def pauses() -> Iterator[float]:
    """Seconds, twice as long each time, drawn from the upper half: those who failed together must not come together."""
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s * (0.5 + random.random() / 2)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """What a response asks for: seconds or a date (RFC 9110 §10.2.3); some also say it in milliseconds."""
    with contextlib.suppress(ValueError):
        if (value := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(value) / 1000)
    value = headers.get("Retry-After")
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        then = email.utils.parsedate_to_datetime(value)
        return max(0.0, (then - datetime.datetime.now(datetime.UTC)).total_seconds())
    return None

"""What the child that checks code says: its one message. Knows nothing of rows."""

from __future__ import annotations

from operators.processes.messages import Bounds, Check, Messages, integer, list_of, maybe, one_of, record, text

OUTCOMES = ("shown", "read", "unreadable", "no_browser", "timeout", "out_of_memory", "crashed")
MAX_HEIGHT_PX = 8192
"""Of what is shown of a page."""
MOST = 200
LONGEST = 300
"""Of a list, and of a text in it."""
LONGEST_TEXT = 200_000
"""Of what is printed on a page."""

_list: Check = maybe(list_of(text(LONGEST), MOST))
_checked = record(
    {"outcome": one_of(OUTCOMES)},
    {
        "message": maybe(text(LONGEST)),
        "isolation": maybe(text(LONGEST)),
        "errors": _list,
        "refused": _list,
        "imports": _list,
        "unresolved": _list,
        "text": maybe(text(LONGEST_TEXT)),
        "width_px": integer(1, 1 << 16),
        "height_px": integer(1, MAX_HEIGHT_PX),
    },
)


def answers(width_px: int) -> Messages:
    """In a window of that width."""
    pixels = Bounds(
        json_bytes=4 << 20, values=300_000, payloads=1, payload_bytes=3 * width_px * MAX_HEIGHT_PX, frame_s=30.0
    )
    return Messages(pixels, {"outcome": _checked})


def listed(texts: list[str] | tuple[str, ...]) -> list[str]:
    """As many as a message takes."""
    return [entry[:LONGEST] for entry in texts[:MOST]]

"""Text of strangers (models, files, names, servers), fit for a terminal or a log: what could steer one is shown as its
escape (`\\x1b`) instead. Knows nothing of terminals; where text goes to a file or a pipe as data, it stays as it is.

Escaped are C0 but tab, DEL, C1, line and paragraph separators, bidi embeddings, overrides and isolates, and lone
surrogates, which cannot be written at all. Joiners and marks of direction that change nothing beside them stay.
"""

from __future__ import annotations

import re

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    """Lines of text; the ends of lines stay."""
    return text if text.isascii() and text.isprintable() else _STEERING.sub(_escape, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The same in one line: a line end in a file's name starts no line of a log."""
    return text if text.isascii() and text.isprintable() else _LINE.sub(_escape, text)


def control_character(text: str) -> str | None:
    """The escape of the first character that no text of a spec needs; None where there is none."""
    there = None if text.isascii() and text.isprintable() else _CONTROL.search(text)
    return _escape(there) if there else None


def _escape(character: re.Match[str]) -> str:
    return repr(character[0])[1:-1]

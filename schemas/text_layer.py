"""The text that a PDF itself holds, in characters that a person would write. Knows no renderer and no check."""

from __future__ import annotations


def hyphenated(text: str) -> str:
    """PDFium writes a hyphen at the end of a line as U+FFFE or U+0002, and the line's end not at all."""
    return text.replace("\r\n", "\n").replace("\ufffe", "-\n").replace("\x02", "-\n").replace("\0", "")

"""What a PDF itself says that a page reads, as far as that is what the page shows."""

from __future__ import annotations

import pypdfium2

from schemas.text_layer import hyphenated

_MOST_LETTERS = 200_000
"""Characters of a page's text layer that are kept; a page of print has some thousands."""


def read_text_layer(page: pypdfium2.PdfPage) -> tuple[str | None, tuple[str, ...]]:
    """(the text that the file itself gives for the page, None when it gives none or nonsense; INPUT_NOTES about it).

    Fonts without a mapping to Unicode come out as U+FFFD or private characters: such a layer is no reference.
    """
    try:
        layer = page.get_textpage()
    except pypdfium2.PdfiumError:
        return None, ()
    try:
        text: str = layer.get_text_range(count=min(layer.count_chars(), _MOST_LETTERS))
    except (pypdfium2.PdfiumError, UnicodeError):
        return None, ()
    finally:
        layer.close()
    text = hyphenated(text).encode("utf-8", "replace").decode()
    letters = [char for char in text if not char.isspace()]
    unmapped = sum(char == "\ufffd" or "\ue000" <= char <= "\uf8ff" for char in letters)
    if not letters:
        return None, ()
    return (text, ()) if unmapped < 0.1 * len(letters) else (None, ("text_layer_unfit",))

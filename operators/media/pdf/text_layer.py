"""What a PDF itself says that a page reads, as far as that is what the page shows."""

from __future__ import annotations

from collections.abc import Callable

import pypdfium2

from model.prompts.rgb import RGB
from operators.media.pdf.contested_chars import unseen
from operators.media.pdf.layer_chars import opened_layer
from operators.media.pdf.layer_fitness import is_unfit, is_unmapped
from operators.media.pdf.layer_order import composed
from operators.media.pdf.visible_chars import drawn_again, visible
from schemas.text_layer import hyphenated


def read_text_layer(
    page: pypdfium2.PdfPage, pixels: RGB, reopened: Callable[[], pypdfium2.PdfPage]
) -> tuple[str | None, tuple[str, ...]]:
    """(the text that the file itself gives for what the page shows, None when it gives none or nonsense; INPUT_NOTES
    about it).

    pixels: the whole page as it was drawn, [height, width, 3]. reopened: opens the same page again; the caller draws
    neither of them afterwards.
    """
    try:
        with opened_layer(page, (pixels.shape[1], pixels.shape[0]), reopened) as layer:
            chars = layer.chars()
            chars = chars.only(visible(chars, pixels))
            chars = chars.only(~drawn_again(chars))
            chars = chars.only(~unseen(layer, chars, pixels))
    except pypdfium2.PdfiumError:
        return None, ()
    text = composed(chars).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if not text.strip():
        return None, ()
    if is_unfit(text, chars):
        return None, ("text_layer_unfit",)
    text = hyphenated(text)
    dropped = [char for char in set(text) if not char.isspace() and is_unmapped(char)]
    text = text.translate(dict.fromkeys(map(ord, dropped))) if dropped else text
    return text if text.strip() else None, ()

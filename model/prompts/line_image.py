"""The picture of one line of text, for checkpoints that read lines better than pages.

A checkpoint folder that holds line_reader.json reads lines; `sightread` then splits pages by default. Training
(model/nano) and inference make their line_images with the same function.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from schemas.decode import LineReader
from schemas.errors import SpecError
from schemas.json_file import read_object

FILE = "line_reader.json"
_MOST_TOKENS = 64  # of one line's picture, however long the line


def line_reader_of(folder: Path) -> LineReader | None:
    """None where the checkpoint says nothing of lines. Raises SpecError for a file that cannot be read."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return LineReader(**read_object(path))
    except (ValueError, TypeError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from error


def line_image(picture: Image.Image, reader: LineReader) -> Image.Image:
    """One line as cut from a page: RGB, height_px high, a whole number of tokens wide.

    picture: the line with room above and below, so that its type is about em_px once it is height_px high.
    What padding adds on the right continues the picture's last column.
    """
    width_px = round(picture.width * reader.stretch * reader.height_px / picture.height)
    width_px = min(max(width_px, 1), _MOST_TOKENS * reader.token_side_px)
    scaled = picture.convert("RGB").resize((width_px, reader.height_px), Image.Resampling.BICUBIC)
    padded_px = -(-width_px // reader.token_side_px) * reader.token_side_px
    if padded_px == width_px:
        return scaled
    line_image = Image.new("RGB", (padded_px, reader.height_px))
    line_image.paste(scaled, (0, 0))
    last_column = scaled.crop((width_px - 1, 0, width_px, reader.height_px))
    line_image.paste(last_column.resize((padded_px - width_px, reader.height_px)), (width_px, 0))
    return line_image

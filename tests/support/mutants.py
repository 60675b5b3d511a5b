"""Files as accidents leave them: good ones with bits turned, stretches lost, blocks moved, ends cut, lengths changed.
By seed, so that each can be drawn again."""

from __future__ import annotations

import random
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
from PIL import Image

from operators.media.formats import media_of_name
from tests.support.media import write_pdf_of
from tests.support.samples import shared
from tests.support.world import write_pdf

TASKS: Any = [
    SimpleNamespace(name="parts", unit_kinds={"page", "image", "clip"}),
    SimpleNamespace(name="full", unit_kinds={"document", "video"}),
]
"""Of a job that reads files in parts and as a whole."""
MOST_BYTES = 1_300_000
"""Of a shared file, so that a mutant of it is read in a second or two."""
_PLACES = ("faults/videos", "faults/documents/pdf", "faults/documents/pictures", "samples/documents", "samples/images")
_PICTURES: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("a.jpg", "a.png", "a.bmp", "a.webp", "a.gif", "a.tif")},
    "progressive.jpg": {"progressive": True},
    "lzw.tif": {"compression": "tiff_lzw"},
}
_CLIPS = (
    *(("mp4", "libx264"), ("mkv", "libx264"), ("ts", "libx264"), ("avi", "mpeg4"), ("webm", "libvpx-vp9")),
    *(("mpg", "mpeg2video"), ("flv", "flv1"), ("mov", "libx265"), ("wmv", "msmpeg4v3")),
)
_NO_B_FRAMES = ("flv1", "msmpeg4v3", "libvpx-vp9")


def write_origins(folder: Path) -> list[Path]:
    """Good files of each kind, and the shared ones where they are; sorted by name."""
    noise = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(240), np.arange(320)).astype(np.uint8)
    picture = Image.fromarray(np.stack([ramp, ramp // 2, noise.integers(0, 255, (240, 320), np.uint8)], axis=-1))
    other = picture.rotate(180)
    for name, options in _PICTURES.items():
        if name.endswith(("gif", "tif")):
            options = {"save_all": True, "append_images": [other, picture], **options}
        picture.save(folder / name, **options)
    write_pdf(folder / "text.pdf", pages=4)
    write_pdf_of(folder / "drawn.pdf", [b"0 0 1 rg 20 20 %d 90 re f" % (20 + 9 * page) for page in range(5)])
    for form, codec in _CLIPS:
        _write_clip(folder / f"{codec}.{form}", codec)
    drawn = sorted(folder.iterdir())
    lying = [path for place in _PLACES if shared(place).is_dir() for path in sorted(shared(place).iterdir())]
    return drawn + [
        path for path in lying if path.stat().st_size < MOST_BYTES and media_of_name(path.name.lower()) is not None
    ]


def _write_clip(path: Path, codec: str) -> None:
    """Eight seconds of noise that moves, a keyframe every second."""
    noise = np.random.default_rng(1).integers(0, 255, (96, 160, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"g": "25", "bf": "0" if codec in _NO_B_FRAMES else "2"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 160, 96, "yuv420p", 200_000
        for index in range(200):
            pixels = np.roll(noise, 2 * index, axis=1) // 2 + index // 2
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())


def mutant(origins: list[Path], seed: int, folder: Path) -> tuple[Path, Path]:
    """(the file, what it was). Its name says what happened to it."""
    draw = random.Random(seed)
    origin = origins[seed % len(origins)]
    does = draw.choice(sorted(_DOES))
    data = _DOES[does](bytearray(origin.read_bytes()), draw, draw.choice(origins))
    path = folder / f"{seed:04}-{does}-{origin.name}"
    path.write_bytes(data)
    return path, origin


def _stretch(data: bytearray, draw: random.Random, most: float = 0.2) -> slice:
    start = draw.randrange(len(data))
    return slice(start, min(len(data), start + 1 + int(draw.random() ** 2 * most * len(data))))


def _turns_bits(data: bytearray, draw: random.Random, _: Path) -> bytearray:
    for _bit in range(draw.choice([1, 3, 10, 50])):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return data


def _zeroes(data: bytearray, draw: random.Random, _: Path) -> bytearray:
    gone = _stretch(data, draw)
    data[gone] = bytes(len(data[gone]))
    return data


def _garbles(data: bytearray, draw: random.Random, _: Path) -> bytearray:
    gone = _stretch(data, draw, 0.05)
    data[gone] = draw.randbytes(len(data[gone]))
    return data


def _cuts_end(data: bytearray, draw: random.Random, _: Path) -> bytearray:
    return data[: max(1, int(len(data) * draw.choice([0.02, 0.3, 0.6, 0.9, 0.99, 0.999])))]


def _loses(data: bytearray, draw: random.Random, _: Path) -> bytearray:
    del data[_stretch(data, draw)]
    return data


def _swaps_blocks(data: bytearray, draw: random.Random, _: Path) -> bytearray:
    size = draw.choice([512, 4096, 65_536])
    if len(data) > 2 * size:
        one, two = (draw.randrange(len(data) // size) * size for _side in range(2))
        data[one : one + size], data[two : two + size] = data[two : two + size], data[one : one + size]
    return data


def _splices(data: bytearray, draw: random.Random, other: Path) -> bytearray:
    """The beginning of one and the end of another, perhaps of its kind."""
    tail = other.read_bytes()
    return data[: draw.randrange(1, len(data) + 1)] + tail[draw.randrange(len(tail)) :]


def _repeats(data: bytearray, draw: random.Random, _: Path) -> bytearray:
    again = _stretch(data, draw)
    return data[: again.stop] + data[again.start :]


def _changes_length(data: bytearray, draw: random.Random, _: Path) -> bytearray:
    """A number that could be one: in ASCII digits as PDF has it, or four bytes in either order."""
    if data.startswith(b"%PDF") and (numbers := list(re.finditer(rb"\d+", data))):
        digits = draw.choice(numbers)
        data[digits.start() : digits.end()] = draw.choice([b"0", b"-1", b"9" * 10, b"%d" % draw.randrange(len(data))])
        return data
    order = draw.choice(["big", "little"])
    places = [at for at in range(min(len(data) - 4, 4096)) if 0 < int.from_bytes(data[at : at + 4], order) < len(data)]
    at = draw.choice(places or [0])
    value = draw.choice([0, 1, 2**31 - 1, 2**32 - 1, draw.randrange(len(data)), len(data) - at])
    data[at : at + 4] = value.to_bytes(4, order)
    return data


_DOES = {does.__name__.strip("_"): does for does in (
    _turns_bits, _zeroes, _garbles, _cuts_end, _loses, _swaps_blocks, _splices, _repeats, _changes_length
)}  # fmt: skip

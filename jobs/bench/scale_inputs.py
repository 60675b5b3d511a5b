"""Inputs for `sightread bench scale`: many names of one small picture on a disk or in a bucket, and pages of text."""

from __future__ import annotations

import io
import json
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from jobs.bench.inputs import words
from jobs.demo_media import Line, pdf_bytes
from operators.store.addresses import store_at
from operators.store.store import sizes

PAGES_A_FILE = 25
LINES_A_PAGE = 28
_FILES_A_FOLDER, _LINKS_A_FILE = 1000, 30_000  # ext4 has 65,000 links of a file at most
_PUTS = 16


def small_picture() -> bytes:
    """64 x 64 px of noise and a frame, as PNG; always the same."""
    chance = random.Random(0)
    noise = bytes(chance.randrange(96, 160) for _ in range(64 * 64 * 3))
    file = io.BytesIO()
    Image.frombytes("RGB", (64, 64), noise).save(file, "PNG")
    return file.getvalue()


def link_pictures(folder: Path, count: int) -> None:
    """So many names of one picture, by a thousand in a folder."""
    data, original = small_picture(), Path()
    for number in range(count):
        place = folder / f"{number // _FILES_A_FOLDER:05d}"
        if number % _FILES_A_FOLDER == 0:
            place.mkdir(parents=True)
        path = place / f"{number:08d}.png"
        if number % _LINKS_A_FILE:
            os.link(original, path)
        else:
            original = path
            path.write_bytes(data)


def put_pictures(address: str, count: int) -> str:
    """The address of a folder with so many pictures below `address`; those that are there stay. Raises SpecError."""
    data, store = small_picture(), store_at(f"{address.rstrip('/')}/scale-{count}")
    there = sizes(store, "")
    missing = [key for key in (f"{number:08d}.png" for number in range(count)) if key not in there]
    with ThreadPoolExecutor(_PUTS) as pool:
        list(pool.map(lambda key: store.put_if_absent(key, data), missing))
    return store.address


def write_pages(folder: Path, count: int, recording: Path) -> None:
    """Pages of A4 in PDFs of 25, and the replies that read them right. Page N is the same whatever the count."""
    folder.mkdir(parents=True)
    lines = []
    for first in range(0, count, PAGES_A_FILE):
        name = f"pages-{first:06d}.pdf"
        texts = [_page(number) for number in range(first, min(first + PAGES_A_FILE, count))]
        (folder / name).write_bytes(pdf_bytes(tuple(tuple(Line(line) for line in text) for text in texts)))
        for unit, text in enumerate(texts):
            lines.append(json.dumps({"sample": name, "unit": unit, "reply": "\n".join(text)}))
    recording.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _page(number: int) -> list[str]:
    chance = random.Random(number)
    return [words(chance, 9) for _ in range(LINES_A_PAGE)]

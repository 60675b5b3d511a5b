"""What a unit looks like, for a report: its inputs are decoded once more, in sandboxed children, and its pages, frames
or screens become WebP pictures. A unit that several tasks are asked about is decoded once.

A picture is a page, a picture or a frame; units of whole documents, videos and episodes show some of theirs.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any

from PIL import Image

from model.prompts.rgb import RGB, unpack
from operators.media.formats import DOCUMENT, EPISODE, VIDEO
from operators.media.opened import media_of, pictures
from operators.media.sandbox import Sandbox
from schemas.decode import DecodeSettings
from schemas.errors import StoreLost
from schemas.unit import Locator

PAGE_PX, FRAME_PX = 1_440_000, 230_400
"""Area of a page or picture, and of a frame, a screen or a page of a whole document."""
THUMBNAIL_PX = 176
"""The longer side."""
MOST_FRAMES = 12
MOST_MARKED = 24
"""Frames of a clip that are shown: some over all its length, and those in which something was found."""
_QUALITY, _THUMBNAIL_QUALITY = 62, 50
MOST_WORKERS = 8


@dataclass(frozen=True)
class Shown:
    """One picture. name: of the file. index: of the frame in the clip, from 0; of the page or screen, from 1. time_s:
    of a frame."""

    name: str
    width_px: int
    height_px: int
    index: int
    time_s: float | None = None


@dataclass(frozen=True)
class Look:
    """Of a unit. thumbnail: the name of a file. files: what is to be written, by name. missing: why there are no
    pictures; empty for what has none to show."""

    pictures: tuple[Shown, ...] = ()
    thumbnail: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True)
class Wanted:
    """A unit to look at. settings: as the job decoded it. indices: frames or pages that are wanted above all."""

    row: Mapping[str, Any]
    settings: DecodeSettings
    indices: tuple[int, ...] = ()


class Pictures:
    """Within `with`; one decoder for each of some threads."""

    def __init__(self) -> None:
        workers = min(MOST_WORKERS, os.cpu_count() or 1)
        self._free: SimpleQueue[Sandbox] = SimpleQueue()
        for _ in range(workers):
            self._free.put(Sandbox(DecodeSettings()))
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="pictures")
        self._seen: dict[str, Look] = {}  # without their files, which were told of once

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)
        while not self._free.empty():
            self._free.get().close()

    def of(self, units: Sequence[Wanted]) -> list[Look]:
        """Of each unit, in order. A file that an earlier look had is in none of these."""
        keys = [_key(unit) for unit in units]
        new = {key: unit for key, unit in zip(keys, units, strict=True) if key not in self._seen}
        looks = dict(zip(new, self._executor.map(self._look, new.values()), strict=True))
        self._seen |= {key: replace(look, files={}) for key, look in looks.items()}
        return [looks.pop(key) if key in looks else self._seen[key] for key in keys]

    def screenshot(self, address: str) -> Look:
        """Of a picture that a check of code left; it is opened as any other file."""
        row = {"input_uri": address, "unit_kind": "image", "media": "image", "page": None}
        unit = Wanted({**row, "start_s": None, "end_s": None, "input_id": address}, DecodeSettings())
        return self._look(unit)

    def _look(self, unit: Wanted) -> Look:
        sandbox = self._free.get()
        settings = replace(unit.settings, token_side_px=1, image_min_px=1, video_min_px=1)
        try:
            return _look(sandbox, settings, unit)
        except StoreLost as error:
            return Look(missing=str(error))
        finally:
            self._free.put(sandbox)


def _key(unit: Wanted) -> str:
    row, settings = unit.row, unit.settings
    place = [row["input_uri"], row["unit_kind"], row["page"], row["start_s"], row["end_s"]]
    return repr([*place, settings.video_fps, settings.video_clip_s, unit.indices])


def _look(sandbox: Sandbox, settings: DecodeSettings, unit: Wanted) -> Look:
    row = unit.row
    match row["unit_kind"]:
        case "page" | "image":
            media = media_of(row)
            assert media is not None
            places, settings = [Locator.of(row)], replace(settings, image_max_px=PAGE_PX)
        case "clip" | "video":
            media, places = VIDEO, [Locator.of(row)]
            settings = _of_frames(settings, row, whole=row["unit_kind"] == "video")
        case "document" | "episode":
            media = DOCUMENT if row["unit_kind"] == "document" else EPISODE
            numbers = _some(row.get("page_count") or 1, unit.indices, first=1)
            places, settings = [Locator(page=number) for number in numbers], replace(settings, image_max_px=FRAME_PX)
        case _:
            return Look()
    shown: list[Shown] = []
    files: dict[str, bytes] = {}
    missing = ""
    length = max(1.0, ((row["end_s"] or 0.0) - (row["start_s"] or 0.0)) / settings.video_clip_s)
    batches = sandbox.decode(row["input_uri"], media, places, settings, length=length)
    for place, batch in zip(places, batches, strict=True):
        decoded = {name: batch.column(name)[0] for name in ("error", "pictures", "times_s")}
        if decoded["error"].is_valid:
            missing = missing or str(decoded["error"]["message"].as_py())
            continue
        try:
            for index, time_s, pixels in _chosen(unit, place, decoded):
                name = _name(row, index, time_s)
                files[f"{name}.webp"] = _webp(pixels, _QUALITY)
                shown.append(Shown(f"{name}.webp", pixels.shape[1], pixels.shape[0], index, time_s))
                if len(shown) == 1:
                    files[f"{name}-small.webp"] = _webp(pixels, _THUMBNAIL_QUALITY, THUMBNAIL_PX)
        except ValueError as error:  # a decoder that was taken over may send anything for a picture
            missing = missing or str(error)
    thumbnail = f"{shown[0].name.removesuffix('.webp')}-small.webp" if shown else None
    return Look(tuple(shown), thumbnail, files, "" if shown else missing)


def _of_frames(settings: DecodeSettings, row: Mapping[str, Any], *, whole: bool) -> DecodeSettings:
    """A clip has the frames that the model saw, since answers name them; a whole video some over its length."""
    length_s = max(1e-3, (row["end_s"] or 0.0) - (row["start_s"] or 0.0))
    fps = min(settings.video_fps, MOST_FRAMES / length_s) if whole else settings.video_fps
    frames = max(2, round(length_s * fps) + 1)
    return replace(settings, video_fps=fps, video_max_px=frames * FRAME_PX)


def _chosen(unit: Wanted, place: Locator, decoded: Mapping[str, Any]) -> Iterator[tuple[int, float | None, RGB]]:
    """Index, time and pixels of what is shown of a decoded unit. Raises ValueError."""
    packed = pictures(decoded["pictures"])
    times_s = decoded["times_s"].as_py() or ()
    if unit.row["unit_kind"] not in ("clip", "video"):
        index = place.page or 1
        yield index, None, unpack(packed[0])
        return
    for index in _some(len(packed), unit.indices, first=0):
        yield index, times_s[index] if index < len(times_s) else None, unpack(packed[index])


def _some(there: int, wanted: Iterable[int], *, first: int) -> list[int]:
    """Of so many, counted from `first`: what is wanted, and others at equal distances; in order."""
    few = min(there, MOST_FRAMES)
    spread = {first + round(place * (there - 1) / max(1, few - 1)) for place in range(few)}
    marked = [index for index in dict.fromkeys(wanted) if first <= index < first + there][:MOST_MARKED]
    return sorted({*spread, *marked})


def _webp(pixels: RGB, quality: int, longest_px: int | None = None) -> bytes:
    picture = Image.fromarray(pixels)
    if longest_px is not None:
        picture.thumbnail((longest_px, longest_px))
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=quality, method=2)
    return data.getvalue()


def _name(row: Mapping[str, Any], index: int, time_s: float | None) -> str:
    """Nothing of the input's own name is in it. Units of several tasks that look alike share theirs."""
    unit = [row["input_id"], row["unit_kind"], row["page"], row["start_s"], row["end_s"], index, time_s]
    return hashlib.sha256(repr(unit).encode()).hexdigest()[:20]

"""Open a whole document, video or episode beside the engine: all its pages, frames over all its length for one
prompt, or all its screens, which are asked about one after another.

They would fill the object store on the way from a decode actor, so they are decoded here, in a child of their
own, and nothing is cut: the pixels of a page and the number of frames follow from what the engine's context holds
(docs/facts/qwen3-vl.md §1.8, §2.6). One at a time: two of them could fill the memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from operators.media.episode import heading
from operators.media.opened import UNIT_COLUMNS, Opened, full_res_of, pictures, view_of
from operators.media.sandbox import Sandbox
from schemas.decode import FULL_INPUT_KIND_OF, DecodeSettings
from schemas.request import Clip, Part, Picture
from schemas.task import Unit

FULL_INPUT_KINDS = frozenset(FULL_INPUT_KIND_OF.values())

PAGE_TOKENS = 730
"""What a page gets where there is room (the cookbook's most for long documents)."""
LEAST_PAGE_TOKENS = 64
"""Below it a page is never shrunk; the engine then says that the document is too long."""
FRAME_TOKENS = 640
"""Most tokens of one frame, and FRAMES the most frames, of the technical report's evaluations."""
FRAMES = 2048
LEAST_PAIR_TOKENS = 64
PAIR_MARK_TOKENS = 9
"""Every pair of frames is preceded by its time: some seven tokens and two marks."""


def page_tokens(pages: int, full_input_tokens: int) -> int:
    """Tokens of each page of a document."""
    return max(LEAST_PAGE_TOKENS, min(PAGE_TOKENS, full_input_tokens // pages - 2))


def frame_budget(length_s: float, fps: float, full_input_tokens: int) -> tuple[float, int]:
    """(frames a second, tokens of all pairs together) for a video of that length."""
    most = max(2, min(FRAMES, 2 * (full_input_tokens // (LEAST_PAIR_TOKENS + PAIR_MARK_TOKENS))))
    frames = max(2, min(most, round(length_s * fps)))
    pairs = -(-frames // 2)
    tokens = min(full_input_tokens - pairs * PAIR_MARK_TOKENS, pairs * FRAME_TOKENS)
    return min(fps, most / max(length_s, 1e-6)), max(tokens, pairs)


class FullInputs:
    """May be called from several threads; they take turns."""

    def __init__(self, settings: DecodeSettings) -> None:
        self._settings = replace(settings, line_reader=None)
        self._turn = threading.Lock()

    def open(self, row: dict[str, Any]) -> Opened:
        """row: of UNITS, not decoded. Total."""
        columns = {key: row[key] for key in UNIT_COLUMNS} | {"page_count": None, "decode_s": 0.0}
        if row["error"] is not None:
            return Opened(None, row["error"], columns)
        with self._turn:
            match row["unit_kind"]:
                case "document":
                    return self._document(columns)
                case "episode":
                    return self._episode(columns)
                case _:
                    return self._video(columns)

    def _document(self, columns: dict[str, Any]) -> Opened:
        sandbox = Sandbox(self._settings)
        try:
            found = sandbox.probe(columns["input_uri"], "document")
        finally:
            sandbox.close()
        if "error" in found:
            return Opened(None, found["error"], columns)
        count = len(found["units"])
        most_px = page_tokens(count, self._settings.full_input_tokens) * self._settings.token_side_px**2
        settings = replace(
            self._settings,
            image_max_px=most_px,
            image_min_px=min(self._settings.image_min_px, most_px),
            full_res_max_px=0,
        )
        wanted = [{key: unit[key] for key in ("page", "start_s", "end_s")} for unit in found["units"]]
        parts: list[Part] = []
        errors: list[dict[str, Any]] = []
        for page, batch in enumerate(_decoded(settings, columns, "document", wanted), start=1):
            columns["decode_s"] += batch["decode_s"].as_py() or 0.0
            if batch["error"].is_valid:
                errors.append(batch["error"].as_py())
                parts.append(f"(page {page} cannot be shown)")
            else:
                parts += pictures(batch["pictures"])
        columns["page_count"] = count
        if len(errors) == count:
            return Opened(None, errors[0], columns)
        return Opened(Unit(view_of(columns), tuple(parts)), None, columns)

    def _episode(self, columns: dict[str, Any]) -> Opened:
        """Its screens at the size of pictures that come alone. One that cannot be read ends the episode: what was
        done before it would be missing from the story of all that follow."""
        sandbox = Sandbox(self._settings)
        parts: list[Part] = []
        full_res: list[Picture | None] = []
        try:
            found = sandbox.probe(columns["input_uri"], "episode")
            if "error" in found:
                return Opened(None, found["error"], columns)
            wanted = [{key: unit[key] for key in ("page", "start_s", "end_s")} for unit in found["units"]]
            columns["page_count"] = len(wanted)
            for number, row in enumerate(sandbox.decode(columns["input_uri"], "episode", wanted), start=1):
                batch = {name: row.column(name)[0] for name in row.schema.names}
                columns["decode_s"] += batch["decode_s"].as_py() or 0.0
                if batch["error"].is_valid:
                    error = batch["error"].as_py()
                    return Opened(None, {**error, "message": f"screen {number}: {error['message']}"}, columns)
                width_px, height_px = batch["width_px"].as_py(), batch["height_px"].as_py()
                if number == 1:
                    columns |= {"width_px": width_px, "height_px": height_px}
                parts += [heading(number, width_px, height_px), *pictures(batch["pictures"])]
                full_res.append(full_res_of(batch["full_res"]))
        finally:
            sandbox.close()
        return Opened(Unit(view_of(columns), tuple(parts), full_res=tuple(full_res)), None, columns)

    def _video(self, columns: dict[str, Any]) -> Opened:
        start_s, end_s = columns["start_s"], columns["end_s"]
        fps, tokens = frame_budget(end_s - start_s, self._settings.video_fps, self._settings.full_input_tokens)
        most_px = tokens * 2 * self._settings.token_side_px**2
        settings = replace(
            self._settings,
            video_fps=fps,
            video_max_px=most_px,
            video_min_px=min(self._settings.video_min_px, most_px),
            # its frames lie there raw, then compressed and in the answer; and it decodes for as long as its clips would
            memory_mb=self._settings.memory_mb + (8 * most_px >> 20),
            timeout_s=self._settings.timeout_s * max(1.0, (end_s - start_s) / self._settings.video_clip_s),
        )
        wanted = [{"page": None, "start_s": start_s, "end_s": end_s}]
        (batch,) = _decoded(settings, columns, "video", wanted)
        columns |= {key: batch[key].as_py() for key in ("width_px", "height_px", "times_s")}
        columns["decode_s"] = batch["decode_s"].as_py() or 0.0
        if batch["error"].is_valid:
            return Opened(None, batch["error"].as_py(), columns)
        view = view_of(columns)
        return Opened(Unit(view, Clip(pictures(batch["pictures"]), view.times_s)), None, columns)


def _decoded(
    settings: DecodeSettings, columns: dict[str, Any], media: str, wanted: list[dict[str, Any]]
) -> Iterator[dict[str, pa.Scalar]]:
    """A row of DECODED, as scalars, for each wanted page or stretch."""
    sandbox = Sandbox(settings)
    try:
        for batch in sandbox.decode(columns["input_uri"], media, wanted):
            yield {name: batch.column(name)[0] for name in batch.schema.names}
    finally:
        sandbox.close()

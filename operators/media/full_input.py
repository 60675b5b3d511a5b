"""Open a whole document, video or episode beside the engine: all its pages, frames over all its length for one
prompt, or all its screens, which are asked about one after another.

They would fill the object store on the way from a decode actor, so they are decoded here, in a child of this
actor's, and nothing is cut: the pixels of a page and the number of frames follow from what the engine's context holds
(docs/facts/qwen3-vl.md §1.8, §2.6). One at a time: two of them could fill the memory. But a long video is divided among
several children: together they hold no more frames than one would, but each is a process with a limit of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import pyarrow as pa

from operators.media.episode import heading
from operators.media.opened import Opened, full_res_of, pictures, view_of
from operators.media.sandbox import Sandbox
from operators.media.source import retries_of
from schemas.decode import DecodeSettings
from schemas.request import Clip, Part, Picture
from schemas.tables import FACT_FIELDS, UNIT_COLUMNS
from schemas.task import Unit
from schemas.unit import Indexed

PAGE_TOKENS = 730
"""What a page gets where there is room (the cookbook's most for long documents)."""
LEAST_PAGE_TOKENS = 64
"""Below it a page is never shrunk; the engine then says that the document is too long."""
FRAME_TOKENS = 640
"""Most tokens of one frame, and FRAMES the most frames, of the technical report's evaluations."""
FRAMES = 2048
LEAST_PAIR_TOKENS = 64
MOST_SHARES = 4
"""Children that one video is divided among, where there are as many processors."""
SHARE_S = 20.0
"""Of a video, that is worth a child of its own."""
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
    """May be called from several threads; they take turns. shares: children for one long video."""

    def __init__(self, settings: DecodeSettings, *, shares: int | None = None) -> None:
        self._settings = replace(settings, line_reader=None)
        shares = shares or min(MOST_SHARES, len(os.sched_getaffinity(0)))
        self._sandboxes = [Sandbox(self._settings) for _ in range(shares)]
        self._threads = ThreadPoolExecutor(shares, thread_name_prefix="share")
        self._turn = threading.Lock()

    def open(self, row: dict[str, Any]) -> Opened:
        """row: of UNITS, not decoded. Raises StoreLost and nothing else."""
        columns = {name: row[name] for name in UNIT_COLUMNS}
        version = row.get("version")
        if row["error"] is not None:
            return Opened(None, row["error"], columns)
        with self._turn:
            match row["unit_kind"]:
                case "document":
                    return self._document(columns, version)
                case "episode":
                    return self._episode(columns, version)
                case _:
                    return self._video(columns, Indexed.of(row), version)

    @property
    def lacks(self) -> set[str]:
        """Of its decoders."""
        return set[str]().union(*(sandbox.lacks for sandbox in self._sandboxes))

    def retries(self) -> list[dict[str, Any]]:
        """Of this process, by all that is opened in it, since this was last called (RETRIES)."""
        return retries_of("infer")

    def close(self) -> None:
        with self._turn:
            self._threads.shutdown()
            for sandbox in self._sandboxes:
                sandbox.close()

    def _document(self, columns: dict[str, Any], version: str | None) -> Opened:
        most_px = page_tokens(columns["page_count"], self._settings.full_input_tokens)
        most_px *= self._settings.token_side_px**2
        settings = replace(
            self._settings,
            image_max_px=most_px,
            image_min_px=min(self._settings.image_min_px, most_px),
            full_res_max_px=0,
        )
        parts: list[Part] = []
        errors: list[dict[str, Any]] = []
        for number, page in enumerate(self._decoded(columns, _pages(columns), settings, version=version), start=1):
            if page["error"].is_valid:
                errors.append(page["error"].as_py())
                parts.append(f"(page {number} cannot be shown)")
            else:
                parts += pictures(page["pictures"])
        if len(errors) == columns["page_count"]:
            return Opened(None, errors[0], columns)
        return Opened(Unit(view_of(columns), tuple(parts)), None, columns)

    def _episode(self, columns: dict[str, Any], version: str | None) -> Opened:
        """Its screens at the size of pictures that come alone. One that cannot be read ends the episode: what was
        done before it would be missing from the story of all that follow."""
        parts: list[Part] = []
        full_res: list[Picture | None] = []
        decoded = self._decoded(columns, _pages(columns), self._settings, version=version)
        for number, screen in enumerate(decoded, start=1):
            if screen["error"].is_valid:
                error = screen["error"].as_py()
                return Opened(None, {**error, "message": f"screen {number}: {error['message']}"}, columns)
            width_px, height_px = screen["width_px"].as_py(), screen["height_px"].as_py()
            if number == 1:
                columns |= {"width_px": width_px, "height_px": height_px}
            parts += [heading(number, width_px, height_px), *pictures(screen["pictures"])]
            full_res.append(full_res_of(screen["full_res"]))
        return Opened(Unit(view_of(columns), tuple(parts), full_res=tuple(full_res)), None, columns)

    def _video(self, columns: dict[str, Any], unit: Indexed, version: str | None) -> Opened:
        start_s, end_s = columns["start_s"], columns["end_s"]
        fps, tokens = frame_budget(end_s - start_s, self._settings.video_fps, self._settings.full_input_tokens)
        most_px = tokens * 2 * self._settings.token_side_px**2
        settings = replace(
            self._settings,
            video_fps=fps,
            video_max_px=most_px,
            video_min_px=min(self._settings.video_min_px, most_px),
            # its frames lie there raw, then compressed and in the answer
            memory_mb=self._settings.memory_mb + (8 * most_px >> 20),
        )
        # it decodes for as long as its clips would
        length = max(1.0, (end_s - start_s) / self._settings.video_clip_s)
        if (shown := self._in_shares(columns, unit, settings, length, version)) is not None:
            return shown
        (video,) = self._decoded(columns, [unit], settings, length, version)
        columns |= {fact.name: video[fact.name].as_py() for fact in FACT_FIELDS}
        if video["error"].is_valid:
            return Opened(None, video["error"].as_py(), columns)
        view = view_of(columns)
        return Opened(Unit(view, Clip(pictures(video["pictures"]), view.times_s)), None, columns)

    def _in_shares(
        self, columns: dict[str, Any], unit: Indexed, settings: DecodeSettings, length: float, version: str | None
    ) -> Opened | None:
        """A video by several children at once; None where one has to see all of it: it is short or damaged, lacks an
        index, or its frames differ in size. Raises StoreLost."""
        if unit.index is None or settings.video_backend != "pyav":
            return None
        count = min(len(self._sandboxes), int((columns["end_s"] - columns["start_s"]) / SHARE_S))
        if count < 2:
            return None

        def share(number: int, sandbox: Sandbox) -> pa.RecordBatch:
            part = replace(settings, video_share=(number, count))
            address, media = columns["input_uri"], columns["media"]
            (batch,) = sandbox.decode(address, media, [unit], part, length=length, version=version)
            return batch

        futures = [self._threads.submit(share, *one) for one in zip(range(count), self._sandboxes, strict=False)]
        wait(futures)  # of all, before the next video has its turn
        batches = [future.result() for future in futures]
        rows = [{name: batch.column(name)[0] for name in batch.schema.names} for batch in batches]
        columns["decode_s"] += max(row["decode_s"].as_py() or 0.0 for row in rows)
        facts = [{fact.name: row[fact.name].as_py() for fact in FACT_FIELDS} for row in rows]
        sizes = {(fact["width_px"], fact["height_px"]) for fact in facts}
        notes = {note for fact in facts for note in fact["input_notes"] or ()}
        if any(row["error"].is_valid for row in rows) or len(sizes) > 1 or "sizes_differ" in notes:
            return None
        times_s = [time_s for fact in facts for time_s in fact["times_s"]]
        columns |= {**facts[0], "times_s": times_s, "input_notes": sorted(notes)}
        frames = tuple(frame for row in rows for frame in pictures(row["pictures"]))
        view = view_of(columns)
        return Opened(Unit(view, Clip(frames, view.times_s)), None, columns)

    def _decoded(
        self,
        columns: dict[str, Any],
        units: list[Indexed],
        settings: DecodeSettings,
        length: float = 1.0,
        version: str | None = None,
    ) -> Iterator[dict[str, pa.Scalar]]:
        """A row of DECODED, as scalars, for each of the units. Adds its time to the columns."""
        address, media = columns["input_uri"], columns["media"]
        for batch in self._sandboxes[0].decode(address, media, units, settings, length=length, version=version):
            row = {name: batch.column(name)[0] for name in batch.schema.names}
            columns["decode_s"] += row["decode_s"].as_py() or 0.0
            yield row


def _pages(columns: dict[str, Any]) -> list[Indexed]:
    return [Indexed(page=number) for number in range(1, columns["page_count"] + 1)]

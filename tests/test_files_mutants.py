"""Damaged files: whatever a patient reader of each kind still reads is read, or the damage is told; nothing dies of one
but its decoder, and nothing is left over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from operators.media.decode import Decode
from operators.media.formats import media_of_name
from operators.media.full_input import FullInputs
from operators.media.probe import Probe
from pipelines.chunking import cut, with_full_inputs
from pipelines.listing import list_inputs
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.request import Clip
from tests.support.mutants import TASKS, mutant, write_origins
from tests.support.patient_reader import read_all
from tests.support.samples import shared

SETTINGS = DecodeSettings(
    image_max_px=128 * 128,
    image_min_px=32 * 32,
    video_max_px=64 * 32 * 32,
    page_dpi=36,
    video_clip_s=3.0,
    timeout_s=20,
    full_input_tokens=20_000,
    memory_mb=1024,
    max_source_px=40_000_000,
)
AT_ONCE = 20
STEP_S = 1 / SETTINGS.video_fps


def children() -> set[int]:
    """Of this process, that run."""
    listed = Path("/proc/self/task").glob("*/children")
    return {int(pid) for place in listed for pid in place.read_text().split()}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Reader:
    """As a job reads files: parts, then whole."""

    def __init__(self) -> None:
        self._probe, self._decode, self._full = Probe(SETTINGS), Decode(SETTINGS), FullInputs(SETTINGS)

    def rows(self, paths: list[Path]) -> dict[str, list[dict[str, Any]]]:
        """By name of the file. parts: how many pictures, or words about missing ones, of what is opened whole."""
        planned = self._probe(list_inputs(tuple(map(str, paths)), Path("/nowhere")).inputs).to_pylist()
        chunks = list(cut(with_full_inputs(planned, TASKS), TASKS, max_units=32, max_bytes=64 << 20))
        table = pa.Table.from_pylist([{"passthrough": b"", **chunk} for chunk in chunks], schema=tables.CHUNKS)
        by_name: dict[str, list[dict[str, Any]]] = {path.name: [] for path in paths}
        for units in self._decode(table).column("units"):
            for row in units.as_py():
                row.pop("pictures")
                if row["unit_kind"] in ("document", "video"):
                    row |= self._opened(row)
                by_name[Path(row["input_uri"]).name].append(row)
        return by_name

    def _opened(self, row: dict[str, Any]) -> dict[str, Any]:
        opened = self._full.open({**row, "pictures": []})
        facts = {key: opened.columns.get(key) for key in ("times_s", "damaged_frames", "input_notes")}
        content = opened.unit.content if opened.unit is not None else ()
        if isinstance(content, Clip):
            content = content.frames
        return {**facts, "error": opened.error, "parts": len(content)}

    def close(self) -> None:
        for operator in (self._probe, self._decode, self._full):
            operator.close()


def is_told(row: dict[str, Any]) -> bool:
    return bool(row["error"] or row["input_notes"] or row["damaged_frames"])


def lost(rows: list[dict[str, Any]], patient: dict[str, Any], *, full: bool) -> str | None:
    """What the patient reader read and these rows neither show nor tell of."""
    rows = [row for row in rows if (row["unit_kind"] in ("document", "video")) == full]
    if not rows or all(row["error"] for row in rows):
        return None
    if patient["media"] == "video":
        return _lost_times(rows, patient["times_s"])
    if patient["media"] == "image" and patient["told"] and not any(map(is_told, rows)):
        return "what is missing of it"
    count = sum(row["parts"] for row in rows) if full else len(rows)
    return f"{count} of {patient['units']}" if count < patient["units"] else None


def _lost_times(rows: list[dict[str, Any]], read_s: list[float]) -> str | None:
    """Half seconds of which nothing is shown near them, under clips that tell of no damage."""
    if any({"joined", "time_gap"} & set(row["input_notes"] or ()) for row in rows):
        return None  # its times are not those of the patient reader
    first_s = min(time_s for row in rows for time_s in row["times_s"] or ())
    shown = {round((time_s - first_s) / STEP_S) for row in rows for time_s in row["times_s"] or ()}
    for row in filter(is_told, rows):
        start, end = ((row[key] - first_s) / STEP_S for key in ("start_s", "end_s"))
        shown |= set(range(round(start) - 1, min(round(end), 100_000) + 2))
    slots = {int(time_s / STEP_S) for time_s in read_s}
    gaps = [slot for slot in slots if not shown & {slot - 1, slot, slot + 1}]
    return f"{len(gaps)} half seconds from {min(gaps) * STEP_S:g} s on" if gaps else None


def faults(name: str, rows: list[dict[str, Any]], patient: dict[str, Any] | None) -> list[str]:
    errors = [row["error"] for row in rows if row["error"]]
    lines = [f"{name}: {error['message']}" for error in errors if error["kind"] == "internal"]
    if patient is not None and patient["units"]:
        losses = {kind: lost(rows, patient, full=kind == "full") for kind in ("parts", "full")}
        lines += [f"{name}: {loss} ({kind})" for kind, loss in losses.items() if loss]
    return lines


@pytest.mark.timeout(3600)
def test_of_a_damaged_file_what_can_be_read_is_read_or_the_damage_is_told(
    tmp_path: Path, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    (tmp_path / "origins").mkdir()
    (tmp_path / "mutants").mkdir()
    origins = write_origins(tmp_path / "origins")
    children_before, files_before = children(), open_files()
    count = amount(40, 500)
    reader = Reader()
    faulty, refused = list[str](), list[tuple[str, str]]()
    kinds, readable = Counter[str](), 0
    try:
        for first in range(0, count, AT_ONCE):
            drawn = [mutant(origins, seed, tmp_path / "mutants") for seed in range(first, min(count, first + AT_ONCE))]
            by_name = reader.rows([path for path, _ in drawn])
            patients = read_all([(path, media_of_name(origin.name.lower()) or "image") for path, origin in drawn])
            for (path, _), patient in zip(drawn, patients, strict=True):
                rows = by_name[path.name]
                assert rows, path.name
                kinds.update(row["error"]["kind"] if row["error"] else "ok" for row in rows)
                faulty += faults(path.name, rows, patient)
                if patient is not None and patient["units"]:
                    readable += 1
                    if all(row["error"] for row in rows):
                        refused.append((rows[0]["error"]["kind"], f"{path.name}: {rows[0]['error']['message']}"))
                path.unlink()
    finally:
        reader.close()
    figure(
        f"{count} mutants of {len(origins)} files: {readable} hold something that a patient reader reads, of which "
        f"{len(refused)} give no unit, {len(faulty)} lose one without a word; rows: {dict(kinds)}"
    )
    assert children() == children_before
    assert open_files() <= files_before
    assert not faulty, "\n".join(faulty)
    # nothing to speak of may be there of a picture, or its key be damaged
    refused = [line for kind, line in refused if kind not in ("truncated", "encrypted")]
    assert len(refused) <= 1 + readable // 50, refused


def test_a_heic_without_its_end_is_shown_and_told(tmp_path: Path) -> None:
    tiles = shared("faults/documents/pictures/tiles.heic")
    if not tiles.exists():
        pytest.skip("no HEIC can be drawn here")
    data = tiles.read_bytes()
    (tmp_path / "good.heic").write_bytes(data)
    (tmp_path / "cut.heic").write_bytes(data[: len(data) * 9 // 10])
    reader = Reader()
    rows = reader.rows([tmp_path / "good.heic", tmp_path / "cut.heic"])
    reader.close()
    notes = {name: [(row["error"], row["input_notes"]) for row in file] for name, file in rows.items()}
    assert notes == {"good.heic": [(None, [])], "cut.heic": [(None, ["truncated"])]}

"""An episode whose screens lie in a bucket is the one that a folder of them would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from jobs.load import parse
from operators.media import episode
from operators.media.decode import Decode
from operators.media.full_input import FullInputs
from operators.media.opened import Opened, media_of
from operators.media.probe import Probe
from pipelines.chunking import with_full_inputs
from pipelines.job import prepare
from pipelines.listing import list_inputs
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import InputError
from schemas.request import Picture
from tests.support.object_server import S3Server

SMALL = DecodeSettings(image_min_px=32 * 32, image_max_px=512 * 512, timeout_s=30)


def write_screens(folder: Path) -> Path:
    folder.mkdir()
    for number, size in enumerate([(64, 128), (64, 128), (128, 64)], start=9):
        Image.new("RGB", size, (number * 20, 0, 0)).save(folder / f"{number}.png")
    Image.new("RGB", (32, 32)).save(folder / "12", "PNG")  # its first bytes tell
    (folder / "13.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    (folder / "notes.txt").write_text("no screen")
    (folder / ".14.png").write_bytes(b"hidden")
    (folder / "deeper").mkdir()
    Image.new("RGB", (9, 9)).save(folder / "deeper" / "1.png")
    return folder


def put(s3: S3Server, folder: Path, address: str) -> str:
    for path in folder.rglob("*"):
        if path.is_file():
            s3.put(f"{address}{path.relative_to(folder)}", path.read_bytes())
    return address


def planned(table: Path) -> list[dict[str, Any]]:
    probe = Probe(SMALL)
    try:
        return probe(list_inputs((str(table),), None).inputs.select(tables.INPUTS.names)).to_pylist()
    finally:
        probe.close()


def decoded(units: list[dict[str, Any]]) -> list[dict[str, Any]]:
    decode = Decode(SMALL)
    chunk = {"chunk_id": "c", "tasks": ["caption"], "passthrough": b"", "units": units}
    try:
        rows: list[dict[str, Any]] = (
            decode(pa.Table.from_pylist([chunk], schema=tables.CHUNKS)).column("units")[0].as_py()
        )
    finally:
        decode.close()
    return rows


def replayed(units: list[dict[str, Any]]) -> Opened:
    """As one unit, beside the engine."""
    spec = {
        "name": "test",
        "inputs": ["nowhere"],
        "output": "nowhere",
        "engine": {"kind": "scripted", "recording": __file__},
        "tasks": [{"name": "gui_episode", "parameters": {"device": "mobile", "instruction": "Go"}}],
    }
    (unit,) = [
        unit for unit in with_full_inputs(units, prepare(parse(spec, "test")).tasks) if unit["unit_kind"] == "episode"
    ]
    full_inputs = FullInputs(SMALL)
    facts = dict.fromkeys(field.name for field in tables.FACT_FIELDS)
    try:
        return full_inputs.open({**facts, "decode_s": 0.0, **unit})
    finally:
        full_inputs.close()


def but_for_addresses(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    left_out = ("input_id", "input_uri", "version", "decode_s")
    return [{name: value for name, value in row.items() if name not in left_out} for row in rows]


def table_of(tmp_path: Path, *folders: object) -> Path:
    path = tmp_path / "episodes.csv"
    path.write_text("\n".join(["path,n", *(f"{folder},1" for folder in folders)]))
    return path


def test_its_screens_and_its_story_are_those_of_a_folder(s3: S3Server, tmp_path: Path) -> None:
    folder = write_screens(tmp_path / "search")
    address = put(s3, folder, f"{s3.new_bucket()}/episodes/search/")
    here, there = planned(table_of(tmp_path, folder)), planned(table_of(tmp_path, address))
    assert [(unit["media"], unit["page"]) for unit in there] == [("episode", page) for page in range(1, 6)]
    assert but_for_addresses(there) == but_for_addresses(here)
    assert but_for_addresses(decoded(there)) == but_for_addresses(decoded(here))
    assert {unit["version"] is None for unit in there} == {False}
    broken = replayed(here).error
    assert broken is not None
    assert replayed(there).error == broken
    (folder / "13.png").unlink()
    clean = put(s3, folder, f"{s3.new_bucket()}/clean/")
    stories = [replayed(planned(table_of(tmp_path, place))).unit for place in (folder, clean)]
    parts = [list(map(_seen, story.content)) for story in stories if story is not None]
    assert len(parts[0]) == 8
    assert parts[0] == parts[1]


def _seen(part: Any) -> Any:
    return bytes(part.data) if isinstance(part, Picture) else part


@pytest.mark.parametrize("change", ["replaced", "added", "gone"])
def test_screens_that_changed_after_the_probe(s3: S3Server, tmp_path: Path, change: str) -> None:
    address = put(s3, write_screens(tmp_path / "search"), f"{s3.new_bucket()}/search/")
    units = planned(table_of(tmp_path, address))
    Image.fromarray(np.full((20, 20, 3), 7, np.uint8)).save(other := tmp_path / "other.png")
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if change == "gone":
        s3.client().delete_object(Bucket=bucket, Key=f"{key}9.png")
    else:
        s3.put(f"{address}{'9' if change == 'replaced' else '8'}.png", other.read_bytes())
    assert {row["error"]["kind"] for row in decoded(units)} == {"changed"}
    assert replayed(units).error["kind"] == "changed"


def test_what_is_no_episode(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.new_bucket()
    s3.put(f"{bucket}/texts/a.txt", b"x")
    s3.put(f"{bucket}/texts/b.txt", b"x")
    units = planned(table_of(tmp_path, f"{bucket}/texts/", f"{bucket}/nothing/"))
    assert [unit["error"]["kind"] for unit in units] == ["no_frames", "not_found"]
    monkeypatch.setattr(episode, "MOST_FILES", 1)
    with pytest.raises(InputError, match="more than 1 files below the folder"):
        episode.screens(f"{bucket}/texts/")


def test_what_a_row_is_opened_as_again() -> None:
    row = {"unit_kind": "image", "input_uri": "s3://bucket/search/"}
    assert media_of({**row, "media": "episode"}) == "episode"
    assert media_of({**row, "media": "image"}) == "image"

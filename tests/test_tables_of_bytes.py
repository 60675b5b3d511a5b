"""A table of bytes gives the rows that a folder of the same files gives, but for their addresses."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.load import parse
from operators.media.decode import Decode
from operators.media.probe import Probe
from operators.store.inputs import object_origin, table_cells
from operators.store.inputs.memory_origin import MemoryOrigin
from operators.store.memory import MemoryStore
from pipelines.job import prepare
from pipelines.listing import Listing, list_inputs
from pipelines.outlook import outlook
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import SpecError
from tests.support.bytes_tables import files_of, table_of, write_table
from tests.support.media import cut, write_clip, write_encrypted_pdf
from tests.support.object_server import S3Server
from tests.support.world import write_image, write_pdf, write_recording

SMALL = DecodeSettings(image_min_px=32 * 32, image_max_px=512 * 512, video_max_px=64 * 96 * 400, timeout_s=30)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTREAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SIGHTREAD_CACHE_MB", "1000")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all kinds, whole and otherwise."""
    folder = tmp_path_factory.mktemp("files")
    write_pdf(folder / "a.pdf", 3)
    cut(write_pdf(folder / "b.pdf", 2), 0.6)
    write_encrypted_pdf(folder / "c.pdf")
    write_clip(folder / "d.mp4", range(0, 3000, 100))
    cut(write_image(folder / "e.png"), 0.5)
    write_image(folder / "f.gif", frames=3)
    write_image(folder / "g.jpg")
    (folder / "h.png").write_bytes(b"")
    (folder / "i.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def rows_of_files(files: Path) -> list[dict[str, Any]]:
    return but_for_addresses(decoded(listed(files)))


@pytest.fixture
def folder(tmp_path: Path, files: Path) -> Path:
    return Path(shutil.copytree(files, tmp_path / "in"))


def listed(*entries: object) -> Listing:
    return list_inputs(tuple(map(str, entries)), Path("/nowhere"))


def decoded(listing: Listing, settings: DecodeSettings = SMALL) -> list[dict[str, Any]]:
    """All units of the inputs, decoded."""
    probe, decode = Probe(settings, workers=2), Decode(settings)
    try:
        units = probe(listing.inputs.select(tables.INPUTS.names)).to_pylist()
        chunk = {"chunk_id": "c", "tasks": ["ocr"], "passthrough": b"", "units": units}
        rows: list[dict[str, Any]] = (
            decode(pa.Table.from_pylist([chunk], schema=tables.CHUNKS)).column("units")[0].as_py()
        )
    finally:
        probe.close()
        decode.close()
    return rows


def but_for_addresses(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    left_out = ("input_id", "input_uri", "version", "decode_s")
    return [{name: value for name, value in row.items() if name not in left_out} for row in rows]


@pytest.mark.parametrize("layout", ["hugging_face", "large_binary"])
def test_the_rows_of_a_folder(tmp_path: Path, folder: Path, rows_of_files: list[dict[str, Any]], layout: str) -> None:
    files = files_of(folder)
    table = table_of(list(files.values()), layout, paths=list(files))
    table = write_table(tmp_path / "t.parquet", table, row_group_rows=2)
    rows = decoded(listed(table))
    assert but_for_addresses(rows) == rows_of_files
    assert {row["input_uri"] for row in rows} == {f"{table}#{row}" for row in range(len(files))}
    assert sum(row["error"] is None for row in rows) >= 9


def test_the_rows_of_a_folder_from_a_bucket(
    tmp_path: Path,
    folder: Path,
    rows_of_files: list[dict[str, Any]],
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    figure: Callable[[str], None],
) -> None:
    """And what is read of the table: it is fetched once."""
    files = files_of(folder)
    names = [f"in/{name}" for name in files]
    table = write_table(tmp_path / "t.parquet", table_of(list(files.values()), paths=names, n=range(len(files))))
    address, size = f"{s3.new_bucket()}/data/t.parquet", table.stat().st_size
    s3.put(address, table.read_bytes())
    asked, pieces = list[int](), object_origin.ObjectOrigin.pieces

    def counted(*about: Any) -> Any:
        for piece in pieces(*about):
            asked.append(len(piece))
            yield piece

    monkeypatch.setattr(object_origin.ObjectOrigin, "pieces", counted)
    listing = listed(address)
    assert listing.inputs.column("n").to_pylist() == list(range(len(files)))
    assert listing.inputs.column("image_path").to_pylist() == names
    assert set(listing.inputs.schema.names) == {*tables.INPUTS.names, "n", "image_path"}
    rows = decoded(listing)
    assert but_for_addresses(rows) == rows_of_files
    assert {row["input_uri"] for row in rows} == {f"{address}#{row}" for row in range(len(files))}
    figure(f"a table of bytes in a bucket: {sum(asked) / size:.3f} times its size is read to list, probe and decode it")
    assert sum(asked) <= 1.05 * size


def test_an_input_ahead_is_not_cut_out_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    passes, values = list[int](), table_cells.values
    monkeypatch.setattr(table_cells, "_PASSED_BYTES", 4 << 20)
    monkeypatch.setattr(table_cells, "values", lambda *about: passes.append(about[1]) or values(*about))
    picture = io.BytesIO()
    Image.new("RGB", (40, 30)).save(picture, "PNG")
    files = [picture.getvalue() + os.urandom(900_000) for _ in range(80)]
    pq.write_table(table_of(files), table := io.BytesIO(), row_group_size=40)
    MemoryStore("memory://ahead").put_if_absent("t.parquet", table.getvalue())
    assert [row["width_px"] for row in decoded(listed("memory://ahead/t.parquet"))] == [40] * 80
    assert len(passes) <= 8  # to probe and to decode, by two threads and one


def test_a_table_of_a_place_that_has_no_versions(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the web may be: then its footer is held against what was listed."""
    stat = MemoryOrigin.stat
    monkeypatch.setattr(MemoryOrigin, "stat", lambda *about: replace(stat(*about), version=None))
    store = MemoryStore("memory://versionless")
    picture = (folder / "g.jpg").read_bytes()
    store.put_if_absent("t.parquet", write_table(tmp_path / "t.parquet", table_of([picture])).read_bytes())
    listing = listed("memory://versionless/t.parquet")
    assert [row["error"] for row in decoded(listing)] == [None]
    monkeypatch.setenv("SIGHTREAD_CACHE", str(tmp_path / "another"))
    table_cells._tables._open.clear()
    there = store.stat("t.parquet")
    assert there is not None
    other = write_table(tmp_path / "t.parquet", table_of([picture + b"more"])).read_bytes()
    assert store.replace_if_same("t.parquet", other, there.version)
    assert [row["error"]["kind"] for row in decoded(listing)] == ["changed"]


def test_a_table_that_is_replaced_in_its_bucket(tmp_path: Path, folder: Path, s3: S3Server) -> None:
    address = f"{s3.new_bucket()}/t.parquet"
    table = table_of([(folder / "g.jpg").read_bytes()])
    s3.put(address, write_table(tmp_path / "t.parquet", table).read_bytes())
    listing = listed(address)
    s3.put(address, write_table(tmp_path / "t.parquet", table, compression="none").read_bytes())
    assert [row["error"] for row in decoded(listing)] == [None]  # this node has it
    os.environ["SIGHTREAD_CACHE"] = str(tmp_path / "another")
    # nor does this process have it open
    table_cells._tables._open.clear()
    assert [row["error"] and row["error"]["kind"] for row in decoded(listing)] == ["changed"]


def test_rows_without_bytes(tmp_path: Path, folder: Path) -> None:
    """Are named by their path, beside the table or anywhere, or else are rows that say so."""
    picture = (folder / "g.jpg").read_bytes()
    names = ["in/g.jpg", "in/a.pdf", str(folder / "f.gif"), None, "in/none.png", "in"]
    table = table_of([picture, None, None, None, None, None], paths=names)
    rows = listed(write_table(tmp_path / "t.parquet", table, row_group_rows=4)).inputs.to_pylist()
    assert [(row["input_uri"], row["media"], row["error"] and row["error"]["kind"]) for row in rows] == [
        (f"{tmp_path}/t.parquet#0", "image", None),
        (f"{folder}/a.pdf", "document", None),
        (f"{folder}/f.gif", "image", None),
        (f"{tmp_path}/t.parquet#3", None, "not_found"),
        (f"{folder}/none.png", "image", "not_found"),
        (f"{folder}", "episode", None),
    ]
    assert [row["version"] is not None for row in rows] == [True] + [False] * 5
    assert rows[3]["error"]["message"] == "its row of the input table has neither bytes nor a path"
    assert [row["image_path"] for row in rows] == names
    table = table_of([picture, None], "binary", path=["x.jpg", "in/a.pdf"])
    rows = listed(write_table(tmp_path / "u.parquet", table)).inputs.to_pylist()
    assert [row["input_uri"] for row in rows] == [f"{tmp_path}/u.parquet#0", f"{folder}/a.pdf"]
    assert [row["path"] for row in rows] == ["x.jpg", "in/a.pdf"]


def test_bytes_never_come_along(tmp_path: Path) -> None:
    table = table_of([b"1", b"2"], mask=[b"3", b"4"], text=["a", "b"], views=[[b"5"], []])
    listing = listed(write_table(tmp_path / "t.parquet", table))
    assert listing.inputs.schema.names[len(tables.INPUTS) :] == ["sample_text", "image_path"]
    assert sum(listing.skipped.values()) == 2
    assert "column 'mask' of a table of bytes, which holds bytes too" in listing.skipped


def test_an_empty_table_lists_nothing(tmp_path: Path) -> None:
    assert listed(write_table(tmp_path / "t.parquet", table_of([], n=pa.array([], pa.int64())))).inputs.num_rows == 0


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"images": pa.array([[b"1", b"2"]])}, "column 'images' holds lists of files"),
        (
            {"audio": pa.array([{"bytes": b"", "path": ""}], pa.struct({"bytes": pa.binary(), "path": pa.string()}))},
            "sound",
        ),
        ({"scan": pa.array([b"1"])}, "column 'scan' holds bytes: call it one of bytes, image, video, document, pdf"),
        ({"image": pa.array([b"1"]), "text": ["x"], "sample_text": ["x"]}, "two columns are called 'sample_text'"),
    ],
)
def test_what_is_refused_with_a_sentence(tmp_path: Path, columns: dict[str, pa.Array], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        listed(write_table(tmp_path / "t.parquet", pa.table(columns)))


@pytest.mark.parametrize("name", ["t.arrow", "t.feather", "t.parquet"])
def test_arrow_files_are_refused(tmp_path: Path, name: str) -> None:
    table = table_of([b"1"])
    with pa.OSFile(str(tmp_path / name), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(SpecError, match=r"Arrow file.* not read"):
        listed(tmp_path / name)


def test_a_job_plans_the_same_units(tmp_path: Path, folder: Path) -> None:
    files = files_of(folder)
    table = write_table(tmp_path / "t.parquet", table_of(list(files.values()), paths=list(files)), row_group_rows=3)
    recording = write_recording(tmp_path / "replies.jsonl")

    def units(*inputs: object) -> list[dict[str, Any]]:
        spec = {
            "name": "test",
            "inputs": list(map(str, inputs)),
            "output": str(tmp_path / "out"),
            "engine": {"kind": "scripted", "recording": str(recording)},
            "tasks": [{"name": "ocr"}, {"name": "events"}],
        }
        chunks = outlook(prepare(parse(spec, "test"))).work.chunks
        return [unit for row in chunks.column("units") for unit in row.as_py()]

    assert but_for_addresses(units(table)) == but_for_addresses(units(folder))

"""What an input is called or is instead of a file costs one row: names of any bytes, pipes, devices, loops, tables."""

from __future__ import annotations

import os
import socket
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.checks.intrinsics import find_intrinsics
from operators.media.decode import Decode
from operators.media.opened import media_of
from operators.media.probe import Probe
from operators.media.sandbox import Sandbox
from operators.media.source import opened_file
from pipelines.job import prepare
from pipelines.listing import Listing, list_inputs
from pipelines.local import answer
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import InputError, SpecError
from schemas.input_uri import path_of, text_of, uri_of
from schemas.spec import JobSpec
from schemas.unit import Locator
from tests.support.decord2 import BACKENDS
from tests.support.media import write_clip
from tests.support.world import write_image, write_pdf, write_recording

NAME = os.fsdecode(b"na\xefve %41#?.png")  # as a disk of the nineties has it, and what a URI has to escape


def listed(*entries: object) -> Listing:
    return list_inputs(tuple(map(str, entries)), Path("/nowhere"))


def rows_of(listing: Listing) -> list[dict[str, Any]]:
    """Units of the inputs, probed and decoded."""
    settings = DecodeSettings(image_max_px=64 * 64, timeout_s=30)
    probe, decode = Probe(settings), Decode(settings)
    try:
        units = probe(listing.inputs.select(tables.INPUTS.names)).to_pylist()
        chunk = {"chunk_id": "c", "tasks": ["ocr"], "passthrough": b"", "units": units}
        rows: list[dict[str, Any]] = decode(pa.Table.from_pylist([chunk], schema=tables.CHUNKS))["units"][0].as_py()
    finally:
        probe.close()
        decode.close()
    return rows


def kinds(rows: list[dict[str, Any]]) -> list[tuple[str, str] | None]:
    return [row["error"] and (row["error"]["kind"], row["error"]["message"]) for row in rows]


# names


@given(st.binary(min_size=1, max_size=60).filter(lambda name: b"\0" not in name))
def test_any_name_has_a_uri_that_is_text_and_leads_back(name: bytes) -> None:
    path = os.fsdecode(b"/" + name)
    uri = uri_of(path)
    uri.encode()
    assert os.fsencode(path_of(uri)) == os.fsencode(Path(path))
    assert uri == path or uri.startswith("file:///")
    assert text_of(path).encode().decode() == text_of(path)


def test_a_name_that_is_text_stays_as_it_is() -> None:
    for path in ("/a/b c.png", "/a/%41.png", "/é/#1?.png", "/file:/x"):
        assert uri_of(path) == path
        assert path_of(path) == Path(path)


@pytest.mark.parametrize("entry", ["folder", "file", "pattern", "csv", "parquet", "uri", "spec"])
def test_a_name_that_is_no_text_is_opened_by_its_bytes(tmp_path: Path, entry: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_image(folder / NAME)
    place: Path | str = folder
    match entry:
        case "spec":  # YAML holds no such name
            place = uri_of(str(folder / NAME))
        case "file":
            place = folder / NAME
        case "pattern":
            place = folder / "*.png"
        case "csv":
            place = tmp_path / "list.csv"
            place.write_bytes(b"path\nin/" + os.fsencode(NAME) + b"\n")
        case "parquet":
            place = tmp_path / "list.parquet"
            pq.write_table(pa.table({"path": pa.array([b"in/" + os.fsencode(NAME)])}), place)
        case "uri":  # results of a job as inputs of the next
            place = tmp_path / "list.csv"
            place.write_text(f"input_uri\n{uri_of(str(folder / NAME))}\n")
    listing = listed(place)
    assert listing.inputs["input_uri"].to_pylist() == [f"file://{folder}/na%EFve%20%2541%23%3F.png"]
    (row,) = rows_of(listing)
    assert (row["error"], row["width_px"]) == (None, 320)


def test_what_lies_by_a_name_that_is_no_text(tmp_path: Path) -> None:
    """An episode, what is beside a picture, and what looks a unit up again."""
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    write_image(folder / NAME)
    (folder / f"{NAME}.json").write_text('{"fx": 9, "fy": 8, "cx": 7, "cy": 6}')
    (folder / os.fsdecode(b"broken\xff.png")).write_bytes(b"x")
    (tmp_path / "list.csv").write_bytes(b"path\n\xff\n")
    listing = listed(tmp_path / "list.csv")
    rows = rows_of(listing)
    assert [row["unit_kind"] for row in rows] == ["image"] * 2
    assert kinds(rows)[1] is None
    assert rows[0]["error"]["message"].startswith("broken\ufffd.png: ")
    uri = rows[0]["input_uri"]
    assert media_of({"unit_kind": "image", "input_uri": uri, "media": None}) == "episode"
    camera = find_intrinsics({}, uri_of(str(folder / NAME)), 320, 160)
    assert camera is not None
    assert camera.source == "sidecar"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_video_whose_name_is_no_text(tmp_path: Path, backend: Any) -> None:
    path = write_clip(tmp_path / "a.mp4", range(0, 1000, 40)).rename(tmp_path / os.fsdecode(b"\xfe.mp4"))
    sandbox = Sandbox(replace(DecodeSettings(), video_backend=backend))
    uri = uri_of(str(path))
    assert sandbox.probe(uri, "video")["units"][0]["end_s"] == pytest.approx(1, abs=0.1)
    (batch,) = sandbox.decode(uri, "video", [Locator(start_s=0, end_s=1)])
    sandbox.close()
    assert not batch.column("error")[0].is_valid


@pytest.mark.parametrize(
    "name", ["a\0b.png", "x" * 300 + ".png", "d/" * 3000 + "a.png", "loop/a.png", "a.png/b.png", "\ud800.png"]
)
def test_a_name_that_nothing_can_have_is_a_row(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "loop").symlink_to("loop")
    entries = [tmp_path / name]
    if name.isascii():
        (tmp_path / "list.csv").write_text(f"path,x\n{name},1\n")
        pq.write_table(pa.table({"path": [name]}), tmp_path / "list.parquet")
        entries += [tmp_path / "list.csv", tmp_path / "list.parquet"]
    rows = rows_of(listed(*entries))
    assert [row["error"]["kind"] for row in rows] == ["not_found"] * len(entries)
    assert len({row["input_id"] for row in rows}) == len(entries)
    with pytest.raises(InputError), opened_file(tmp_path / name):
        pass


# what is no file


def test_pipes_sockets_devices_and_loops_in_a_folder_are_rows_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with closing(socket.socket(socket.AF_UNIX)) as server:
        os.mkfifo(folder / "pipe.pdf")
        server.bind(os.path.relpath(folder / "socket.mp4"))  # such a name has 107 bytes at most
        (folder / "device.png").symlink_to("/dev/zero")
        (folder / "terminal.png").symlink_to("/dev/tty")
        (folder / "to a pipe.mkv").symlink_to("pipe.pdf")
        (folder / "loop.png").symlink_to("loop.png")
        (folder / "nothing.png").symlink_to("gone.png")
        (folder / "self").symlink_to(folder)
        write_image(folder / "z.png")
        started = time.monotonic()
        rows = rows_of(listed(folder))
        assert time.monotonic() - started < 30  # the start of two decoders; none waits for a pipe
    expected = {
        "device.png": ("unknown_type", "this is a device"),
        "loop.png": ("not_found", "Too many levels of symbolic links"),
        "nothing.png": ("not_found", "No such file or directory"),
        "pipe.pdf": ("unknown_type", "this is a pipe"),
        "socket.mp4": ("unknown_type", "this is a socket"),
        "terminal.png": ("unknown_type", "this is a device"),
        "to a pipe.mkv": ("unknown_type", "this is a pipe"),
        "z.png": None,
    }
    assert dict(zip((Path(row["input_uri"]).name for row in rows), kinds(rows), strict=True)) == expected
    for name in ("pipe.pdf", "device.png", "to a pipe.mkv"):  # also where it was a file when it was listed
        with pytest.raises(InputError, match=r"this is a (pipe|device)"), opened_file(folder / name):
            pass
    rows = rows_of(listed(*(folder / name for name in expected if name != "z.png")))
    assert [row["error"]["kind"] for row in rows] == [fault[0] for fault in expected.values() if fault]


def test_folders_within_folders_end(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(300):
        folder /= "d"
    folder.mkdir(parents=True)
    write_image(folder / "deep.png")
    write_image(tmp_path / "a.png")
    listing = listed(tmp_path)
    assert [Path(uri).name for uri in listing.inputs["input_uri"].to_pylist()] == ["a.png"]
    assert listing.skipped == {"folder more than 200 deep": 1}


# tables


def _binary_header(path: Path) -> None:
    path.write_bytes(b"path,\xff\na.png,1\n")


def _bomb(path: Path) -> None:
    path.write_bytes(b"path\n" + b"x" * (3 << 20) + b"\n")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pipe.csv", os.mkfifo),
        ("pipe.parquet", os.mkfifo),
        ("device.csv", lambda path: path.symlink_to("/dev/zero")),
        ("huge cell.csv", _bomb),
        ("header.csv", _binary_header),
        ("latin.csv", lambda path: path.write_bytes(b"path,title\na.png,caf\xe9\n")),
        ("empty.csv", lambda path: path.write_bytes(b"")),
        ("ragged.csv", lambda path: path.write_bytes(b"path,x\na.png\n")),
        ("twice.csv", lambda path: path.write_bytes(b"path,path\na.png,b.png\n")),
        ("csv.parquet", lambda path: path.write_bytes(b"path\na.png\n")),
        ("magic.parquet", lambda path: path.write_bytes(b"PAR1" + b"\xff" * 99 + b"\xff\xff\xff\x7fPAR1")),
        ("lists.parquet", lambda path: pq.write_table(pa.table({"path": [["a.png"]]}), path)),
        ("objects.parquet", lambda path: pq.write_table(pa.table({"path": [{"a": 1}]}), path)),
        ("nulls.parquet", lambda path: pq.write_table(pa.table({"path": pa.nulls(3)}), path)),
        ("reserved.parquet", lambda path: pq.write_table(pa.table({"path": ["a"], "status": [1]}), path)),
    ],
)
def test_a_table_that_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, content: Any) -> None:
    content(tmp_path / name)
    with pytest.raises(SpecError) as caught:
        listed(tmp_path / name)
    assert str(caught.value).startswith(f"inputs: {tmp_path / name}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_parquet_table_with_damage_anywhere_is_a_sentence_or_rows(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"path": [f"{index}.png" for index in range(50)], "n": range(50)}), path)
    whole = path.read_bytes()
    dealt = np.random.default_rng(15)
    for _ in range(60):
        data = bytearray(whole)
        for place in dealt.integers(0, len(data), 4):
            data[place] = int(dealt.integers(0, 256))
        path.write_bytes(bytes(data))
        try:
            listed(path)
        except SpecError as error:
            assert "\n" not in str(error)  # noqa: PT017  either outcome is right


def test_a_table_that_unpacks_to_anything_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list.csv"
    with path.open("wb") as file:
        file.truncate(3 << 30)  # all of it a hole
    with pytest.raises(SpecError, match="it has more than 2048 MB"):
        listed(path)
    monkeypatch.setattr("pipelines.input_tables._MOST_TABLE_BYTES", 64 << 20)
    path = tmp_path / "list.parquet"  # a cell of 100 kB, 3,000 times by its number in a dictionary
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array(["x" * 100_000]))
    table = pa.table({"path": [f"{index}.png" for index in range(3000)], "note": cells})
    pq.write_table(table, path, store_schema=False)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(SpecError, match="it unpacks to more than 64 MB"):
        listed(path)


def test_an_entry_that_no_shell_would_pass_is_a_sentence_or_a_row(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"inputs: '~nobody-of-that-name/a\.png'"):
        listed("~nobody-of-that-name/a.png")
    assert listed("a\0*.png").inputs.num_rows == 1


def test_a_job_over_names_that_are_no_text(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_image(folder / NAME)
    write_pdf(folder / "a.pdf", pages=1).rename(folder / os.fsdecode(b"\xe9.pdf"))
    os.mkfifo(folder / "pipe.png")
    recording = write_recording(tmp_path / "replies.jsonl", {"task": "ocr", "reply": "A sign."})
    spec = JobSpec.model_validate(
        {
            "name": "test",
            "inputs": [str(folder)],
            "tasks": ["ocr"],
            "engine": {"kind": "scripted", "recording": str(recording)},
            "output": str(tmp_path / "out"),
        }
    )
    rows = {row["input_uri"].rpartition("/")[2]: (row["status"], row["text"]) for row in answer(prepare(spec))}
    assert rows == {
        "na%EFve%20%2541%23%3F.png": ("ok", "A sign."),
        "%E9.pdf": ("ok", "A sign."),
        "pipe.png": ("unreadable_input", None),
    }

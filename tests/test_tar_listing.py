"""Tar shards as inputs of a job: which samples they are, what comes along, and what hostile ones become."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from operators.media.decode import Decode
from operators.media.probe import Probe
from operators.store.inputs import tar_input
from operators.store.inputs.object_origin import ObjectOrigin
from operators.store.inputs.opened_input import opened_input
from pipelines.entries import shards
from pipelines.listing import Listing, list_inputs
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import InputError
from schemas.fetch import FetchSettings
from tests.support.media import write_clip
from tests.support.object_server import S3Server
from tests.support.world import write_image, write_pdf
from tests.test_tar_members import AFTER, BLOCK, END, HOSTILE, header, index, tar_of


def listed(*entries: str | Path) -> Listing:
    return list_inputs(tuple(map(str, entries)), None)


def shard(folder: Path, *members: tuple[str, bytes], name: str = "a.tar") -> Path:
    (folder / name).write_bytes(tar_of(*members))
    return folder / name


def outcomes(listing: Listing, path: Path | str) -> dict[str, str | None]:
    """Name of a member, empty for the rest of the shard -> kind of fault."""
    rows = listing.inputs.to_pylist()
    assert len({row["input_id"] for row in rows}) == len(rows)
    return {
        row["input_uri"].removeprefix(str(path)).removeprefix("#"): row["error"] and row["error"]["kind"]
        for row in rows
    }


def test_a_sample_is_its_media_and_the_texts_beside_them(tmp_path: Path) -> None:
    path = shard(
        tmp_path,
        *(("x/1.jpg", b"J" * 700), ("x/1.TXT", "Füße".encode()), ("x/1.json", b'{"a": 1}'), ("x/1.meta.json", b"[]")),
        *(("x/2.left.png", b"P"), ("x/2.right.png", b"Q"), ("x/2.cls", b"7"), ("x/2.text", b"t"), ("x/2.npy", b"!")),
        *(("1.pdf", b"%PDF-"), ("y/3.txt", b"alone"), ("y/4.pickle", b"c"), ("y/5.pyd", b""), ("y/.hidden.jpg", b"")),
        *(("__meta__/1.jpg", b""), ("noext", b""), ("./z.v1/6.mp4", b"m")),
    )
    listing = listed(path)
    rows = listing.inputs.to_pylist()
    assert [row["input_uri"] for row in rows] == [
        f"{path}#{name}" for name in ("x/1.jpg", "x/2.left.png", "x/2.right.png", "1.pdf", "./z.v1/6.mp4")
    ]
    assert [row["media"] for row in rows] == ["image", "image", "image", "document", "video"]
    assert rows[0]["version"] == f"@{BLOCK}+700"
    assert [row["size_bytes"] for row in rows] == [700, 1, 1, 5, 1]
    columns = listing.inputs.select(listing.inputs.schema.names[len(tables.INPUTS) :]).to_pydict()
    assert columns == {
        "txt": ["Füße", None, None, None, None],
        "json": ['{"a": 1}', None, None, None, None],
        "meta.json": ["[]", None, None, None, None],
        "cls": [None, "7", "7", None, None],
        "sample_text": [None, "t", "t", None, None],  # results have a column `text`
    }
    assert listing.skipped == {
        "unknown type .npy": 1,
        "unknown type .pickle": 1,
        "unknown type .pyd": 1,
        "unknown type without a suffix": 1,
        "sample without a picture, document or video": 1,
        "hidden file": 1,
        "metadata of a shard": 1,
    }


def test_a_split_key_is_one_sample_and_a_name_that_comes_twice_two_inputs(tmp_path: Path) -> None:
    path = shard(
        tmp_path,
        *(("1.jpg", b"a"), ("2.jpg", b"b"), ("1.txt", b"one"), ("2.txt", b"two")),
        *(("3.jpg", b"c"), ("3.jpg", b"d"), ("4.jpg", b"e"), ("4.txt", b"f"), ("4.txt", b"g")),
    )
    rows = listed(path).inputs.to_pylist()
    assert [(row["input_uri"][-5:], row["txt"]) for row in rows] == [
        *(("1.jpg", "one"), ("2.jpg", "two"), ("3.jpg", None), ("3.jpg", None), ("4.jpg", "f")),
    ]
    assert len({row["input_id"] for row in rows}) == 5
    assert [content(row) for row in rows[2:4]] == [b"c", b"d"]
    assert (rows[4]["error"]["kind"], rows[4]["error"]["message"]) == (
        "malformed",
        "its sample has two members .txt",
    )


def content(row: dict[str, Any]) -> bytes:
    with opened_input(row["input_uri"], row["version"]) as opened:
        return os.pread(opened.fd, 1 << 20, 0)


@pytest.mark.parametrize(
    ("text", "kind"), [(b"\xff\xfe", "malformed"), (b"x" * ((1 << 20) + 1), None), (b"\xef\xbb\xbfa", None)]
)
def test_a_text_that_is_none_is_the_fault_of_its_sample(tmp_path: Path, text: bytes, kind: str | None) -> None:
    path = shard(tmp_path, ("1.jpg", b"a"), ("1.txt", text), ("2.jpg", b"b"), ("2.txt", b"fine"))
    assert outcomes(listed(path), path) == {"1.jpg": kind, "2.jpg": None}


def test_columns_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [("1.jpg", b""), *((f"1.c{number}.json", b"") for number in range(70)), ("1.ü.json", b"")]
    listing = listed(shard(tmp_path, *many))
    assert listing.inputs.num_columns == len(tables.INPUTS) + shards.MOST_COLUMNS
    assert listing.skipped[f"text of a shard beyond {shards.MOST_COLUMNS} columns"] == 7
    monkeypatch.setattr(shards, "MOST_SHARD_TEXT_BYTES", 10)
    path = shard(tmp_path, ("1.jpg", b""), ("1.txt", b"x" * 11))
    assert outcomes(listed(path), path) == {"": "too_large"}


def test_shards_by_braces_globs_tables_and_folders(tmp_path: Path) -> None:
    for number in range(3):
        shard(tmp_path, ("1.jpg", b""), ("1.cls", b"%d" % number), name=f"s-{number:04}.tar")
    for entry in ("s-{0000..0002}.tar", "s-*.tar"):
        listing = listed(tmp_path / entry)
        assert listing.inputs["cls"].to_pylist() == ["0", "1", "2"]
        assert listing.inputs["input_uri"][0].as_py() == f"{tmp_path}/s-0000.tar#1.jpg"
    assert listed(tmp_path / "s-*.tar", tmp_path / "s-0000.tar").skipped == {"named twice": 1}
    assert listed(tmp_path).skipped == {"tar shard in a folder (those that are named are read: *.tar)": 3}
    write_image(tmp_path / "p.png")
    lines = ("path,n,cls,sample_cls", "p.png,1,,", "s-0001.tar,2,x,", "s-0002.tar,3,y,", "p.png,4,,", "none.tar,5,,")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    rows = listed(tmp_path / "list.csv").inputs.to_pylist()
    assert [(Path(row["input_uri"]).name, row["n"], row["cls"], row["sample_sample_cls"]) for row in rows] == [
        ("p.png", "1", "", None),
        ("s-0001.tar#1.jpg", "2", "x", "1"),
        ("s-0002.tar#1.jpg", "3", "y", "2"),
        ("p.png", "4", "", None),
        ("none.tar", "5", "", None),
    ]
    assert [row["error"] and row["error"]["kind"] for row in rows] == [None, None, None, None, "not_found"]


def test_a_member_may_be_named_itself(tmp_path: Path, s3: S3Server) -> None:
    """As rows name it."""
    path = shard(tmp_path, ("x/1.jpg", b"one"), ("2.pdf", b"two"))
    address = f"{s3.new_bucket()}/a.tar"
    s3.put(address, path.read_bytes())
    table = tmp_path / "list.csv"
    table.write_text(f"uri\na.tar#x/1.jpg\n{path}#2.pdf\n{address}#x/1.jpg\na.tar#none.jpg\nnone.tar#1.jpg\n")
    by_table, by_name = listed(table).inputs.to_pylist(), listed(f"{path}#x/1.jpg", f"{address}#2.pdf").inputs
    assert [(row["media"], row["error"]) for row in by_table] == [
        *(("image", None), ("document", None), ("image", None), ("image", None), ("image", None))
    ]
    assert [content(row) for row in by_table[:3]] == [b"one", b"two", b"one"]
    assert [content(row) for row in by_name.to_pylist()] == [b"one", b"two"]
    for row in by_table[3:]:
        with pytest.raises(InputError) as raised:
            content(row)
        assert raised.value.kind == "not_found"


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.TAR.zst"])
def test_a_packed_shard_is_not_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b" + bytes(100))
    listing = listed(tmp_path / name)
    assert outcomes(listing, tmp_path / name) == {"": "unknown_type"}
    assert "unpack it first" in listing.inputs["error"][0].as_py()["message"]
    (tmp_path / "b.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    assert outcomes(listed(tmp_path / "b.tar"), tmp_path / "b.tar") == {"": "malformed"}


GOOD = header(b"before.jpg", b"00000000002\0") + b"12".ljust(BLOCK, b"\0")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (header(b"x.jpg", kind=b"2", link=b"/etc/passwd"), {"x.jpg": "unknown_type"}),
        (header(b"x.jpg", kind=b"1", link=b"before.jpg"), {"x.jpg": "unknown_type"}),
        (header(b"x.jpg", kind=b"3"), {"x.jpg": "unknown_type"}),
        (header(b"x.jpg", kind=b"6"), {"x.jpg": "unknown_type"}),
        (HOSTILE["sparse"][: -len(AFTER + END)], {"holes.mp4": "unknown_type"}),
        (header(b"/etc/x.jpg"), {"/etc/x.jpg": "malformed"}),
        (header(b"../../x.jpg"), {"../../x.jpg": "malformed"}),
        (header(b"a/../x.jpg"), {"a/../x.jpg": "malformed"}),
    ],
)
def test_a_hostile_member_is_a_row_and_its_neighbors_are_read(
    tmp_path: Path, data: bytes, expected: dict[str, str]
) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(GOOD + data + AFTER + END)
    listing = listed(path)
    assert outcomes(listing, path) == {"before.jpg": None, **expected, "after.jpg": None}
    good = [row for row in listing.inputs.to_pylist() if row["error"] is None]
    assert [content(row) for row in good] == [b"12", b"abc"]


def test_the_rest_of_a_damaged_shard_is_a_row(tmp_path: Path, amount: Callable[[int, int], int]) -> None:
    """Cut at every 512th byte."""
    count = amount(5, 300)
    data = tar_of(*((f"{number:04}.jpg", bytes([number % 256]) * (700 * number % 4000)) for number in range(count)))
    path = tmp_path / "a.tar"
    full = index(data)[0]
    for cut in range(0, len(data) - 10_000, BLOCK):
        path.write_bytes(data[:cut])
        there = [member.name for member in full if cut and member.offset + member.size_bytes <= cut]
        ended = cut >= full[-1].offset + -(-full[-1].size_bytes // BLOCK) * BLOCK + 2 * BLOCK
        rest = {} if ended else {"": "truncated" if cut else "empty_file"}
        assert outcomes(listed(path), path) == {**dict.fromkeys(there), **rest}, cut
    path.write_bytes(GOOD + header(b"big.mp4", b"77777777777\0") + bytes(5000))
    listing = listed(path)
    assert outcomes(listing, path) == {"before.jpg": None, "": "truncated"}
    assert "'big.mp4', which should have 8589934591 bytes" in listing.inputs["error"][1].as_py()["message"]


def test_nothing_outside_is_written_read_or_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    (tmp_path / "a.tar").write_bytes(
        header(b"l.jpg", kind=b"2", link=str(secret).encode())
        + header(b"../w.jpg", b"00000000003\0") + b"abc".ljust(BLOCK, b"\0")
        + header(str(tmp_path / "v.jpg").encode(), b"00000000003\0") + b"abc".ljust(BLOCK, b"\0")
        + END
    )  # fmt: skip
    before = sorted(tmp_path.parent.rglob("*"))
    for row in listed("a.tar").inputs.to_pylist():
        assert row["error"] is not None
        with pytest.raises(InputError):  # by its name
            content({**row, "version": None})
    for entry in (f"pipe:touch {tmp_path}/started.tar", f"pipe:touch {tmp_path}/started #.tar"):
        assert [row["error"]["kind"] for row in listed(entry).inputs.to_pylist()] == ["not_found"]
    assert sorted(tmp_path.parent.rglob("*")) == before


Units: TypeAlias = Callable[[Listing], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def units() -> Iterator[Units]:
    of_decoding = DecodeSettings(video_fps=2, video_clip_s=1)
    probe, decode = Probe(of_decoding), Decode(of_decoding)
    yield partial(decoded, probe, decode)
    probe.close()
    decode.close()


def decoded(probe: Probe, decode: Decode, listing: Listing) -> list[dict[str, Any]]:
    """Without addresses and what follows from them. Several chunks ask for one input."""
    rows: list[dict[str, Any]] = []
    for unit in probe(listing.inputs.select(tables.INPUTS.names)).to_pylist():
        chunk = pa.table({"units": pa.array([[unit]], tables.CHUNKS.field("units").type)})
        rows += decode(chunk).column("units")[0].as_py()
    derived = {"input_id", "version", "decode_s"}
    return [
        {**{key: value for key, value in row.items() if key not in derived}, "input_uri": row["input_uri"][-5:]}
        for row in sorted(rows, key=lambda row: (row["input_uri"], row["unit_index"]))
    ]


def test_shards_give_the_units_that_the_folder_gives(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch, units: Units
) -> None:
    """And read no byte twice, unless the cache holds no shard."""
    fetched = counted(monkeypatch)
    folder = tmp_path / "in"
    folder.mkdir()
    write_image(folder / "1.png", "One")
    write_image(folder / "2.gif", "Two", frames=2)
    Image.new("RGB", (40, 30), "red").save(folder / "3.jpg")
    write_pdf(folder / "4.pdf", 3)
    write_clip(folder / "5.mp4", [number * 100 for number in range(30)])
    (folder / "6.png").write_bytes(b"no picture")
    expected = units(listed(folder))
    assert len(expected) == 11
    members = [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]
    path = shard(tmp_path, *members)
    address = f"{s3.new_bucket()}/b.tar"
    s3.put(address, path.read_bytes())
    assert units(listed(path)) == expected
    assert units(listed(address)) == expected
    assert sum(fetched) == path.stat().st_size
    fetched.clear()
    monkeypatch.setattr(tar_input, "CACHED_SHARE", 0)  # read through, and each member fetched alone
    monkeypatch.setenv("SIGHTREAD_CACHE", str(tmp_path / "another"))
    assert units(listed(address)) == expected
    assert sum(fetched) <= 2 * path.stat().st_size


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that come out of buckets from here on."""
    fetched: list[int] = []
    pieces = ObjectOrigin.pieces

    def counting(self: ObjectOrigin, *arguments: Any) -> Iterator[bytes]:
        for piece in pieces(self, *arguments):
            fetched.append(len(piece))
            yield piece

    monkeypatch.setattr(ObjectOrigin, "pieces", counting)
    return fetched


@settings(deadline=None)
@given(st.text("aB./_", min_size=1, max_size=12).map(lambda stem: f"{stem}.jpg"))
def test_samples_are_those_of_webdataset(name: str) -> None:
    """But for hidden files, which are samples there where they lie in a folder."""
    from webdataset.tariterators import base_plus_ext

    key, suffix = base_plus_ext(name)
    if name.startswith("/") or ".." in name.split("/") or (key or "").startswith("__"):
        return
    if name.rpartition("/")[2].startswith("."):
        key = suffix = None
    with tempfile.TemporaryDirectory() as folder:
        texts = [(f"{key}.txt", b"text")] if key else []
        path = shard(Path(folder), (name, b""), *texts)
        rows = listed(path).inputs.to_pylist()
    assert [(row["input_uri"], row["txt"]) for row in rows] == ([(f"{path}#{name}", "text")] if key else [])
    assert (key is None) == (suffix is None)


def test_webdataset_writes_what_is_read(tmp_path: Path) -> None:
    import webdataset

    picture = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(picture, "PNG")
    with webdataset.TarWriter(str(tmp_path / "w.tar")) as writer:
        for number in range(3):
            writer.write({"__key__": f"a/{number:03}", "png": picture.getvalue(), "json": {"n": number}, "cls": number})
    rows = listed(tmp_path / "w.tar").inputs.to_pylist()
    assert [(row["json"], row["cls"], row["error"]) for row in rows] == [
        (f'{{"n": {number}}}', str(number), None) for number in range(3)
    ]
    assert all(content(row) == picture.getvalue() for row in rows)


def test_members_of_every_kind_by_another_writer(tmp_path: Path) -> None:
    """Names of any length and letters, of folders and files, in all formats."""
    names = ["ü.jpg", "é" * 90 + ".png", "d/" * 60 + "x.pdf"]
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        (tmp_path / "a.tar").write_bytes(tar_of(*((name, name.encode()) for name in names), form=form))
        rows = listed(tmp_path / "a.tar").inputs.to_pylist()
        assert [row["input_uri"] for row in rows] == [f"{tmp_path}/a.tar#{name}" for name in names]
        assert [content(row) for row in rows] == [name.encode() for name in names]
    latin = header(b"caf\xe9.jpg") + header(b"caf\xe8.jpg") + END
    (tmp_path / "a.tar").write_bytes(latin)
    rows = listed(tmp_path / "a.tar").inputs.to_pylist()
    assert [row["input_uri"][-8:] for row in rows] == ["caf\ufffd.jpg"] * 2
    assert len({row["input_id"] for row in rows}) == 2


def test_shards_of_the_web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.web_server import web_server

    monkeypatch.setenv("SIGHTREAD_CACHE", str(tmp_path / "cache"))
    of_web = FetchSettings(allow_hosts=("localhost",), timeout_s=20)
    data = tar_of(("1.jpg", b"one"), ("1.txt", b"text"), ("2.jpg", b"two"))
    with web_server(tmp_path) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        address, signed = server.file("/a.tar", data), server.file("/b.tar?signed=x", data)
        listing = list_inputs((address, signed, address.replace("a.tar", "none.tar")), None, settings=of_web)
        rows = listing.inputs.to_pylist()
        assert [(row["input_uri"].removeprefix(address), row["txt"]) for row in rows[:2]] == [
            *(("#1.jpg", "text"), ("#2.jpg", None)),
        ]
        assert [row["error"]["kind"] for row in rows[2:]] == ["unknown_type", "not_found"]
        monkeypatch.setenv("SIGHTREAD_CACHE", str(tmp_path / "another"))  # as another node has it
        with opened_input(rows[1]["input_uri"], rows[1]["version"], of_web) as opened:
            assert os.pread(opened.fd, 10, 0) == b"two"

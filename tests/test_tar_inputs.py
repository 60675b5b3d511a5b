"""Members of tar shards as inputs: opened, listed and read like the files that they were."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.commands.overlay import write_overlays
from operators.store.inputs import tar_input
from operators.store.inputs.opened_input import opened_input
from operators.store.inputs.tar_input import TarPlace
from operators.store.memory import MemoryStore
from pipelines.listing import list_inputs
from schemas.decode import DecodeSettings
from schemas.errors import InputError
from tests.support.faulty_proxy import FaultyProxy
from tests.support.object_server import S3Server
from tests.support.stored import begin, put_rows
from tests.support.world import write_image
from tests.test_tar_members import AFTER, END, header, index, tar_of

MEMBERS = (("a.jpg", b"first" * 300), ("b/ü c.jpg", b"second"), ("empty.jpg", b""), ("large.mp4", b"large" * 30_000))


def content(address: str, version: str | None = None) -> bytes:
    with opened_input(address, version) as opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(opened.fd, b"x")
        return os.pread(opened.fd, 1 << 20, 0)


@pytest.fixture(params=["local", "file", "memory", "s3"])
def shard(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server) -> str:
    data = tar_of(*MEMBERS)
    if request.param == "s3":
        address = f"{s3.new_bucket()}/some/a.tar"
        s3.put(address, data)
        return address
    if request.param == "memory":
        MemoryStore(f"memory://{tmp_path.name}").put_if_absent("a.tar", data)
        return f"memory://{tmp_path.name}/a.tar"
    (tmp_path / "a.tar").write_bytes(data)
    return f"file://{tmp_path}/a.tar" if request.param == "file" else f"{tmp_path}/a.tar"


def test_a_member_is_a_file_of_its_own(shard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, and by its place; small and large."""
    monkeypatch.setattr(tar_input, "COPIED_BYTES", 100_000)
    for name, expected in MEMBERS:
        address = f"{shard}#{name}"
        with opened_input(address) as opened:
            version = opened.version
        assert version is not None
        assert TarPlace.of(version).size_bytes == len(expected)
        assert content(address) == content(address, version) == expected
    with pytest.raises(InputError, match="no such member"), opened_input(f"{shard}#c.jpg"):
        pass
    with pytest.raises(InputError) as raised, opened_input(f"{shard[:-5]}none.tar#c.jpg"):
        pass
    assert raised.value.kind == "not_found"


def test_a_member_is_fetched_alone_and_once_where_the_shard_is_not(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from operators.store.inputs.object_origin import ObjectOrigin

    address = f"{s3.new_bucket()}/a.tar"
    s3.put(address, tar_of(*MEMBERS))
    etag = s3.client().head_object(Bucket=address.split("/")[2], Key="a.tar")["ETag"]
    member = index(tar_of(*MEMBERS))[0][3]
    asked: list[tuple[int, int | None]] = []
    pieces = ObjectOrigin.pieces

    def counted(self: ObjectOrigin, address: str, version: str | None, start: int = 0, end: int | None = None):  # type: ignore[no-untyped-def]
        asked.append((start, end))
        return pieces(self, address, version, start, end)

    monkeypatch.setattr(ObjectOrigin, "pieces", counted)
    version = f"{etag}@{member.offset}+{member.size_bytes}"
    for _ in range(3):
        assert content(f"{address}#large.mp4", version) == MEMBERS[3][1]
    assert asked == [(member.offset, member.offset + member.size_bytes)]
    s3.put(address, tar_of(*MEMBERS[::-1]))
    with pytest.raises(InputError, match="was changed after it was listed"), opened_input(f"{address}#a.jpg", version):
        pass


def test_a_shard_that_fills_the_cache_is_read_through(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_input, "CACHED_SHARE", 0)
    address = f"{s3.new_bucket()}/a.tar"
    s3.put(address, tar_of(*MEMBERS))
    assert content(f"{address}#large.mp4") == MEMBERS[3][1]


def test_a_shard_of_this_machine_that_was_replaced_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of(*MEMBERS))
    with opened_input(f"{path}#large.mp4") as opened:
        version = opened.version
    for other in (tar_of(*MEMBERS[::-1]), tar_of(*MEMBERS)[:2000], b"", b"x" * 500_000):
        path.write_bytes(other)
        with pytest.raises(InputError) as raised, opened_input(f"{path}#large.mp4", version):
            pass
        assert raised.value.kind == "changed"


def test_a_member_is_drawn_into(tmp_path: Path) -> None:
    """Rows have no version: it is looked for by its name."""
    picture = write_image(tmp_path / "a.png")  # 320 x 160
    (tmp_path / "a.tar").write_bytes(tar_of(("x.txt", b""), ("x.png", picture.read_bytes())))
    result = {"objects": [{"label": "sign", "bbox_px": [32, 40, 160, 120]}]}
    row = {
        "input_id": "0123", "input_uri": f"{tmp_path}/a.tar#x.png", "unit_index": 0, "request_index": 0,
        "unit_kind": "image", "status": "ok", "width_px": 320, "height_px": 160, "result": result,
    }  # fmt: skip
    store = MemoryStore(f"memory://{tmp_path}/out")
    begin(store, {"ground_2d": {"decode": asdict(DecodeSettings())}})
    put_rows(store, "ground_2d", pa.Table.from_pylist([row]))
    (drawing,) = write_overlays(store.address, task=None, rows=5)
    assert not drawing.failed, drawing.text
    assert len(store.list("overlay")) == 1


def test_a_file_of_just_that_name_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a.tar#b.jpg").write_bytes(b"plain")
    (tmp_path / "a.tar").write_bytes(tar_of(("b.jpg", b"member"), ("c.tar#d.jpg", b"odd")))
    (tmp_path / "x.tar#y").mkdir()
    (tmp_path / "x.tar#y" / "z.tar").write_bytes(tar_of(("b.jpg", b"deep")))
    assert content(f"{tmp_path}/a.tar#b.jpg") == b"plain"
    assert content(f"{tmp_path}/a.tar#c.tar#d.jpg") == b"odd"
    assert content(f"{tmp_path}/x.tar#y/z.tar#b.jpg") == b"deep"


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (header(b"x.jpg", kind=b"2", link=b"/etc/passwd") + END, "unknown_type", "is a link"),
        (AFTER.replace(b"after", b"x\0\0\0\0") + END, "not_found", "no such member; the shard cannot be read"),
        (tar_of(("x.jpg", b"1"), ("x.jpg", b"2")), "malformed", "2 members of this name"),
    ],
)
def test_what_is_no_one_file_is_a_fault(tmp_path: Path, data: bytes, kind: str, message: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(InputError, match=message) as raised, opened_input(f"{tmp_path}/a.tar#x.jpg"):
        pass
    assert raised.value.kind == kind


def test_members_come_through_a_store_that_fails(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a shard that is read through, each fetched alone: all of them."""
    monkeypatch.setattr(tar_input, "CACHED_SHARE", 0)
    address = f"{proxy.new_bucket()}/a.tar"
    members = [(f"{number}.jpg", os.urandom(40_000)) for number in range(40)]
    proxy.put(address, tar_of(*members))
    proxy.faults(0.2, seed=5, stall_s=1.5)
    rows = list_inputs((address,), None).inputs.to_pylist()
    assert [row["error"] for row in rows] == [None] * len(members)
    assert [content(row["input_uri"], row["version"]) for row in rows] == [data for _, data in members]
    assert sum(proxy.counts().injected.values()) > 5

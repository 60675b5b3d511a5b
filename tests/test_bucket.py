"""A store in a bucket keeps its promises, and an input in one is read like a file: against a real S3 server."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from PIL import Image

from operators.media.probe import Probe
from operators.store import retries
from operators.store.bucket import BucketStore
from operators.store.inputs.cache import node_cache
from operators.store.inputs.opened_input import OpenedInput, opened_input
from operators.store.objects import Bucket
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import InputError, SpecError, StoreLost
from tests.support.faulty_proxy import FaultyProxy
from tests.support.object_server import S3Server


def content(opened: OpenedInput) -> bytes:
    with os.fdopen(os.dup(opened.fd), "rb") as file:
        file.seek(0)
        return file.read()


def test_a_file_is_put_once_and_replaced_by_who_knows_it(s3: S3Server) -> None:
    store = BucketStore(f"{s3.new_bucket()}/some/where/")
    assert store.put_if_absent("a/b.txt", b"1")
    assert not store.put_if_absent("a/b.txt", b"2")
    there = store.stat("a/b.txt")
    assert there is not None
    assert store.replace_if_same("a/b.txt", b"3", there.version)
    assert not store.replace_if_same("a/b.txt", b"4", there.version)
    assert store.open("a/b.txt").read() == b"3"
    assert (store.list(), store.list("a"), store.list("b"), store.stat("c")) == (["a/b.txt"], ["a/b.txt"], [], None)
    store.delete("a/b.txt")
    store.delete("a/b.txt")
    assert store.list() == []


@pytest.mark.parametrize("key", ["a b#c?d%20e.png", "ü/é.png", "a+b&c=d.txt", "x\\y", "a~b*'[]{}.png"])
def test_any_key_that_a_bucket_takes(s3: S3Server, key: str) -> None:
    store = BucketStore(s3.new_bucket())
    assert store.put_if_absent(key, b"x")
    assert (store.list(), store.open(key).read()) == ([key], b"x")


def test_what_is_not_there_is_said_in_a_sentence(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match=r"^s3://no-such-bucket is not there$"):
        BucketStore("s3://no-such-bucket").put_if_absent("a", b"")
    with pytest.raises(SpecError, match="name of a bucket"):
        BucketStore("s3:///a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SIGHTREAD_STORE_PATIENCE_S", "1")
    with pytest.raises(StoreLost, match="s3://lost-bucket/a does not answer"):
        BucketStore("s3://lost-bucket").stat("a")


def test_an_input_in_a_bucket_is_an_open_file_of_one_version(s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    s3.put(f"{bucket}/a.bin", b"first" * 3_000_000)
    with opened_input(f"{bucket}/a.bin") as opened:
        version = opened.version
        assert content(opened) == b"first" * 3_000_000
    s3.put(f"{bucket}/a.bin", b"second")
    with opened_input(f"{bucket}/a.bin", version) as opened:  # this node has it
        assert content(opened)[:5] == b"first"
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(InputError, match="was changed after it was listed"), opened_input(f"{bucket}/a.bin", version):
        pass
    s3.put(f"{bucket}/empty", b"")
    with opened_input(f"{bucket}/empty") as opened:
        assert content(opened) == b""
    with pytest.raises(InputError, match="is not there"), opened_input(f"{bucket}/none"):
        pass


def test_one_download_serves_all_that_ask_at_once(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from operators.store.inputs import object_origin

    address = f"{s3.new_bucket()}/a.bin"
    s3.put(address, bytes(range(256)) * 1000)
    asked: list[str] = []
    pieces = object_origin.ObjectOrigin.pieces

    def counted(self: object_origin.ObjectOrigin, address: str, *where: object) -> object:
        asked.append(address)
        return pieces(self, address, *where)  # type: ignore[arg-type]

    monkeypatch.setattr(object_origin.ObjectOrigin, "pieces", counted)
    barrier, contents = Barrier(8), list[bytes]()

    def read() -> None:
        barrier.wait()
        with opened_input(address) as opened:
            contents.append(content(opened))

    threads = [Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents == [bytes(range(256)) * 1000] * 8
    assert asked == [address]


def test_a_picture_in_a_bucket_is_probed(s3: S3Server) -> None:
    bucket = s3.new_bucket()
    png = io.BytesIO()
    Image.new("RGB", (64, 48)).save(png, "PNG")
    s3.put(f"{bucket}/a.png", png.getvalue())
    names = ("a.png", "missing.png")
    rows = [{"input_id": name, "input_uri": f"{bucket}/{name}", "media": "image"} for name in names]
    probe = Probe(DecodeSettings())
    try:
        units = probe(tables.INPUTS.empty_table().from_pylist(rows, schema=tables.INPUTS)).to_pylist()
    finally:
        probe.close()
    assert [unit["error"] and unit["error"]["kind"] for unit in units] == [None, "not_found"]
    assert units[0]["version"]


def test_a_listing_that_breaks_off_goes_on(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred pages one in twenty fails: all of them at once never come."""
    bucket = s3.new_bucket()
    for number in range(30):
        s3.put(f"{bucket}/in/{number:02}.txt", b"x")
    import obstore

    listing, calls = obstore.list, list[str | None]()

    def breaking(store: object, prefix: str | None, *, offset: str | None, chunk_size: int) -> Iterator[object]:
        calls.append(offset)
        for count, page in enumerate(listing(store, prefix, offset=offset, chunk_size=10)):  # type: ignore[call-overload]
            if count:
                raise obstore.exceptions.GenericError("status code: 503 Service Unavailable")
            yield page

    monkeypatch.setattr(obstore, "list", breaking)
    names = [entry.key for entry in Bucket(bucket).below("in")]
    assert names == [f"in/{number:02}.txt" for number in range(30)]
    assert calls == [None, "in/09.txt", "in/19.txt"]


def test_a_bucket_that_goes_in_mid_run_is_lost_and_no_fault_of_an_input(s3: S3Server) -> None:
    bucket = s3.new_bucket()
    s3.put(f"{bucket}/a.bin", b"content")
    with opened_input(f"{bucket}/a.bin") as opened:
        version = opened.version
    for path in node_cache().folder.iterdir():
        path.unlink()
    name = bucket.removeprefix("s3://")
    s3.client().delete_object(Bucket=name, Key="a.bin")
    s3.client().delete_bucket(Bucket=name)
    with pytest.raises(StoreLost, match="is not there any more"), opened_input(f"{bucket}/a.bin", version):
        pass
    with pytest.raises(InputError, match="is not there"), opened_input(f"{bucket}/a.bin"):
        pass


def test_a_right_that_is_withdrawn_in_mid_run_is_no_fault_of_an_input(
    proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "LONGEST_S", 0.01)
    bucket = proxy.new_bucket()
    for name in ("a.bin", "b.bin"):
        proxy.put(f"{bucket}/{name}", b"content")
    proxy.faults(1.0, kinds=("403",))
    with pytest.raises(InputError, match="status 403"), opened_input(f"{bucket}/b.bin"):  # nothing was read yet
        pass
    proxy.faults()
    with opened_input(f"{bucket}/a.bin"):
        pass
    proxy.faults(1.0, kinds=("403",))
    with pytest.raises(StoreLost, match=r"b.bin: status 403.*; so is .*/a.bin by now"), opened_input(f"{bucket}/b.bin"):
        pass


def test_an_input_that_alone_is_forbidden_is_a_row_of_its_own(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.new_bucket()
    s3.put(f"{bucket}/a.bin", b"content")
    with opened_input(f"{bucket}/a.bin"):
        pass
    real = Bucket.pieces

    def pieces(self: Bucket, key: str, *more: Any) -> Iterator[bytes]:
        if key == "b.bin":
            raise InputError("permission", "b.bin is refused")
        return real(self, key, *more)

    monkeypatch.setattr(Bucket, "pieces", pieces)
    with pytest.raises(InputError, match="is refused"), opened_input(f"{bucket}/b.bin", "v"):
        pass

"""Inputs are fetched ahead of who reads them, within bounds, and each once: counted at the store's door."""

from __future__ import annotations

import io
import random
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image
from rich.console import Console

from jobs import display
from jobs.display import Display
from operators.media import ahead
from operators.media.ahead import AHEAD, AHEAD_BYTES, THREADS, Ahead, Run
from operators.media.decode import Decode
from operators.media.probe import Probe
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import StoreLost
from schemas.fetch import FetchSettings
from tests.support.faulty_proxy import FaultyProxy


def pictures(proxy: FaultyProxy, count: int) -> list[str]:
    """Addresses of small ones in a new bucket, each of its own color."""
    bucket = proxy.new_bucket()
    for number in range(count):
        png = io.BytesIO()
        Image.new("RGB", (32, 24), (number % 256, 9, 99)).save(png, "PNG")
        proxy.put(f"{bucket}/{number:04d}.png", png.getvalue())
    return [f"{bucket}/{number:04d}.png" for number in range(count)]


def listed(addresses: list[str], media: str = "image") -> pa.Table:
    rows = [{"input_id": address, "input_uri": address, "media": media} for address in addresses]
    return pa.Table.from_pylist(rows, schema=tables.INPUTS)


def probed(addresses: list[str]) -> list[dict[str, Any]]:
    probe = Probe(DecodeSettings())
    try:
        units: list[dict[str, Any]] = probe(listed(addresses)).to_pylist()
    finally:
        probe.close()
    return units


def decoded(units: list[dict[str, Any]]) -> list[dict[str, Any]]:
    chunk = {
        "chunk_id": "a",
        "tasks": ["ocr"],
        "units": [{**dict.fromkeys(tables.UNITS.names), **unit} for unit in units],
        "passthrough": b"",
    }
    decode = Decode(DecodeSettings())
    try:
        (row,) = decode(pa.Table.from_pylist([chunk], schema=tables.CHUNKS)).to_pylist()
    finally:
        decode.close()
    return list(row["units"])


def emptied(cache: Path) -> None:
    for path in cache.rglob("*"):
        if path.is_file():
            path.unlink()


@pytest.mark.parametrize("stage", ["probe", "decode"])
def test_pictures_are_fetched_ahead(
    proxy: FaultyProxy,
    stage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    amount: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    addresses = pictures(proxy, amount(40, 200))
    units = probed(addresses)
    probed_units, decoded_units = units, decoded(units)
    assert [unit["error"] for unit in decoded_units] == [None] * len(addresses)
    proxy.faults(delay_s=0.03)
    ahead_of, times = Ahead.of, dict[bool, list[float]]()
    for fetching_ahead in [False, True] * amount(1, 3):
        monkeypatch.setattr(Ahead, "of", ahead_of if fetching_ahead else _nothing_ahead)
        emptied(tmp_path / "cache")
        proxy.counts(anew=True)
        started = time.monotonic()
        if stage == "probe":
            assert probed(addresses) == probed_units
        else:
            again = decoded(units)
            assert [unit["pictures"] for unit in again] == [unit["pictures"] for unit in decoded_units]
        times.setdefault(fetching_ahead, []).append(time.monotonic() - started)
        counts = proxy.counts()
        assert counts.most_at_once <= THREADS
        assert (counts.most_at_once > 1) == fetching_ahead
        assert all(count <= 2 for key, count in counts.requests.items() if key.startswith("GET"))
    before, after = (statistics.median(times[fetching_ahead]) for fetching_ahead in (False, True))
    figure(
        f"{stage} of {len(addresses)} pictures, 30 ms a request: {before:.2f} s one after another, {after:.2f} s "
        f"fetched ahead, {before / after:.1f} times as fast (medians of {amount(1, 3)})"
    )


def _nothing_ahead(self: Ahead, inputs: Any) -> Run:
    return Run(inputs, None, self._fetched)


def test_what_is_wrong_with_one_is_its_own_row(proxy: FaultyProxy) -> None:
    addresses = pictures(proxy, 6)
    proxy.put(addresses[2], b"no picture")
    proxy.client().delete_object(Bucket=addresses[4].split("/")[2], Key="0004.png")
    kinds = [unit["error"] and unit["error"]["kind"] for unit in probed(addresses)]
    assert kinds == [None, None, "malformed", None, "not_found", None]


def test_a_store_that_is_lost_ends_the_probe(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTREAD_STORE_PATIENCE_S", "0.5")
    addresses = pictures(proxy, 3)
    proxy.faults(1.0, kinds=["500"])
    with pytest.raises(StoreLost, match="does not answer"):
        probed(addresses)


@pytest.mark.parametrize("size_bytes", [1, 100 << 20])
def test_no_more_is_fetched_ahead_than_stated(size_bytes: int) -> None:
    started: list[int] = []

    def fetch(address: str, version: str | None) -> tuple[str, int]:
        started.append(int(address.removeprefix("memory://a/")))
        time.sleep(random.random() / 1000)
        return f"version of {address}", size_bytes

    inputs: list[tuple[str, str | None] | None] = [(f"memory://a/{number}", None) for number in range(100)]
    inputs[1] = ("/local/file", None)
    inputs[2] = None
    read = most = 0
    with ThreadPoolExecutor(THREADS) as pool:
        run = Run(inputs, pool, fetch)
        for index, entry in enumerate(inputs):
            time.sleep(0.003)
            most = max(most, len(started) - read)
            expected = f"version of {entry[0]}" if index not in (1, 2) and entry is not None else None
            version = run.version(index)
            assert version == expected
            read += version is not None
    assert THREADS <= most <= (AHEAD if size_bytes == 1 else AHEAD_BYTES // size_bytes + THREADS)
    assert sorted(started) == [number for number in range(100) if number not in (1, 2)]


def test_who_waits_long_is_told_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "WAIT_S", 0.05)
    waited: list[str] = []

    def fetch(address: str, version: str | None) -> tuple[str, int]:
        while len(waited) < 3:
            time.sleep(0.01)
        return "1", 1

    with ThreadPoolExecutor(THREADS) as pool:
        assert Run([("memory://a/film.mp4", None)], pool, fetch, waited.append).version(0) == "1"
    assert set(waited) == {"memory://a/film.mp4"}


def test_a_lost_store_is_waited_for_once() -> None:
    asked: list[str] = []

    def fetch(address: str, version: str | None) -> tuple[str, int]:
        asked.append(address)
        time.sleep(0.05)
        raise StoreLost("s3://a does not answer for 300 s")

    with ThreadPoolExecutor(THREADS) as pool:
        run = Run([(f"memory://a/{number}", None) for number in range(100)], pool, fetch)
        with pytest.raises(StoreLost):
            run.version(0)
    assert len(asked) == THREADS


def test_a_disk_that_is_full_ends_the_probe(
    proxy: FaultyProxy, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No input is to blame: rows that fail would be kept."""
    bucket = proxy.new_bucket()
    png = io.BytesIO()
    Image.effect_noise((1000, 1000), 90).save(png, "PNG")
    proxy.put(f"{bucket}/a.png", png.getvalue())
    monkeypatch.setenv("SIGHTREAD_CACHE", str(small_disk / "cache"))
    with pytest.raises(StoreLost, match="No space left on device; make room there, or name another folder"):
        probed([f"{bucket}/a.png"])


def test_nothing_is_started_for_files_of_this_machine() -> None:
    fetching = Ahead(FetchSettings())
    run = fetching.of([("/a.png", None), ("file:///b.png", None), None])
    assert [run.version(index) for index in range(3)] == [None] * 3
    assert fetching._pool is None


def test_a_long_fetching_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    shown = Display(Console(file=printed, width=100))
    shown.listed(3, {})
    shown.fetched(5 << 20)
    assert "fetched" not in printed.getvalue()
    monkeypatch.setattr(display, "_PLAIN_EVERY_S", 0.0)
    shown.fetched(7 << 20)
    shown.waiting("https://host/film.mp4?signature=planted")
    assert printed.getvalue().splitlines() == ["3 inputs", "fetched 2 inputs, 12 MB", "fetching https://host/film.mp4"]

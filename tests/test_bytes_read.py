"""What is read from a store per input: once for a node, however many processes open it. Counted at the proxy."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.demo_media import encode_clip
from operators.media.probe import Probe
from pipelines.listing import list_inputs
from schemas import tables
from schemas.checkout import ROOT
from schemas.decode import DecodeSettings
from tests.support.faulty_proxy import FaultyProxy
from tests.support.world import write_pdf

MOST = 1.05
SETTINGS = DecodeSettings(video_clip_s=1.0)
DECODING = """
import sys
import pyarrow as pa
from operators.media.decode import Decode
from schemas.decode import DecodeSettings
with pa.ipc.open_file(sys.argv[1]) as file:
    chunks = file.read_all()
decode = Decode(DecodeSettings(video_clip_s=1.0))
for row in range(int(sys.argv[2]), chunks.num_rows, int(sys.argv[3])):
    for unit in decode(chunks.slice(row, 1)).column("units")[0].as_py():
        print(unit["error"])
decode.close()
"""


def pdf(folder: Path) -> bytes:
    return write_pdf(folder / "a.pdf", 40).read_bytes()


def clip(folder: Path) -> bytes:
    frames = [Image.effect_noise((96, 64), 90).convert("RGB") for _ in range(48)]
    encode_clip(folder / "a.mp4", frames, 4)
    return (folder / "a.mp4").read_bytes()


def large_picture(folder: Path) -> bytes:
    png = io.BytesIO()
    Image.effect_noise((3400, 3400), 90).save(png, "PNG", compress_level=0)
    return png.getvalue()


def probed(addresses: list[str]) -> list[dict[str, Any]]:
    probe = Probe(SETTINGS, workers=2)
    try:
        units: list[dict[str, Any]] = probe(
            list_inputs(tuple(addresses), None).inputs.select(tables.INPUTS.names)
        ).to_pylist()
    finally:
        probe.close()
    assert not [unit["error"] for unit in units if unit["error"]]
    return units


def decode_in_processes(units: list[dict[str, Any]], folder: Path, count: int) -> int:
    """Units that were decoded well by so many processes, which take turns with chunks of two."""
    full = [{**dict.fromkeys(tables.UNITS.names), **unit} for unit in units]
    rows = [
        {"chunk_id": f"{start}", "tasks": ["look"], "units": full[start : start + 2], "passthrough": b""}
        for start in range(0, len(full), 2)
    ]
    chunks = pa.Table.from_pylist(rows, schema=tables.CHUNKS)
    with pa.ipc.new_file(folder / "chunks.arrow", chunks.schema) as file:
        file.write_table(chunks)
    arguments = [str(folder / "chunks.arrow")]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", DECODING, *arguments, f"{number}", f"{count}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * count
    return "".join(printed).splitlines().count("None")


def tar_shard(folder: Path) -> bytes:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as shard:
        for name, data in (("a.pdf", pdf(folder)), ("b.mp4", clip(folder)), *_pictures()):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            shard.addfile(info, io.BytesIO(data))
    return tar.getvalue()


def table_of_bytes(folder: Path) -> bytes:
    table = pa.table({"bytes": [pdf(folder), clip(folder), *(data for _, data in _pictures())]})
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=5)
    return file.getvalue()


def _pictures() -> Iterator[tuple[str, bytes]]:
    for number in range(20):
        png = io.BytesIO()
        Image.effect_noise((300, 200), 90).save(png, "PNG")
        yield f"{number}.png", png.getvalue()


DRAWN: list[tuple[str, Callable[[Path], bytes]]] = [
    ("a.pdf", pdf),
    ("a.mp4", clip),
    ("a.png", large_picture),
    ("a.tar", tar_shard),
    ("a.parquet", table_of_bytes),
]


@pytest.mark.parametrize(("name", "draw"), DRAWN, ids=[name for name, _ in DRAWN])
def test_a_node_reads_an_input_once(
    proxy: FaultyProxy,
    tmp_path: Path,
    name: str,
    draw: Callable[[Path], bytes],
    amount: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    data = draw(tmp_path)
    address = f"{proxy.new_bucket()}/{name}"
    proxy.put(address, data)
    proxy.counts(anew=True)

    units = probed([address])
    assert decode_in_processes(units, tmp_path, 1) == len(units)
    requests, received = proxy.received(address)
    assert received <= MOST * len(data)

    for path in (tmp_path / "cache").rglob("*"):  # as another node: nothing was probed there
        if path.is_file():
            path.unlink()
    proxy.counts(anew=True)
    processes = amount(2, 4)
    assert decode_in_processes(units, tmp_path, processes) == len(units)
    other_requests, other_received = proxy.received(address)
    assert other_received <= MOST * len(data)
    figure(
        f"{name}: {len(data)} bytes, {len(units)} units; one node: {requests} GETs of "
        f"{received / len(data):.2f}x; {processes} processes of another: {other_requests} of "
        f"{other_received / len(data):.2f}x"
    )


def test_many_pictures_are_read_once_each(
    proxy: FaultyProxy, tmp_path: Path, amount: Callable[[int, int], int]
) -> None:
    bucket = proxy.new_bucket()
    sizes = {}
    for number in range(amount(20, 200)):
        png = io.BytesIO()
        Image.new("RGB", (32, 24), (number % 256, 9, 99)).save(png, "PNG")
        sizes[f"{bucket}/{number}.png"] = len(png.getvalue())
        proxy.put(f"{bucket}/{number}.png", png.getvalue())
    proxy.counts(anew=True)
    units = probed(list(sizes))
    assert decode_in_processes(units, tmp_path, 2) == len(units)
    assert {address: proxy.received(address)[1] for address in sizes} == sizes

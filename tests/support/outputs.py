"""An output by hand: two slices of one task, answered and published, without a run."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from operators.store.part_log import PARTS, PartLog
from operators.store.results import Results
from operators.store.store import Store, read
from operators.store.view import RESULTS, View
from pipelines.folder import JobFolder
from pipelines.rounds import Round
from schemas import tables
from tests.support.result_rows import chunk_id, rows

CHUNKS = {
    chunk_id(slice_, 0, slice_, number): [(f"{slice_}{number}", unit) for unit in range(2)]
    for slice_, number in ((0, 0), (0, 1), (0, 2), (1, 0))
}
"""chunk_id -> units."""
FIRST = next(iter(CHUNKS))


def plan(store: Store, chunks: dict[str, list[tuple[str, int]]] = CHUNKS) -> JobFolder:
    folder = JobFolder(store)
    folder.claim()
    inputs = sorted({input_id for units in chunks.values() for input_id, _ in units})
    plain: list[dict[str, Any]] = [
        {"input_id": input_id, "input_uri": f"/{input_id}.pdf", "slice": 0} for input_id in inputs
    ]
    folder.write_piece(0, 0, pa.Table.from_pylist(plain, schema=tables.INPUTS))
    planned = [
        {
            "chunk_id": chunk, "tasks": ["ocr"], "passthrough": b"",
            "units": [{"input_id": one, "unit_index": unit, "generation": 0, "attempt": 1} for one, unit in units],
        }
        for chunk, units in chunks.items()
    ]  # fmt: skip
    folder.write_chunks(0, 0, pa.Table.from_pylist(planned, schema=tables.CHUNKS))
    engine = {"kind": "scripted", "recording": "x"}
    spec = {"name": "t", "inputs": ["in"], "tasks": ["ocr"], "output": "out", "engine": engine}
    folder.add_round(Round(0, "first", (0,), {"ocr": {}}, "then", "somebody", spec))
    return folder


def answer(store: Store, chunk: str, text: str = "x", *, task: str = "ocr", **row: Any) -> None:
    plain = [{"input_id": one, "unit_index": unit, "text": text, **row} for one, unit in CHUNKS[chunk]]
    PartLog(store).write(task, chunk, rows(chunk, plain))


def revise(store: Store, chunk: str, text: str = "y") -> None:
    log = PartLog(store)
    part = log.read(log.parts("ocr")[chunk])
    log.revise(part, rows(chunk, [{"input_id": one, "unit_index": unit, "text": text} for one, unit in CHUNKS[chunk]]))


def finished(store: Store) -> Store:
    folder = plan(store)
    for chunk in CHUNKS:
        answer(store, chunk)
    revise(store, FIRST)
    View(store).publish_all(["ocr"], {})
    folder.write_summary({"complete": True, "rounds": 1, "tasks": {"ocr": {}}})
    return store


def files(store: Store) -> list[str]:
    return [key for folder in (PARTS, RESULTS) for key in store.list(folder)]


def change(store: Store, key: str, data: bytes) -> None:
    store.delete(key)
    assert store.put_if_absent(key, data)


def flip(store: Store, key: str, bit: int) -> None:
    data = bytearray(read(store, key))
    data[bit // 8] ^= 1 << bit % 8
    change(store, key, bytes(data))


def texts(store: Store) -> list[tuple[str, int, str]]:
    names = ("input_id", "unit_index", "text")
    table = Results(store).rows("ocr", names).read_all()
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))

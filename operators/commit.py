"""Write one part, once: the part in its place is the commit. Knows nothing of Ray or of what the rows say.

A part is written under a temporary name, synced, and put in place by creating the final name only if it is
absent (`os.link` fails when it is there). So readers never see half a file, the first writer wins whatever
Ray runs twice, and a late attempt that finds the part there checks that it holds the same units.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas import tables
from schemas.errors import JobConflict

FOOTER_KEY = b"sightread"


class Commit:
    """ANSWERED in, RECEIPTS out. output: the job's folder.

    Total: what cannot be written (a full disk) is a receipt that says so; the chunk stays open and the same
    command again does it.
    """

    def __init__(self, output: Path) -> None:
        self._output = output

    def __call__(self, answered: pa.Table) -> pa.Table:
        receipts = [self._commit(row) for row in answered.to_pylist()]
        return pa.Table.from_pylist(receipts, schema=tables.RECEIPTS)

    def _commit(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["fault"] is not None:
            return {key: row[key] for key in ("chunk_id", "task")} | {"outcome": "no_engine", "message": row["fault"]}
        started = time.monotonic()
        rows = pa.ipc.open_stream(row["rows"]).read_all()
        same = {key: row[key] for key in ("chunk_id", "task", "engine")}
        receipt = {**same, "message": None, **count(rows)}
        try:
            outcome = write_part(self._output, row["task"], row["chunk_id"], rows)
        except (OSError, JobConflict, pa.ArrowException) as error:
            return {**receipt, "outcome": "failed", "message": f"{error}"}
        return {**receipt, "outcome": outcome, "commit_s": time.monotonic() - started}


def part_path(output: Path, task: str, chunk_id: str) -> Path:
    return output / "results" / f"task={task}" / f"part-{chunk_id}.parquet"


def write_part(output: Path, task: str, chunk_id: str, rows: pa.Table) -> str:
    """Returns `committed`, or `duplicate` when a part with the same units is already there.

    Raises JobConflict when the part that is there holds other units; OSError when the disk says no.
    """
    final = part_path(output, task, chunk_id)
    footer, table = _with_footer(task, chunk_id, rows)
    if create_if_absent(final, output / "_job" / "tmp", lambda path: pq.write_table(table, path, compression="zstd")):
        return "committed"
    there = read_footer(final)
    if there != footer:
        raise JobConflict(f"{final} is there and holds other units than this attempt: {there} against {footer}")
    return "duplicate"


def replace_part(output: Path, task: str, chunk_id: str, rows: pa.Table) -> None:
    """Swap a part for one with the same units and other answers. Raises JobConflict when the units differ."""
    final = part_path(output, task, chunk_id)
    footer, table = _with_footer(task, chunk_id, rows)
    there = read_footer(final)
    if there != footer:
        raise JobConflict(f"{final} holds other units than what would take its place: {there} against {footer}")
    temporary = _temporary(output / "_job" / "tmp")
    try:
        pq.write_table(table, temporary, compression="zstd")
        _sync(temporary)
        temporary.replace(final)
        _sync(final.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _with_footer(task: str, chunk_id: str, rows: pa.Table) -> tuple[dict[str, Any], pa.Table]:
    footer = {"chunk_id": chunk_id, "task": task, "rows": rows.num_rows, "identity": identity(rows)}
    return footer, rows.replace_schema_metadata({FOOTER_KEY: json.dumps(footer).encode()})


def _temporary(tmp: Path) -> Path:
    """A new name there that `sweep_temporaries` knows."""
    tmp.mkdir(parents=True, exist_ok=True)
    return tmp / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}.tmp"


def create_if_absent(final: Path, tmp: Path, write: Any) -> bool:
    """Put a file in place, whole or not at all; False when one is there already. `write(path)` fills it."""
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(tmp)
    try:
        write(temporary)
        _sync(temporary)
        try:
            os.link(temporary, final)
        except FileExistsError:
            return False
        _sync(final.parent)
        return True
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def sweep_temporaries(tmp: Path) -> None:
    """Remove what writers of this machine left behind when they were killed. Drafts of the living stay."""
    for temporary in tmp.glob(f"{socket.gethostname()}-*.tmp"):
        pid = temporary.name.removeprefix(f"{socket.gethostname()}-").split("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            temporary.unlink(missing_ok=True)


def identity(rows: pa.Table) -> str:
    """What attempts at a chunk must agree on: the units they answer; the answers may be sampled."""
    text = "\n".join(
        f"{input_id} {unit} {request}"
        for input_id, unit, request in zip(
            *(rows.column(name).to_pylist() for name in ("input_id", "unit_index", "request_index")),
            strict=True,
        )
    )
    return hashlib.sha256(text.encode()).hexdigest()


def read_footer(path: Path) -> dict[str, Any]:
    """The footer that `write_part` left. Raises JobConflict when it is not one of ours."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        footer: dict[str, Any] = json.loads(metadata[FOOTER_KEY])
    except (KeyError, ValueError, OSError) as error:
        raise JobConflict(f"{path} is not a part that sightread wrote: {error!r}") from error
    return footer


def count(rows: pa.Table) -> dict[str, Any]:
    """The figures of a receipt."""
    kinds = Counter(error["kind"] for error in rows.column("error").to_pylist() if error is not None)
    decode = {
        (row["input_id"], row["unit_index"]): row["decode_s"]
        for row in rows.select(["input_id", "unit_index", "decode_s"]).to_pylist()
    }
    return {
        "rows": rows.num_rows,
        "ok": pc.sum(pc.equal(rows.column("status"), "ok")).as_py() or 0,
        "failures": [{"kind": kind, "rows": number} for kind, number in sorted(kinds.items())],
        "prompt_tokens": pc.sum(rows.column("prompt_tokens")).as_py() or 0,
        "output_tokens": pc.sum(rows.column("output_tokens")).as_py() or 0,
        "decode_s": sum(decode.values()),
        "infer_s": pc.sum(rows.column("infer_s")).as_py() or 0.0,
    }


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""List the inputs of a job before any work: one row each, nothing silently left out. Knows no decoder.

An entry of `inputs:` is a file, a folder (walked), a glob, or a table of paths (.csv, .parquet) whose other
columns go into the results. A folder that a table names is one input, an episode: its pictures are the
screens. A path that is named and missing is an input that cannot be read; what a folder holds and no decoder knows is
counted and shown.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from operators.media.formats import EPISODE, TEXT, media_of_name
from schemas import tables
from schemas.errors import SpecError
from schemas.task import Task

URI_COLUMNS = ("uri", "path", "input_uri")
_RESERVED = set(tables.results_schema(pa.null(), []).names) | set(tables.INPUTS.names) | {"task"}


@dataclass
class Listing:
    """inputs: INPUTS and the passthrough columns after them. skipped: reason -> number of files."""

    inputs: pa.Table
    skipped: Counter[str] = field(default_factory=Counter)


def list_inputs(entries: tuple[str, ...], output: Path | None, *, texts: bool = False) -> Listing:
    """List in the order of the entries, and by name within one. A file that comes up twice is read once.

    output: the job's own folder if it is one, never taken for an input. texts: a table without a path column is as many
    inputs without a file, for tasks that ask about its other columns alone. Raises SpecError for what no later step can
    fix: a table without a path column, an address that is not a local path.
    """
    skipped: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    named: list[pa.Table] = []
    seen: Counter[str] = Counter()
    for entry in entries:
        if "://" in entry:
            raise SpecError(f"inputs: {entry!r}: only local paths can be read so far")
        path = Path(entry).expanduser()
        if path.suffix.lower() in (".csv", ".parquet") and path.is_file():
            table = _read_table(path, texts=texts)
            named.append(table)
            if "uri" not in table.schema.names:
                rows += [_text_input(path, row) for row in range(table.num_rows)]
                named[-1] = table.append_column("uri", pa.nulls(table.num_rows, pa.string()))
                continue
            for uri in table.column("uri").to_pylist():
                target = Path(uri) if Path(uri).is_absolute() else path.parent / uri
                # rows of a table may ask about one file several times: each is an input of its own
                rows.append(_input(target, occurrence=seen[_uri(target)], episode=target.is_dir()))
                seen[_uri(target)] += 1
            continue
        for target in _expand(path, output, skipped):
            if seen[_uri(target)]:
                skipped["named twice"] += 1
                continue
            seen[_uri(target)] += 1
            rows.append(_input(target))
        named.append(pa.table({"uri": pa.nulls(len(rows) - sum(map(len, named)), pa.string())}))
    inputs = pa.Table.from_pylist(rows, schema=tables.INPUTS)
    if named:
        try:
            passthrough = pa.concat_tables(named, promote_options="default").drop_columns(["uri"])
        except pa.ArrowException as error:
            raise SpecError(f"inputs: the tables do not fit together: {error}") from error
        for name in passthrough.schema.names:
            inputs = inputs.append_column(passthrough.schema.field(name), passthrough.column(name))
    return Listing(inputs, skipped)


def _expand(path: Path, output: Path | None, skipped: Counter[str]) -> Iterator[Path]:
    if path.is_dir():
        yield from _walk(path, output and output.resolve(), skipped)
    elif not path.exists() and glob.has_magic(str(path)):
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  absolute patterns too
        for match in matches:
            if Path(match).is_dir():
                if "**" not in str(path):  # with ** the files inside match on their own
                    yield from _walk(Path(match), output and output.resolve(), skipped)
            elif _known(Path(match), skipped):
                yield Path(match)
        if not matches:
            yield path  # a named thing that is missing: its row says so
    else:
        yield path


def _walk(folder: Path, output: Path | None, skipped: Counter[str]) -> Iterator[Path]:
    entered = {folder.resolve()}

    def unreadable(_: OSError) -> None:
        skipped["unreadable folder"] += 1

    for place, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        kept = []
        for name in sorted(folders):
            real = (Path(place) / name).resolve()
            if name.startswith("."):
                skipped["hidden folder"] += 1
            elif real == output:
                skipped["the job's own output"] += 1
            elif real not in entered:  # a link may lead back up
                entered.add(real)
                kept.append(name)
        folders[:] = kept
        for name in sorted(files):
            if name.startswith("."):
                skipped["hidden file"] += 1
            elif _known(Path(name), skipped):
                yield Path(place) / name


def _known(path: Path, skipped: Counter[str]) -> bool:
    if media_of_name(path.name) is not None:
        return True
    skipped[f"unknown type {path.suffix.lower() or path.name}"] += 1
    return False


def _uri(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100  not resolve(): a link keeps the name the user gave


def _input(path: Path, occurrence: int = 0, *, episode: bool = False) -> dict[str, Any]:
    uri = _uri(path)
    key = uri if not occurrence else f"{uri}#{occurrence}"
    error = None
    size = None
    try:
        size = os.stat(uri).st_size  # noqa: PTH116
    except FileNotFoundError:
        error = _failure("not_found", "there is no such file")
    except OSError as fault:
        error = _failure("permission", f"{fault.strerror}")
    return {
        "input_id": hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16],
        "input_uri": uri.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        "media": EPISODE if episode else media_of_name(path.name),
        "size_bytes": size,
        "error": error,
    }


def _text_input(path: Path, row: int) -> dict[str, Any]:
    uri = f"{_uri(path)}#{row}"
    return {
        "input_id": hashlib.sha256(uri.encode("utf-8", "surrogateescape")).hexdigest()[:16],
        "input_uri": uri.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        "media": TEXT,
        "size_bytes": None,
        "error": None,
    }


def _failure(kind: str, message: str) -> dict[str, Any]:
    return {"stage": "list", "kind": kind, "message": message, "attempts": 1}


def _read_table(path: Path, *, texts: bool) -> pa.Table:
    """The table with its path column first, named uri; without one where that is allowed."""
    try:
        table = pa.csv.read_csv(path) if path.suffix.lower() == ".csv" else pa.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise SpecError(f"inputs: {path}: not a readable table: {error}") from error
    column = next((name for name in URI_COLUMNS if name in table.schema.names), None)
    if column is None and not texts:
        raise SpecError(f"inputs: {path}: needs a column of paths named one of {', '.join(URI_COLUMNS)}")
    if column is not None and table.column(column).null_count:
        raise SpecError(f"inputs: {path}: column {column} has empty cells")
    others = [name for name in table.schema.names if name != column]
    if clash := sorted(_RESERVED & set(others)):
        raise SpecError(f"inputs: {path}: column {clash[0]!r} has the name of a result column; rename it")
    if column is None:
        return table
    uris = table.column(column).cast(pa.string())
    return pa.table([uris, *(table.column(name) for name in others)], names=["uri", *others])


def check_values(tasks: Sequence[Task], inputs: pa.Table) -> None:
    """Raises SpecError for a prompt that takes a value which neither the spec nor any input table has."""
    for task in tasks:
        for name in task.required_parameters():
            if name not in {*task.parameters, *task.defaults, *inputs.schema.names}:
                raise SpecError(
                    f"tasks: {task.name}: its prompt takes {{{name}}}: give a column {name!r} in an input table, "
                    f"or `parameters: {{{name}: …}}`"
                )

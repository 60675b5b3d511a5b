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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from operators.media.formats import EPISODE, TEXT, media_of_name
from operators.media.source import check_is_file, of_os
from schemas import tables
from schemas.errors import Failure, InputError, SpecError
from schemas.input_uri import path_of, text_of, uri_of
from schemas.task import Task

_DEEPEST = 200
"""Folders within folders that are entered: what lies deeper was hardly put there to be read."""
_MOST_TABLE_BYTES = 2 << 30
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
        if "://" in entry and not entry.startswith("file:///"):
            raise SpecError(f"inputs: {entry!r}: only local paths can be read so far")
        path = _expanded(entry)
        if path.suffix.lower() in (".csv", ".parquet") and _exists(path) and not _is_folder(path):
            table = _read_table(path, texts=texts)
            named.append(table)
            if "uri" not in table.schema.names:
                rows += [_text_input(path, row) for row in range(table.num_rows)]
                named[-1] = table.append_column("uri", pa.nulls(table.num_rows, pa.string()))
                continue
            for uri in table.column("uri").to_pylist():
                target = path.parent / path_of(uri)
                # rows of a table may ask about one file several times: each is an input of its own
                rows.append(_input(target, occurrence=seen[_absolute(target)], episode=_is_folder(target)))
                seen[_absolute(target)] += 1
            continue
        for target in _expand(path, output, skipped):
            if seen[_absolute(target)]:
                skipped["named twice"] += 1
                continue
            seen[_absolute(target)] += 1
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


def _expanded(entry: str) -> Path:
    try:
        return path_of(entry).expanduser()
    except RuntimeError as error:  # ~ of a user whom the machine does not know
        raise SpecError(f"inputs: {entry!r}: {error}") from error


def _expand(path: Path, output: Path | None, skipped: Counter[str]) -> Iterator[Path]:
    if _is_folder(path):
        yield from _walk(path, output and output.resolve(), skipped)
    elif not _exists(path) and glob.has_magic(str(path)) and "\0" not in str(path):
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  absolute patterns too
        for match in matches:
            if _is_folder(match):
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
        if len(Path(place).parts) - len(folder.parts) >= _DEEPEST:
            skipped[f"folder more than {_DEEPEST} deep"] += len(folders)
            folders.clear()
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
    skipped[f"unknown type {text_of(path.suffix.lower() or path.name)}"] += 1
    return False


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110  Path.exists raises for a name that is too long


def _is_folder(path: Path | str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  as above


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100  not resolve(): a link keeps the name the user gave


def _input(path: Path, occurrence: int = 0, *, episode: bool = False) -> dict[str, Any]:
    place = _absolute(path)
    uri = uri_of(place)
    error = None
    size = None
    try:
        status = os.stat(place)  # noqa: PTH116
        size = status.st_size
        if not episode:
            check_is_file(status.st_mode)
    except OSError as fault:
        error = of_os(fault)
    except ValueError as fault:  # a NUL, a lone surrogate
        error = InputError("not_found", f"no file has such a name: {fault}")
    except InputError as fault:
        error = fault
    return {
        "input_id": _id(uri if not occurrence else f"{uri}#{occurrence}"),
        "input_uri": uri,
        "media": EPISODE if episode else media_of_name(path.name),
        "size_bytes": size,
        "error": error and asdict(Failure("list", error.kind, str(error))),
    }


def _text_input(path: Path, row: int) -> dict[str, Any]:
    uri = f"{uri_of(_absolute(path))}#{row}"
    return {
        "input_id": _id(uri),
        "input_uri": uri,
        "media": TEXT,
        "size_bytes": None,
        "error": None,
    }


def _id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _read_table(path: Path, *, texts: bool) -> pa.Table:
    """The table with its path column first, named uri; without one where that is allowed."""
    try:
        return _with_uris(_table(path), path.parent, texts=texts)
    except InputError as error:
        raise SpecError(f"inputs: {path}: not a readable table: {error}") from error
    except SpecError as error:
        raise SpecError(f"inputs: {path}: {error}") from error


def _table(path: Path) -> pa.Table:
    """Raises InputError."""
    try:
        check_is_file(path.stat().st_mode)
        table = _csv(path) if path.suffix.lower() == ".csv" else _parquet(path)
        table.schema.names  # noqa: B018  a name that is no UTF-8 raises here
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise InputError("malformed", " ".join(str(error).split())[:300]) from error
    return table


def _csv(path: Path) -> pa.Table:
    if path.stat().st_size > _MOST_TABLE_BYTES:
        raise InputError("too_large", f"it has more than {_MOST_TABLE_BYTES >> 20} MB")
    table = pa.csv.read_csv(path)
    for name, kind in zip(table.schema.names, table.schema.types, strict=True):
        if pa.types.is_binary(kind) and name not in URI_COLUMNS:  # a path may be any bytes, a text may not
            raise InputError("malformed", f"column {name} holds text that is no UTF-8")
    return table


def _parquet(path: Path) -> pa.Table:
    """Few rows at a time: a thousand bytes may unpack to anything."""
    batches, size = [], 0
    with pa.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            size += batch.nbytes
            if size > _MOST_TABLE_BYTES:
                raise InputError("too_large", f"it unpacks to more than {_MOST_TABLE_BYTES >> 20} MB")
            batches.append(batch)
        return pa.Table.from_batches(batches, schema=file.schema_arrow)


def _with_uris(table: pa.Table, folder: Path, *, texts: bool) -> pa.Table:
    """Raises SpecError."""
    names = Counter(table.schema.names)
    if repeated := sorted(name for name, count in names.items() if count > 1):
        raise SpecError(f"two columns are called {repeated[0]!r}")
    column = next((name for name in URI_COLUMNS if name in names), None)
    if clash := sorted(_RESERVED & {name for name in names if name != column}):
        raise SpecError(f"column {clash[0]!r} has the name of a result column; rename it")
    if column is None and texts:
        return table
    if column is None:
        raise SpecError(f"needs a column of paths named one of {', '.join(URI_COLUMNS)}")
    uris = _uris(table.column(column), column, folder)
    others = [name for name in table.schema.names if name != column]
    return pa.table([uris, *(table.column(name) for name in others)], names=["uri", *others])


def _uris(column: pa.ChunkedArray, name: str, folder: Path) -> pa.ChunkedArray:
    """As text; bytes that are no UTF-8 as the URI that stands for them. Raises SpecError."""
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        paths = [path and uri_of(_absolute(folder / os.fsdecode(path))) for path in column.to_pylist()]
        column = pa.chunked_array([pa.array(paths, pa.string())])
    try:
        uris = column.cast(pa.string())
    except pa.ArrowException as error:
        raise SpecError(f"column {name} holds no paths but {column.type}") from error
    if uris.null_count or "" in uris.to_pylist():
        raise SpecError(f"column {name} has empty cells")
    return uris


def check_values(tasks: Sequence[Task], inputs: pa.Table) -> None:
    """Raises SpecError for a prompt that takes a value which neither the spec nor any input table has."""
    for task in tasks:
        for name in task.required_parameters():
            if name not in {*task.parameters, *task.defaults, *inputs.schema.names}:
                raise SpecError(
                    f"tasks: {task.name}: its prompt takes {{{name}}}: give a column {name!r} in an input table, "
                    f"or `parameters: {{{name}: …}}`"
                )

"""List the inputs of a job before any work: one row each, nothing silently left out. Knows no decoder.

An entry of `inputs:` is a file, a folder (walked), a glob, or a table of paths (.csv, .tsv, .parquet) whose other
columns go into the results. A folder that a table names is one input, an episode: its pictures are the
screens. A path that is named and missing is an input that cannot be read; what a folder holds and no decoder knows is
counted and shown.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from operators.media.formats import (
    EPISODE,
    HEAD_BYTES,
    TEXT,
    is_source_text,
    may_be_source_text,
    media_of_head,
    media_of_name,
    names_no_format,
)
from operators.media.source import check_is_file, head_of, of_os
from pipelines.input_tables import SUFFIXES, InputTable, read_table
from schemas import tables
from schemas.errors import Failure, InputError, SpecError
from schemas.input_uri import path_of, text_of, uri_of
from schemas.task import Task

_DEEPEST = 200
"""Folders within folders that are entered: what lies deeper was hardly put there to be read."""
_ELSEWHERE = re.compile(r"(?!file://(?:localhost)?/)[A-Za-z][A-Za-z0-9+.-]*://|data:[^/,;]*(?:/[^/,;]*)?[,;]")
"""How an address begins that is no local path: with a scheme, or with the data themselves."""
_ONLY_LOCAL = "only local paths can be read so far"
_LONGEST_ADDRESS = 2000


@dataclass
class Listing:
    """inputs: INPUTS and the passthrough columns after them. skipped: reason -> number of files."""

    inputs: pa.Table
    skipped: Counter[str] = field(default_factory=Counter)


def list_inputs(
    entries: tuple[str, ...], output: Path | None, *, types: Mapping[str, str] | None = None, texts: bool = False
) -> Listing:
    """List in the order of the entries, and by name within one. A file that comes up twice is read once.

    output: the job's own folder if it is one, never taken for an input. types: what the cells of columns of a CSV are,
    where they are no text. texts: a table without a path column is as many inputs without a file, for tasks that ask
    about its other columns alone. Raises SpecError for what no later step can fix: a table without a path column, an
    address that is not a local path.
    """
    skipped: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    passthrough: list[pa.Table] = []
    seen: Counter[str] = Counter()
    for entry in entries:
        if _ELSEWHERE.match(entry):
            raise SpecError(f"inputs: {entry[:_LONGEST_ADDRESS]!r}: {_ONLY_LOCAL}")
        path = _expanded(entry)
        if path.suffix.lower() in SUFFIXES and _exists(path) and not _is_folder(path):
            table = read_table(path, types or {}, texts=texts)
            if table.left_out:
                skipped["empty row at the end of a table"] += table.left_out
            rows += _table_rows(path, table, seen)
            passthrough.append(_with_row_count(table.columns, table.num_rows))
            continue
        before = len(rows)
        for target, media in _expand(path, output, skipped):
            if seen[_absolute(target)]:
                skipped["named twice"] += 1
                continue
            seen[_absolute(target)] += 1
            rows.append(_input(target, media))
        passthrough.append(_with_row_count(pa.table({}), len(rows) - before))
    inputs = pa.Table.from_pylist(rows, schema=tables.INPUTS)
    try:
        columns = pa.concat_tables(passthrough, promote_options="default").drop_columns([_ROW])
    except pa.ArrowException as error:
        hint = "a CSV's columns are text where `types` says nothing"
        raise SpecError(f"inputs: the tables do not fit together: {' '.join(str(error).split())}; {hint}") from error
    if unused := sorted((types or {}).keys() - set(columns.schema.names)):
        raise SpecError(f"types: no input table has a column {unused[0]!r}")
    for name in columns.schema.names:
        inputs = inputs.append_column(columns.schema.field(name), columns.column(name))
    return Listing(inputs, skipped)


_ROW = "input_uri"
"""A column that no input table has beside its paths: it counts the rows of those without columns."""


def _with_row_count(columns: pa.Table, rows: int) -> pa.Table:
    return pa.table(
        {_ROW: pa.nulls(rows, pa.string()), **dict(zip(columns.schema.names, columns.columns, strict=True))}
    )


def _table_rows(path: Path, table: InputTable, seen: Counter[str]) -> Iterator[dict[str, Any]]:
    """Rows of a table may ask about one file several times: each is an input of its own."""
    for row in range(table.num_rows):
        cell = None if table.paths is None else table.paths[row]
        fault = table.faults.get(row)
        if cell is None:
            yield _fileless(path, row, TEXT, fault)
        elif not cell.strip():
            yield _fileless(path, row, None, InputError("not_found", "its row of the input table has an empty path"))
        elif _ELSEWHERE.match(cell.strip()):
            yield _elsewhere(cell.strip(), seen)
        else:
            target = _named_by(path.parent, cell)
            place = _absolute(target)
            yield _input(
                target,
                EPISODE if _is_folder(target) else media_of_name(target.name),
                occurrence=seen[place],
                fault=fault,
            )
            seen[place] += 1


def _named_by(folder: Path, cell: str) -> Path:
    """The file as it is written, or as another system writes its name, where only that one exists: with blanks around
    it, with backslashes, with accents beside their letters (macOS) or in Windows' code page."""
    target = folder / path_of(cell)
    if _exists(target) or "\0" in cell:
        return target
    written = cell.strip()
    with contextlib.suppress(UnicodeError):
        written = os.fsencode(written).decode("utf-8" if written == text_of(written) else "cp1252")
    slashes = written.replace("\\", "/")
    forms = [unicodedata.normalize(form, name) for name in (written, slashes) for form in ("NFC", "NFD")]
    return next((other for name in (written, *forms) if _exists(other := folder / name)), target)


def _expanded(entry: str) -> Path:
    try:
        return path_of(entry).expanduser()
    except RuntimeError as error:  # ~ of a user whom the machine does not know
        raise SpecError(f"inputs: {entry!r}: {error}") from error


def _expand(path: Path, output: Path | None, skipped: Counter[str]) -> Iterator[tuple[Path, str | None]]:
    """(file, what it seems to be)."""
    if _is_folder(path):
        yield from _walk(path, output and output.resolve(), skipped)
    elif not _exists(path) and glob.has_magic(str(path)) and "\0" not in str(path):
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  absolute patterns too
        for match in matches:
            if _is_folder(match):
                if "**" not in str(path):  # with ** the files inside match on their own
                    yield from _walk(Path(match), output and output.resolve(), skipped)
            elif (media := _recognized(Path(match), skipped)) is not None:
                yield Path(match), media
        if not matches:
            yield path, media_of_name(path.name)  # a named thing that is missing: its row says so
    else:
        yield path, media_of_name(path.name)


def _walk(folder: Path, output: Path | None, skipped: Counter[str]) -> Iterator[tuple[Path, str]]:
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
            elif (media := _recognized(Path(place) / name, skipped)) is not None:
                yield Path(place) / name, media


def _recognized(path: Path, skipped: Counter[str]) -> str | None:
    """What a file that nobody named seems to be. Only where its name says nothing, or is a program's too, is it opened.
    None for what no decoder knows, which is counted."""
    media = media_of_name(path.name)
    if names_no_format(path.name):
        media = media_of_head(head_of(path, HEAD_BYTES))
    elif may_be_source_text(path.name) and is_source_text(path.name, head_of(path, HEAD_BYTES)):
        skipped[f"text and no video {path.suffix.lower()}"] += 1
        return None
    if media is None:
        skipped[f"unknown type {text_of(path.suffix.lower() or path.name)}"] += 1
    return media


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110  Path.exists raises for a name that is too long


def _is_folder(path: Path | str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  as above


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100  not resolve(): a link keeps the name the user gave


def _input(path: Path, media: str | None, *, occurrence: int = 0, fault: InputError | None = None) -> dict[str, Any]:
    place = _absolute(path)
    size = None
    try:
        status = os.stat(place)  # noqa: PTH116
        size = status.st_size
        if media != EPISODE:
            check_is_file(status.st_mode)
    except OSError as error:
        fault = of_os(error)
    except ValueError as error:  # a NUL, a lone surrogate
        fault = InputError("not_found", f"no file has such a name: {error}")
    except InputError as error:
        fault = error
    return _row(uri_of(place), media, fault, occurrence=occurrence, size_bytes=size)


def _fileless(path: Path, row: int, media: str | None, fault: InputError | None) -> dict[str, Any]:
    """A row of an input table that names no file."""
    return _row(f"{uri_of(_absolute(path))}#{row}", media, fault)


def _elsewhere(address: str, seen: Counter[str]) -> dict[str, Any]:
    uri = text_of(address)
    if len(uri) > _LONGEST_ADDRESS:
        uri = f"{uri[:100]}… ({len(uri)} characters, sha256 {_id(uri)})"
    seen[uri] += 1
    media = None if uri.startswith("data:") else media_of_name(re.split("[?#]", uri)[0])
    return _row(uri, media, InputError("not_found", _ONLY_LOCAL), occurrence=seen[uri] - 1)


def _row(
    uri: str, media: str | None, fault: InputError | None, *, occurrence: int = 0, size_bytes: int | None = None
) -> dict[str, Any]:
    return {
        "input_id": _id(f"{uri}#{occurrence}" if occurrence else uri),
        "input_uri": uri,
        "media": media,
        "size_bytes": size_bytes,
        "error": fault and asdict(Failure("list", fault.kind, str(fault))),
    }


def _id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def check_values(tasks: Sequence[Task], inputs: pa.Table) -> None:
    """Raises SpecError for a prompt that takes a value which neither the spec nor any input table has."""
    for task in tasks:
        for name in task.required_parameters():
            if name not in {*task.parameters, *task.defaults, *inputs.schema.names}:
                raise SpecError(
                    f"tasks: {task.name}: its prompt takes {{{name}}}: give a column {name!r} in an input table, "
                    f"or `parameters: {{{name}: …}}`"
                )

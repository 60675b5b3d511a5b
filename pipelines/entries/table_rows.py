"""The rows of an input table as inputs, with its other columns beside them, wherever the table and its files lie."""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from operators.media.formats import EPISODE, TEXT, media_of_name, names_no_format
from operators.media.source import opened_source
from operators.store.inputs.origin import ORIGINS
from pipelines.entries.local_files import exists, is_folder, target_of
from pipelines.entries.lookups import REQUESTS, check, look_up
from pipelines.entries.recognized import names_table
from pipelines.entries.scope import Part, Scope, Target, short_hash
from pipelines.entries.shards import is_shard, read_ahead, shard_parts
from pipelines.input_tables import InputTable, read_table
from schemas.address import (
    REMOTE,
    WEB,
    address_in,
    canonical,
    folder_of,
    has_password,
    is_remote,
    name_of,
    scheme_of,
    without_password,
    without_query,
)
from schemas.errors import InputError, SpecError
from schemas.input_uri import path_of, text_of

_ELSEWHERE = re.compile(r"(?!file://(?:localhost)?/)[A-Za-z][A-Za-z0-9+.-]*://|data:[^/,;]*(?:/[^/,;]*)?[,;]")
"""How an address begins that is no local path: with a scheme, or with the data themselves."""
_LONGEST_ADDRESS = 2000
_AT_ONCE = 4096
"""Rows that become inputs together."""


def is_table(target: Target) -> bool:
    """By its name: whether it can be read shows when it is."""
    is_missing = target.fault is not None and target.fault.kind == "not_found"
    return names_table(name_of(target.address)) and not is_missing


def table_parts(target: Target, scope: Scope) -> Iterator[Part]:
    """Raises SpecError for a table that cannot be used."""
    table = _table(target, scope)
    if table is None:
        missing = InputError("not_found", f"{without_query(target.address)} is not there")
        yield Part(scope.once(Target(target.address, target.media, fault=missing)))
        return
    if table.left_out:
        scope.skipped["empty row at the end of a table"] += table.left_out
    for name in table.unread:
        scope.skipped[f"column {name!r} of a table of bytes, which holds bytes too"] += 1
    for start in range(0, table.num_rows, _AT_ONCE):
        rows = range(start, min(start + _AT_ONCE, table.num_rows))
        scope.looked_at(len(rows))
        cells = list(_cells(target.address, table, rows, scope))
        yield from _cell_parts(cells, table.columns.slice(start, len(rows)), scope)


def _cell_parts(cells: Sequence[Target], columns: pa.Table, scope: Scope) -> Iterator[Part]:
    """A cell that names a tar shard is as many inputs as that holds."""
    begun = 0
    for place, (cell, future) in enumerate(read_ahead(cells, scope.settings)):
        if is_shard(cell):
            yield _plain_part(cells[begun:place], columns.slice(begun, place - begun), scope)
            for part in shard_parts(cell, scope, taken=frozenset(columns.schema.names), future=future):
                yield part.beside(columns.slice(place, 1))
            begun = place + 1
    yield _plain_part(cells[begun:], columns.slice(begun), scope)


def _plain_part(cells: Sequence[Target], columns: pa.Table, scope: Scope) -> Part:
    return Part([scope.again(cell) for cell in cells], columns)


def _table(target: Target, scope: Scope) -> InputTable | None:
    """None for a table elsewhere that is not there."""
    address = target.address
    if not is_remote(address):
        return read_table(path_of(address), scope.types, texts=scope.texts)
    try:
        with opened_source(address, target.version, scope.settings) as source:
            return read_table(
                Path(source.link), scope.types, texts=scope.texts, address=address, version=source.version
            )
    except InputError as error:
        if error.kind == "not_found":
            return None
        raise SpecError(f"inputs: {without_query(address)} cannot be read: {error}") from error


def _cells(address: str, table: InputTable, rows: Sequence[int], scope: Scope) -> Iterator[Target]:
    """The input that each of these rows is. Rows of a table may ask about one file several times."""
    targets = [_cell(address, table, row) for row in rows]
    asked = [target for target in targets if _must_be_asked(target)]
    if not asked:
        yield from targets
        return
    for target in asked:
        check(target.address, scope)
    with ThreadPoolExecutor(REQUESTS, thread_name_prefix="list") as pool:
        answers = iter(list(pool.map(partial(_asked, scope=scope), asked)))
    for target in targets:
        yield next(answers) if _must_be_asked(target) else target


def _cell(address: str, table: InputTable, row: int) -> Target:
    """As far as it shows without a request."""
    if table.has_bytes is not None and table.has_bytes[row]:
        name = table.paths[row] if table.paths is not None else ""
        media = media_of_name(name.rpartition("/")[2]) or table.media  # of what its first bytes do not tell
        return Target(f"{address}#{row}", media, version=table.version)
    cell = None if table.paths is None else table.paths[row]
    fault = table.faults.get(row)
    if cell is None:
        return Target(f"{address}#{row}", TEXT, fault=fault)
    text = cell.strip()
    if not text:
        lacks = "an empty path" if table.has_bytes is None else "neither bytes nor a path"
        return Target(
            f"{address}#{row}", None, fault=InputError("not_found", f"its row of the input table has {lacks}")
        )
    if is_remote(text) and scheme_of(text) in ORIGINS:
        return _remote(text, fault)
    if _ELSEWHERE.match(text) or scheme_of(text) in REMOTE:
        return _elsewhere(without_password(text))
    if not is_remote(address):
        file = _named_by(path_of(address).parent, cell)
        return target_of(file, EPISODE if is_folder(file) else media_of_name(file.name), fault)
    if text.lower().startswith("file:"):  # whoever writes the table need not be who runs the job; not even looked at
        fault = InputError("permission", "only a table of this machine names files of this machine")
        return Target(text_of(text), media_of_name(path_of(text).name), fault=fault)
    return _remote(address_in(folder_of(address), text), fault)


def _remote(address: str, fault: InputError | None) -> Target:
    """A name that tells what it is, or a slash at its end, is believed: what is there is asked by who reads it."""
    if text_of(address) != address or "\0" in address:
        return Target(text_of(address), None, fault=InputError("not_found", "no object has such a name"))
    if has_password(address):
        fault = InputError("permission", "a name and password in an address are not used; give it without them")
        address = without_password(address)
    address = canonical(address)
    if address.endswith("/") and scheme_of(address) not in WEB:
        return Target(address, EPISODE, fault=fault)
    return Target(address, media_of_name(name_of(address)), fault=fault)


def _must_be_asked(target: Target) -> bool:
    """Whether it may be a file or an episode's folder."""
    if target.fault or target.media or target.version or not is_remote(target.address):
        return False
    return scheme_of(target.address) not in WEB and names_no_format(name_of(target.address))


def _asked(target: Target, scope: Scope) -> Target:
    if (fault := check(target.address, scope)) is not None:
        return replace(target, fault=fault)
    try:
        lookup = look_up(target.address, scope)
    except SpecError as error:
        return replace(target, fault=InputError("not_found", str(error)))
    if lookup.fault is not None:
        return replace(target, fault=lookup.fault)
    if lookup.entry is None:
        return replace(target, media=EPISODE)
    return replace(target, size_bytes=lookup.entry.size_bytes, version=lookup.entry.version)


def _elsewhere(address: str) -> Target:
    """What nothing is read from."""
    uri = text_of(address)
    if len(uri) > _LONGEST_ADDRESS:
        uri = f"{uri[:100]}… ({len(uri)} characters, sha256 {short_hash(uri)})"
    media = None if uri.startswith("data:") else media_of_name(re.split("[?#]", uri)[0])
    return Target(uri, media, fault=InputError("not_found", nothing_reads(address)))


def is_no_path(address: str) -> bool:
    """Of an address with a scheme, also one with a slash too few, or data themselves."""
    return _ELSEWHERE.match(address) is not None or scheme_of(address) != "file"


def nothing_reads(address: str) -> str:
    schemes = ", ".join(f"{scheme}://" for scheme in sorted(ORIGINS) if scheme != "memory")
    scheme = scheme_of(address)
    if scheme in ORIGINS and "://" not in address:
        return f"it lacks a slash: {scheme}://"
    return f"nothing is read from {address.partition(':')[0]}: addresses; give a path, or {schemes}"


def _named_by(folder: Path, cell: str) -> Path:
    """The file as it is written, or as another system writes its name, where only that one exists: with blanks around
    it, with backslashes, with accents beside their letters (macOS) or in Windows' code page."""
    target = folder / path_of(cell)
    if exists(target) or "\0" in cell:
        return target
    written = cell.strip()
    with contextlib.suppress(UnicodeError):
        written = os.fsencode(written).decode("utf-8" if written == text_of(written) else "cp1252")
    slashes = written.replace("\\", "/")
    forms = [unicodedata.normalize(form, name) for name in (written, slashes) for form in ("NFC", "NFD")]
    return next((other for name in (written, *forms) if exists(other := folder / name)), target)

"""List the inputs of a job before any work: one row each, nothing silently left out. Knows no decoder.

An entry of `inputs:` is a file, a folder or prefix (walked), a glob, a tar shard, or a table of paths (.csv, .tsv,
.parquet) whose other columns go into the results; on this machine or elsewhere (docs/inputs.md has the grammar). A
folder that a table names is one input, an episode: its pictures are the screens. A path that is named and missing is an
input that cannot be read; what a folder holds and no decoder knows is counted and shown.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from operators.store.inputs.origin import ORIGINS
from pipelines.entries.braces import expanded
from pipelines.entries.local_files import exists, local_targets
from pipelines.entries.lookups import REQUESTS, Lookup, check, is_object, look_up
from pipelines.entries.remote_files import listed_ahead, remote_targets
from pipelines.entries.scope import Part, Scope, Target
from pipelines.entries.shards import FutureContents, is_shard, read_ahead, shard_parts
from pipelines.entries.table_rows import is_no_path, is_table, nothing_reads, table_parts
from pipelines.progress import Progress
from schemas import tables
from schemas.address import canonical, has_password, is_remote, scheme_of, without_password, without_query
from schemas.errors import SpecError
from schemas.fetch import FetchSettings
from schemas.input_uri import path_of
from schemas.task import Task

_LONGEST_SHOWN = 2000
_AT_ONCE = 4096
"""Addresses that are looked up together."""
PIECE, LARGEST_PIECE = 512, 4096
"""Inputs that are given away together: at first, so that work begins early, and of a long listing."""
PATIENCE_S = 3.0
"""Until fewer are."""


@dataclass
class Listing:
    """inputs: INPUTS and the passthrough columns after them. skipped: reason -> number of files."""

    inputs: pa.Table
    skipped: Counter[str] = field(default_factory=Counter)


def list_inputs(
    entries: tuple[str, ...],
    output: Path | str | None,
    *,
    types: Mapping[str, str] | None = None,
    texts: bool = False,
    settings: FetchSettings | None = None,
    progress: Progress | None = None,
) -> Listing:
    """All of it at once. As `Lister`, and raises what that does."""
    lister = Lister(entries, output, types=types, texts=texts, settings=settings, progress=progress)
    return together(list(lister), lister.skipped)


def together(pieces: Sequence[pa.Table], skipped: Counter[str]) -> Listing:
    """One table of several pieces of a listing, whose columns fit together."""
    return Listing(pa.concat_tables([tables.INPUTS.empty_table(), *pieces], promote_options="default"), skipped)


class Lister:
    """The inputs of a job, in pieces of INPUTS with the columns that come along, in the order of the entries and by
    name within one. A file that comes up twice is read once.

    output: the job's own address, what lies below it is never taken for an input. types: what the cells of columns of a
    CSV are, where they are no text. texts: a table without a path column is as many inputs without a file, for tasks
    that ask about its other columns alone. wanted: columns without which no piece is given away before the last; with
    the error that then is raised. To be iterated once; raises SpecError meanwhile for what no later step can fix: a
    table without a path column, an address that nothing is read from, a bucket that is not there; StoreLost.

    skipped: what is left out by then, by reason.
    """

    def __init__(
        self,
        entries: tuple[str, ...],
        output: Path | str | None,
        *,
        types: Mapping[str, str] | None = None,
        texts: bool = False,
        settings: FetchSettings | None = None,
        progress: Progress | None = None,
        wanted: Collection[str] = (),
    ) -> None:
        self._entries = entries
        self._scope = Scope(
            output=None if output is None else canonical(str(output)) if is_remote(str(output)) else str(output),
            types=types or {},
            texts=texts,
            settings=settings or FetchSettings(),
            progress=progress or Progress(),
        )
        self._wanted = {*wanted, *self._scope.types}
        self.skipped = self._scope.skipped

    def __iter__(self) -> Iterator[pa.Table]:
        lacking, held = set(self._wanted), list[pa.Table]()
        for piece in self._pieces():
            held.append(piece)
            lacking -= {*piece.schema.names}
            if not lacking:
                yield from _with_columns(held, self._wanted)
                held.clear()
        if unused := sorted(self._scope.types.keys() & lacking):
            raise SpecError(f"types: no input table has a column {unused[0]!r}")
        yield from held

    def _pieces(self) -> Iterator[pa.Table]:
        gathered = _Gathered()
        for target, future in read_ahead(_targets(self._entries, self._scope), self._scope.settings):
            for part in _parts(target, self._scope, future):
                gathered.add(part)
                yield from gathered.pending()
        yield from gathered.rest()


def _parts(target: Target, scope: Scope, future: FutureContents | None) -> Iterator[Part]:
    """What a file is listed as. Another kind is a function here, and in pipelines/entries/table_rows.py for those that
    a table names."""
    if is_table(target):
        yield from table_parts(target, scope)
    elif is_shard(target):
        if not scope.named_twice(target.address):
            yield from shard_parts(target, scope, future=future)
    else:
        yield Part(scope.once(target))


# what entries name


def _targets(entries: Iterable[str], scope: Scope) -> Iterator[Target]:
    addresses = [address for entry in entries for address in _addresses(entry, scope)]
    for start in range(0, len(addresses), _AT_ONCE):
        some = addresses[start : start + _AT_ONCE]
        remote = [address for address in some if is_remote(address)]
        for address in remote:
            if (fault := check(address, scope)) is not None:
                raise SpecError(f"inputs: {fault}") from fault
        lookups = iter(_looked_up(remote, scope))
        pairs = [(address, next(lookups) if is_remote(address) else None) for address in some]
        for address, lookup, listed in listed_ahead(pairs, scope):
            if lookup is not None:
                yield from remote_targets(address, lookup, listed, scope)
            else:
                yield from local_targets(_local(address), scope)


def _addresses(entry: str, scope: Scope) -> list[str]:
    """An entry without its braces. Raises SpecError for what is no address that anything is read from."""
    _refuse_unreadable(entry)
    if "{" not in entry or (is_object(entry, scope) if is_remote(entry) else exists(_local(entry))):
        addresses = [entry]
    else:
        addresses = expanded(entry)
        for address in addresses:
            _refuse_unreadable(address)
    return [canonical(address) if is_remote(address) else address for address in addresses]


def _refuse_unreadable(address: str) -> None:
    shown = without_password(address)[:_LONGEST_SHOWN]
    if is_remote(address) and has_password(address):
        raise SpecError(f"inputs: {shown!r}: a name and password in an address are not used; give it without them")
    if is_no_path(address) and not (is_remote(address) and scheme_of(address) in ORIGINS):
        raise SpecError(f"inputs: {shown!r}: {nothing_reads(address)}")


def _local(address: str) -> Path:
    try:
        return path_of(address).expanduser()
    except RuntimeError as error:  # ~ of a user whom the machine does not know
        raise SpecError(f"inputs: {address!r}: {error}") from error


def _looked_up(addresses: Sequence[str], scope: Scope) -> Sequence[Lookup]:
    if len(addresses) < 2:
        return [look_up(address, scope) for address in addresses]
    with ThreadPoolExecutor(REQUESTS, thread_name_prefix="list") as pool:
        return list(pool.map(partial(look_up, scope=scope), addresses))


# the table


_ROW = "input_uri"
"""A column that no input table has beside its paths: it counts the rows of those without columns."""


class _Gathered:
    """Parts, until they are a piece. Raises SpecError where the columns of several tables do not fit together."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._inputs: list[pa.Table] = []
        self._columns: list[pa.Table] = []
        self._schema = pa.schema([])
        self._waiting = 0
        self._size = PIECE
        self._since_s = time.monotonic()
        self._is_begun = False

    def add(self, part: Part) -> None:
        if part.columns is not None:
            self._flush()
        self._rows += part.rows
        self._waiting += len(part.rows)
        if part.columns is not None:
            self._flush(part.columns)

    def pending(self) -> Iterator[pa.Table]:
        if self._waiting >= self._size or (self._waiting and time.monotonic() - self._since_s > PATIENCE_S):
            yield from self._cut(self._table())

    def rest(self) -> Iterator[pa.Table]:
        """The last piece has no rows where a table of none has brought columns, or where there is no input at all."""
        table = self._table()
        if table.num_rows or not self._is_begun or {*table.schema.names} - {*tables.INPUTS.names}:
            yield from self._cut(table)

    def _cut(self, table: pa.Table) -> Iterator[pa.Table]:
        yield from (table.slice(start, self._size) for start in range(0, max(1, table.num_rows), self._size))
        if table.num_rows >= self._size:
            self._size = min(LARGEST_PIECE, 2 * self._size)
        self._since_s, self._is_begun = time.monotonic(), True

    def _table(self) -> pa.Table:
        self._flush()
        inputs = pa.concat_tables([tables.INPUTS.empty_table(), *self._inputs])
        some = [_with_row_count(None, 0), *self._columns]
        try:
            self._schema = pa.unify_schemas([self._schema, *(columns.schema for columns in some)])
            columns = pa.concat_tables(some, promote_options="default").drop_columns([_ROW])
        except pa.ArrowException as error:
            reason = f"{' '.join(str(error).split())}; a CSV's columns are text where `types` says nothing"
            raise SpecError(f"inputs: the tables do not fit together: {reason}") from error
        for name in columns.schema.names:
            inputs = inputs.append_column(columns.schema.field(name), columns.column(name))
        self._inputs, self._columns, self._waiting = [], [], 0
        return inputs

    def _flush(self, columns: pa.Table | None = None) -> None:
        if self._rows or columns is not None:
            self._inputs.append(pa.Table.from_pylist(self._rows, schema=tables.INPUTS))
            self._columns.append(_with_row_count(columns, len(self._rows)))
            self._rows = []


def _with_columns(pieces: Sequence[pa.Table], names: Collection[str]) -> Iterator[pa.Table]:
    """With nulls where only others of them have such a column."""
    fields = {column.name: column for piece in pieces for column in piece.schema if column.name in names}
    for piece in pieces:
        for missing in [column for name, column in fields.items() if name not in piece.schema.names]:
            piece = piece.append_column(missing, pa.nulls(piece.num_rows, missing.type))
        yield piece


def _with_row_count(columns: pa.Table | None, rows: int) -> pa.Table:
    others = {} if columns is None else dict(zip(columns.schema.names, columns.columns, strict=True))
    return pa.table({_ROW: pa.nulls(rows, pa.string()), **others})


def check_values(tasks: Sequence[Task], inputs: pa.Table) -> None:
    """Raises SpecError for a prompt that takes a value which neither the spec nor any input table has."""
    for task in tasks:
        for name in task.required_parameters():
            if name not in {*task.parameters, *task.defaults, *inputs.schema.names}:
                raise SpecError(
                    f"tasks: {task.name}: its prompt takes {{{name}}}: give a column {name!r} in an input table "
                    f"(or .{name} members in a shard), or `parameters: {{{name}: …}}`{_first_fault(inputs)}"
                )


def _first_fault(inputs: pa.Table) -> str:
    """What may be why there is no such column: an input that would have brought it."""
    row = next((row for row in inputs.select(["input_uri", "error"]).to_pylist() if row["error"] is not None), None)
    if row is None:
        return ""
    return f"; {without_query(row['input_uri'])[:_LONGEST_SHOWN]} cannot be read: {row['error']['message']}"

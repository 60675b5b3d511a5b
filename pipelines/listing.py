"""List the inputs of a job before any work: one row each, nothing silently left out. Knows no decoder.

An entry of `inputs:` is a file, a folder or prefix (walked), a glob, a tar shard, or a table of paths (.csv, .tsv,
.parquet) whose other columns go into the results; on this machine or elsewhere (docs/inputs.md has the grammar). A
folder that a table names is one input, an episode: its pictures are the screens. A path that is named and missing is an
input that cannot be read; what a folder holds and no decoder knows is counted and shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
"""Inputs that wait to become a piece of the table, and addresses that are looked up together."""


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
    """List in the order of the entries, and by name within one. A file that comes up twice is read once.

    output: the job's own address, what lies below it is never taken for an input. types: what the cells of columns of a
    CSV are, where they are no text. texts: a table without a path column is as many inputs without a file, for tasks
    that ask about its other columns alone. Raises SpecError for what no later step can fix: a table without a path
    column, an address that nothing is read from, a bucket that is not there; StoreLost.
    """
    scope = Scope(
        output=None if output is None else canonical(str(output)) if is_remote(str(output)) else str(output),
        types=types or {},
        texts=texts,
        settings=settings or FetchSettings(),
        progress=progress or Progress(),
    )
    inputs = _Inputs()
    for target, future in read_ahead(_targets(entries, scope), scope.settings):
        for part in _parts(target, scope, future):
            inputs.add(part)
    table = inputs.table()
    if unused := sorted(scope.types.keys() - set(table.schema.names[len(tables.INPUTS) :])):
        raise SpecError(f"types: no input table has a column {unused[0]!r}")
    return Listing(table, scope.skipped)


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


class _Inputs:
    """Grows by parts; a piece at a time becomes Arrow, which takes a tenth of the memory."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._inputs = [tables.INPUTS.empty_table()]
        self._columns = [_with_row_count(None, 0)]

    def add(self, part: Part) -> None:
        if part.columns is not None:
            self._flush()
        self._rows += part.rows
        if part.columns is not None or len(self._rows) >= _AT_ONCE:
            self._flush(part.columns)

    def table(self) -> pa.Table:
        """Raises SpecError where the columns of several tables do not fit together."""
        self._flush()
        inputs = pa.concat_tables(self._inputs)
        try:
            columns = pa.concat_tables(self._columns, promote_options="default").drop_columns([_ROW])
        except pa.ArrowException as error:
            reason = f"{' '.join(str(error).split())}; a CSV's columns are text where `types` says nothing"
            raise SpecError(f"inputs: the tables do not fit together: {reason}") from error
        for name in columns.schema.names:
            inputs = inputs.append_column(columns.schema.field(name), columns.column(name))
        return inputs

    def _flush(self, columns: pa.Table | None = None) -> None:
        self._inputs.append(pa.Table.from_pylist(self._rows, schema=tables.INPUTS))
        self._columns.append(_with_row_count(columns, len(self._rows)))
        self._rows = []


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

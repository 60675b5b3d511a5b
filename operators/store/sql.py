"""Ask the rows of a job in SQL: a view for each task, and one over all of them. Knows no terminal.

The files of results are read and nothing else is: a query is one SELECT, and DuckDB opens no other file or address.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operators.store.addresses import local_path
from operators.store.results import Results
from operators.store.store import Store, read
from schemas.errors import SpecError
from schemas.state import STATE_SQL

ALL = "rows"
"""The view over all tasks: their common columns, `task` and `state`; without `result`, whose types differ."""


@dataclass(frozen=True)
class Selected:
    """names: of the columns. rows: read as they are asked for."""

    names: list[str]
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def asked(store: Store, query: str) -> Iterator[Selected]:
    """What a query gives. Of a store elsewhere, the files of the tasks that it names are fetched first.

    Raises SpecError for what is no query that can be answered, or where there are no results; StoreLost, OSError.
    """
    import duckdb  # heavy, and most of what imports this room asks nothing

    results = Results(store)
    there = results.tasks()
    named = [task for task in there if _names(query, task)]
    tasks = there if not named or _names(query, ALL) else named
    if not there:
        raise SpecError(f"{store.address} holds no results of a job")
    with ExitStack() as stack:
        folder = local_path(store.address)
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sightread-")))
            _fetch(store, results, tasks, folder)
        db = stack.enter_context(duckdb.connect())
        try:
            for task in tasks:
                db.execute(_view(task, [str(folder.absolute() / key) for key in results.files(task)]))
            if ALL not in tasks:
                parts = (f"select * exclude (result) from {_quoted(task)}" for task in tasks)  # noqa: S608  quoted
                db.execute(f"create view {ALL} as {' union all by name '.join(parts)}")
            db.execute(f"set allowed_directories = [{_literal(str(folder.absolute()) + '/')}]")
            for setting in ("enable_external_access = false", "lock_configuration = true"):
                db.execute(f"set {setting}")
            statements = db.extract_statements(query)
            if len(statements) != 1 or statements[0].type not in _reading(duckdb):
                raise SpecError("a query is one SELECT: nothing is written, and nothing else is read")
            relation = db.execute(statements[0])
            yield Selected([column[0] for column in relation.description or ()], _rows(relation))
        except duckdb.Error as error:
            raise SpecError(f"the query cannot be answered: {_sentence(error)}; {_hint(there)}") from error


def _reading(duckdb: Any) -> tuple[Any, ...]:
    return duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN


def _rows(relation: Any) -> Iterator[tuple[Any, ...]]:
    while rows := relation.fetchmany(256):
        yield from rows


def _fetch(store: Store, results: Results, tasks: Sequence[str], folder: Path) -> None:
    for task in tasks:
        for key in results.files(task):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(read(store, key))


def _view(task: str, files: Sequence[str]) -> str:
    listed = ", ".join(map(_literal, files))
    reader = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
    columns = f"{_literal(task)} as task, {STATE_SQL} as state, *"
    return f"create view {_quoted(task)} as select {columns} from {reader}"  # noqa: S608  quoted


def _names(query: str, task: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(task)}(?!\w)", query, re.IGNORECASE) is not None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split())


def _hint(tasks: Sequence[str]) -> str:
    return f"views are {', '.join((ALL, *tasks))}"

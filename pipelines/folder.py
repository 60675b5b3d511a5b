"""The folder of a job: what it keeps under `_job/` in its store, beside the results. Knows nothing of Ray.

_job/identity.json             the layout of all this; a folder of another is not gone on with
_job/rounds/<round>.json       what was asked for, in order (pipelines/rounds.py)
_job/spec.yaml                 the spec of the last run, as it was understood
_job/inputs/<round>/part-….parquet    the inputs that a round brought: pieces, written while they are listed
_job/chunks/<round>/part-….parquet    the chunk manifest of a round, a file for every piece of its inputs
_job/parts/                    the log of answers (operators/store/part_log.py)
_job/listing.json              what the last listing found
_job/lease.json                who runs it (operators/store/lease.py)
_job/progress.json, events.jsonl      what it does, and what happened (pipelines/journal.py)
_job/summary.json              the audit of the last run
_job/logs/                     what runs log and engines print, where the store is a folder of this machine
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from operators.store.addresses import check_writable, local_path
from operators.store.store import Store, overwrite
from pipelines.plain_values import STORED, mapping_from_json, to_json, to_yaml
from pipelines.rounds import Round, definitions, specs
from schemas import tables
from schemas.address import is_remote
from schemas.errors import JobConflict, SpecError, StoreLost

LAYOUT = 6
"""Of these files. A folder that another version began with another layout is refused, not read wrongly."""
MOST_DIFFERENCES = 5
"""Between two jobs that are shown."""

_IDENTITY, _SPEC, _SUMMARY = "_job/identity.json", "_job/spec.yaml", "_job/summary.json"
_ROUNDS, _LISTING = "_job/rounds", "_job/listing.json"

_NUMBER = re.compile(r"[a-z]+-(\d{5,})\.parquet", re.ASCII)
"""Of a manifest's file."""

_log = logging.getLogger(__name__)


class JobFolder:
    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def store(self) -> Store:
        return self._store

    def claim(self) -> None:
        """Make the folder a job's, or find that it is. Raises JobConflict where another version began it, SpecError
        where nothing can be written."""
        identity = to_json({"layout": LAYOUT})
        try:
            new = self._store.put_if_absent(_IDENTITY, identity)
            if not new:
                self._check_layout()
            elif is_remote(self._store.address) and self._store.put_if_absent(_IDENTITY, identity):
                raise OSError("it lets several writers create one file, which no promise could rest on")
        except (OSError, ValueError) as error:  # ValueError: NUL in the path
            raise SpecError(f"output: {self._store.address} cannot be written: {error}") from error
        _log.info("%s is %s", self._store.address, "claimed" if new else "a job's already")

    def check(self) -> bool:
        """Whether the folder is a job's already. Raises what `claim` would, as far as it shows without writing."""
        check_writable(self._store.address)
        try:
            taken = self._store.stat(_IDENTITY) is not None
        except (OSError, ValueError) as error:
            raise SpecError(f"output: {self._store.address} cannot be written: {error}") from error
        if taken:
            self._check_layout()
        return taken

    def open(self) -> None:
        """For commands over a job that is there. Raises SpecError where none is, JobConflict for another version's."""
        self._check_layout()

    def check_readable(self) -> None:
        """For readers of results wherever they lie. Raises JobConflict where another version put them; SpecError
        for a file."""
        self._check_no_file()
        if self._store.stat(_IDENTITY) is not None:
            self._check_layout()

    def without_results(self, output: str) -> SpecError:
        """Why nothing can be shown. output: as somebody named it."""
        if self._store.stat(_IDENTITY) is None:
            return SpecError(f"{output} holds no results of a job")
        return SpecError(f"{output} holds a job without an answer so far; `sightread status` says how it stands")

    def _check_no_file(self) -> None:
        place = local_path(self._store.address)
        if place is not None and place.is_file():
            raise SpecError(f"{place} is no output but a file; an output is what a spec names so (`output:`)")

    def _check_layout(self) -> None:
        layout = mapping_from_json(self._bytes(_IDENTITY), f"{self._store.address}/{_IDENTITY}").get("layout")
        if layout != LAYOUT:
            there = "no layout" if layout is None else f"layout {layout!s:.20}"
            raise JobConflict(
                f"{self._store.address} was begun by another version of sightread ({there}, this one writes {LAYOUT}), "
                "which cannot be gone on with; its Parquet stays readable, and this job needs another `output:`"
            )

    # rounds

    def rounds(self) -> list[Round]:
        """In order. Raises JobConflict for one that is not as it was written."""
        rounds = []
        for key in self._store.list(_ROUNDS):
            if not key.endswith(".json"):
                continue
            rounds.append(self._read_round(key))
        rounds.sort(key=lambda round_: round_.number)
        if [round_.number for round_ in rounds] != list(range(len(rounds))):
            raise self._broken(_ROUNDS, ValueError("one of the files is missing"))
        return rounds

    def round(self, number: int) -> Round | None:
        """None where it is not there yet. Raises JobConflict."""
        key = _round(number)
        return self._read_round(key) if self._store.stat(key) is not None else None

    def _read_round(self, key: str) -> Round:
        try:
            round_ = Round.of(mapping_from_json(self._bytes(key), f"{self._store.address}/{key}"))
            if _round(round_.number) != key:
                raise ValueError(f"it is of round {round_.number}")
        except (SpecError, ValueError, TypeError, KeyError) as error:
            raise self._broken(key, error) from error
        return round_

    def add_round(self, round_: Round) -> None:
        """Raises StoreLost; JobConflict where somebody else added it meanwhile."""
        key = _round(round_.number)
        try:
            if not self._store.put_if_absent(key, to_json(round_.as_json())):
                raise JobConflict(f"{self._store.address}/{key} was written by somebody else just now")
        except OSError as error:
            raise self._no_more(error) from error

    def spec(self) -> dict[str, Any]:
        """The plain values of the spec of the last round. Raises SpecError where no job is."""
        return self._some_rounds()[-1].spec

    def specs(self) -> dict[str, dict[str, Any]]:
        """By task, the spec that it was defined in. Raises SpecError where no job is."""
        return specs(self._some_rounds())

    def decoding(self, task: str) -> dict[str, Any]:
        """How the units of a task are decoded. Raises SpecError."""
        decode = definitions(self._some_rounds()).get(task, {}).get("decode")
        if not isinstance(decode, dict):
            raise SpecError(f"{self._store.address} does not say how the units of {task} are decoded")
        return decode

    def _some_rounds(self) -> list[Round]:
        self.open()
        if not (rounds := self.rounds()):
            raise SpecError(f"{self._store.address} holds no job: nothing was asked for yet")
        return rounds

    def _bytes(self, key: str) -> bytes:
        try:
            with self._store.open(key) as file:
                return file.read(STORED.size_bytes + 1)
        except (OSError, ValueError) as error:
            self._check_no_file()
            is_absent = key == _IDENTITY and isinstance(error, FileNotFoundError)
            raise SpecError(f"{self._store.address} holds no job{'' if is_absent else f': {error}'}") from error

    # manifests

    def write_piece(self, manifest: int, piece: int, inputs: pa.Table) -> None:
        """Some rows of INPUTS and what comes along, of the round that brings them; after the piece before. Raises
        StoreLost."""
        self._put(_inputs(manifest, piece), inputs)

    def pieces(self, manifest: int) -> int:
        """How many there are, at least one. More may follow while a run lists, and never later. Raises JobConflict."""
        there = self._numbers(f"_job/inputs/{manifest:05d}")
        pieces = next(number for number in count() if number not in there)
        if not pieces or pieces < len(there):
            raise self._broken(_inputs(manifest, pieces), ValueError("it is missing"))
        return pieces

    def read_piece(self, manifest: int, piece: int) -> pa.Table:
        """Raises JobConflict for what is not as a piece was written."""
        key, complete = _inputs(manifest, piece), ("input_id", "input_uri", "slice")
        return self._table(key, tables.INPUTS, others=True, complete=complete)

    def read_ids(self, manifest: int) -> pa.ChunkedArray:
        """The input_id of each row of a manifest. Raises JobConflict."""
        columns = [self._ids(_inputs(manifest, piece)) for piece in range(self.pieces(manifest))]
        return pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())

    def read_inputs(self, manifests: Sequence[int]) -> pa.Table:
        """Of several rounds, in order; of an input that came again, the last row, in its first place. Raises
        JobConflict for a manifest that is not as one was written."""
        places = [(number, piece) for number in manifests for piece in range(self.pieces(number))]
        if not places:
            return tables.INPUTS.empty_table()
        try:
            table = pa.concat_tables([self.read_piece(*place) for place in places], promote_options="default")
        except pa.ArrowException as error:
            raise self._broken(_inputs(*places[-1]), error) from error
        # the last row of each, in the place of its first
        last = {input_id: row for row, input_id in enumerate(table.column("input_id").to_pylist())}
        return table if len(last) == table.num_rows else table.take(pa.array(list(last.values()), pa.int64()))

    def chunk_files(self, round_: Round) -> int:
        """How many chunk manifests a round has when all of it is planned. Raises JobConflict."""
        if not round_.chunk_files:
            return sum(map(self.pieces, round_.manifests))
        there = self.planned(round_.number)
        if round_.chunk_files > len(there):
            missing = next(number for number in count() if number not in there)
            raise self._broken(_chunks(round_.number, missing), ValueError("it is missing"))
        return round_.chunk_files

    def planned(self, round_: int) -> set[int]:
        """Which chunk manifests of a round are there."""
        return self._numbers(f"_job/chunks/{round_:05d}")

    def write_chunks(self, round_: int, index: int, chunks: pa.Table) -> None:
        """Raises StoreLost."""
        self._put(_chunks(round_, index), chunks)

    def drop(self, round_: int) -> None:
        """What a run left that was killed before its round was there."""
        for folder in (f"_job/inputs/{round_:05d}", f"_job/chunks/{round_:05d}"):
            for key in self._store.list(folder):
                self._store.delete(key)

    def read_chunks(self, round_: int, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of CHUNKS, or some of their columns. Raises JobConflict for what is not as a manifest was written."""
        names = tables.CHUNKS.names if columns is None else columns
        schema = pa.schema([tables.CHUNKS.field(name) for name in names])
        return self._table(_chunks(round_, index), schema, complete=names, some=columns)

    def _numbers(self, folder: str) -> set[int]:
        """Of the files that are there."""
        names = (key.rpartition("/")[2] for key in self._store.list(folder))
        return {int(form[1]) for form in map(_NUMBER.fullmatch, names) if form is not None}

    def write_spec(self, spec: dict[str, Any]) -> None:
        """Raises StoreLost."""
        try:
            overwrite(self._store, _SPEC, to_yaml(spec))
        except OSError as error:
            raise self._no_more(error) from error

    def write_listing(self, listing: dict[str, Any]) -> None:
        """of: the run that lists; over: whether it is done with it. Raises StoreLost."""
        try:
            overwrite(self._store, _LISTING, to_json(listing))
        except OSError as error:
            raise self._no_more(error) from error

    def is_listed(self, run: str) -> bool:
        """Whether the listing of that run has come to its end, good or bad."""
        listing = self.read_listing()
        return listing.get("of") == run and listing.get("over") is True

    def read_listing(self) -> dict[str, Any]:
        """Of the last run that listed; empty where none did. Raises SpecError."""
        if self._store.stat(_LISTING) is None:
            return {}
        return mapping_from_json(self._bytes(_LISTING), f"{self._store.address}/{_LISTING}")

    def read_summary(self) -> dict[str, Any]:
        """Of the last run that ended; empty where none did. Raises SpecError."""
        if self._store.stat(_SUMMARY) is None:
            return {}
        return mapping_from_json(self._bytes(_SUMMARY), f"{self._store.address}/{_SUMMARY}")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Raises OSError."""
        overwrite(self._store, _SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False).encode("utf-8", "replace"))

    def _put(self, key: str, table: pa.Table) -> None:
        try:
            self._store.put_if_absent(key, _parquet(table))
        except OSError as error:
            raise self._no_more(error) from error

    def _no_more(self, error: OSError) -> StoreLost:
        return StoreLost(f"output: {self._store.address} cannot be written any more: {error}")

    def _ids(self, key: str) -> pa.ChunkedArray:
        try:
            with self._store.open(key) as file:
                return pq.ParquetFile(file).read(columns=["input_id"]).column("input_id").cast(pa.string())
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise self._broken(key, error) from error

    def _table(
        self,
        key: str,
        schema: pa.Schema,
        complete: Sequence[str],
        *,
        others: bool = False,
        some: Sequence[str] | None = None,
    ) -> pa.Table:
        """others: whether columns may follow. complete: the columns that have no nulls. some: the only ones that are
        read; None: all."""
        try:
            with self._store.open(key) as file:
                table = pq.ParquetFile(file).read(columns=some)
            head = table.select(table.schema.names[: len(schema)])
            if head.schema.names != schema.names or (table.num_columns > len(schema) and not others):
                raise ValueError(f"its columns are {', '.join(table.schema.names[:20])}")
            head = head.cast(schema)
            if empty := [name for name in complete if head.column(name).null_count]:
                raise ValueError(f"{empty[0]} has nulls")
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._broken(key, error) from error
        for name in table.schema.names[len(schema) :]:
            head = head.append_column(table.schema.field(name), table.column(name))
        return head.replace_schema_metadata(table.schema.metadata)

    def _broken(self, key: str, error: Exception) -> JobConflict:
        return JobConflict(
            f"{self._store.address}/{key} is not as a run left it ({error}); give this job another `output:`, or put "
            "the file back"
        )


def _round(number: int) -> str:
    return f"{_ROUNDS}/{number:05d}.json"


def _inputs(manifest: int, piece: int) -> str:
    return f"_job/inputs/{manifest:05d}/part-{piece:05d}.parquet"


def _chunks(round_: int, index: int) -> str:
    return f"_job/chunks/{round_:05d}/part-{index:05d}.parquet"


def _parquet(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return memoryview(sink.getvalue())


def sha256_of(value: Any) -> str:
    """Of any JSON value, in one canonical form."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """One line for each key that differs, by its dotted path."""
    old, new = dict(_flat(there)), dict(_flat(here))
    return [
        f"{key}: {_shown(old, key)} there, {_shown(new, key)} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
    ]


_ABSENT = object()


def _shown(values: dict[str, Any], key: str) -> str:
    text = json.dumps(values[key], ensure_ascii=False) if key in values else "not set"
    return text if len(text) <= 200 else f"{text[:200]}…"


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, sub in value.items():
            yield from _flat(sub, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and value:
        for index, sub in enumerate(value):
            yield from _flat(sub, f"{place}[{index}]")
    else:
        yield place, value

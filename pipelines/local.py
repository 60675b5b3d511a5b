"""Run a job's operators in this process, without Ray and without committing: a look at a few files. Nothing is written.

The engine loads while the first files are opened. Units go one by one through decoding and the engine, as many at once
as the engine has slots. Knows nothing of stores or terminals.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import pyarrow as pa

from operators.code_check.row_check import RowCheck
from operators.infer.infer import Infer, to_ipc
from operators.media.decode import Decode
from operators.media.probe import Probe
from operators.processes.leave_pandas_out import leave_pandas_out
from pipelines import task_modules
from pipelines.chunking import cut, tasks_for, with_full_inputs
from pipelines.entries.braces import expanded
from pipelines.entries.local_files import absolute
from pipelines.job import Job
from pipelines.listing import Listing
from pipelines.planning import list_job
from schemas import tables
from schemas.address import canonical, is_remote, without_query
from schemas.errors import EngineError, SpecError, StoreLost
from schemas.input_uri import path_of, uri_of

MOST_AT_ONCE = 32
PROBED_TOGETHER = 8
"""Inputs that are opened before the first of them is asked about."""
_LOOK_S = 0.5
_CLOSE_S = 2.0

Rows: TypeAlias = list[dict[str, Any]]


def answer(job: Job) -> Iterator[dict[str, Any]]:
    """Result rows of every task over the job's inputs, in order, each with its `task`."""
    return LocalRun(job, listed(job).inputs, in_order=True).rows()


def listed(job: Job) -> Listing:
    """The inputs of a job, for a process that asks about them itself. Raises as list_job does."""
    if not any(task_modules.names_code(task.name) for task in job.spec.tasks):
        leave_pandas_out()
    return list_job(job)


def check_there(inputs: pa.Table, entries: Sequence[str]) -> None:
    """inputs: as entries of `inputs` were listed. Raises SpecError for an entry that itself cannot be had: it is not
    there, or nothing that is read."""
    faults = {
        row["input_uri"].rstrip("/"): row["error"]["message"]
        for row in inputs.filter(inputs.column("error").is_valid()).select(["input_uri", "error"]).to_pylist()
    }
    for address in (address for entry in entries for address in (expanded(entry) if "{" in entry else (entry,))):
        uri = canonical(address) if is_remote(address) else uri_of(absolute(path_of(address).expanduser()))
        if (message := faults.get(uri.rstrip("/"))) is not None:
            raise SpecError(f"{without_query(address)}: {message}")


def checked_code(job: Job, rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows whose code is to be tried out, as `rows` of LocalRun gives them: each as soon as it was, with what came of
    it in `verified`."""
    tasks = {task.name: task for task in job.tasks}
    check = RowCheck(job.decode)
    try:
        for row in rows:
            check(tasks[row["task"]], row)
            yield row
    finally:
        check.close()


class LocalRun:
    """inputs: as they are listed. limit: units that are asked about at most. in_order: rows come in the order of the
    inputs, rather than as they are answered.

    units: that were asked about so far. limited: whether there are more than `limit`.
    """

    def __init__(self, job: Job, inputs: pa.Table, *, limit: int | None = None, in_order: bool = False) -> None:
        self.units = 0
        self.limited = False
        self._job = job
        self._inputs = inputs
        self._limit = limit
        self._in_order = in_order

    def rows(self, idle: Callable[[], object] = lambda: None) -> Iterator[dict[str, Any]]:
        """Result rows of every task, each with its `task`. idle: called now and then while none comes.

        Raises EngineError where no engine can be had, StoreLost where no input can. Its children end with it.
        """
        workers = _Workers(self._job, self._chunks())
        answered: dict[int, Rows] = {}
        shown = 0
        try:
            while (chunk := workers.next(idle)) is not None:
                number, rows = chunk
                answered[number] = rows
                following = shown if self._in_order else number
                while following in answered:
                    yield from answered.pop(following)
                    workers.go_on()
                    shown += 1
                    following += 1
        finally:
            workers.close()

    def _chunks(self) -> Generator[pa.Table, None, None]:
        """Rows of CHUNKS, each with one unit that a task takes. Inputs are opened as their turn comes."""
        probe = Probe(self._job.decode, workers=min(PROBED_TOGETHER, self._job.workers))
        try:
            for start in range(0, self._inputs.num_rows, PROBED_TOGETHER):
                for chunk in self._cut(self._inputs.slice(start, PROBED_TOGETHER), probe):
                    if self.units == self._limit:
                        self.limited = True
                        return
                    self.units += 1
                    yield pa.Table.from_pylist([chunk], schema=tables.CHUNKS)
        finally:
            probe.close()

    def _cut(self, inputs: pa.Table, probe: Probe) -> Iterator[dict[str, Any]]:
        tasks = self._job.tasks
        columns = inputs.select(inputs.schema.names[len(tables.INPUTS) :])
        place = {input_id: row for row, input_id in enumerate(inputs.column("input_id").to_pylist())}
        for unit in with_full_inputs(probe(inputs.select(tables.INPUTS.names)).to_pylist(), tasks):
            if tasks_for(unit["unit_kind"], tasks):
                passthrough = to_ipc(columns.slice(place[unit["input_id"]], 1))
                planned = {**unit, "generation": 0, "attempt": 1}
                for chunk in cut([planned], tasks, max_units=1, max_bytes=0):
                    yield {**chunk, "passthrough": passthrough}


class _Workers:
    """Threads that take a chunk, decode it (one at a time) and have it answered."""

    def __init__(self, job: Job, chunks: Generator[pa.Table, None, None]) -> None:
        number = min(MOST_AT_ONCE, job.infer.engine.slots)
        self._going = True
        self._chunks = chunks
        self._decode = Decode(job.decode)
        self._infer = Infer(replace(job.infer, held=lambda: self._going))  # its engine begins to load
        self._turn = threading.Lock()
        self._taken = 0
        self._room = threading.Semaphore(2 * number)  # for chunks that are taken and not shown yet
        self._answered: queue.SimpleQueue[tuple[int, Rows] | BaseException | None] = queue.SimpleQueue()
        self._working = number
        self._threads = [threading.Thread(target=self._work, name="local", daemon=True) for _ in range(number)]
        for thread in self._threads:
            thread.start()

    def next(self, idle: Callable[[], object]) -> tuple[int, Rows] | None:
        """The next chunk that is answered: its place among them, and its rows. None at the end. Raises what a worker
        did."""
        while self._working:
            try:
                answered = self._answered.get(timeout=_LOOK_S)
            except queue.Empty:
                idle()
                continue
            if isinstance(answered, BaseException):
                raise answered
            if answered is not None:
                return answered
            self._working -= 1
        return None

    def go_on(self) -> None:
        """The rows of a chunk are shown."""
        self._room.release()

    def close(self) -> None:
        self._going = False
        self._room.release(len(self._threads))
        self._infer.close()
        self._decode.close()
        for thread in self._threads:
            thread.join(_CLOSE_S)
        self._decode.close()  # what was under way was tried once more, in another child
        if self._turn.acquire(timeout=_CLOSE_S):
            self._chunks.close()

    def _work(self) -> None:
        try:
            while (taken := self._take()) is not None:
                number, decoded = taken
                self._answered.put((number, list(_rows(self._infer(decoded)))))
        except BaseException as error:  # noqa: BLE001  handed to who waits, whatever it is
            self._answered.put(error)
        finally:
            self._answered.put(None)

    def _take(self) -> tuple[int, pa.Table] | None:
        self._room.acquire()
        with self._turn:
            chunk = next(self._chunks, None) if self._going else None
            if chunk is None:
                return None
            number, self._taken = self._taken, self._taken + 1
            return number, self._decode(chunk)


def _rows(answered: pa.Table) -> Iterator[dict[str, Any]]:
    """Raises EngineError, StoreLost."""
    for of_task in answered.to_pylist():
        if of_task["fault"] is not None:
            raise EngineError("engine_error", of_task["fault"])
        if of_task["lost"] is not None:
            raise StoreLost(of_task["lost"])
        for row in pa.ipc.open_stream(of_task["rows"]).read_all().to_pylist():
            yield {"task": of_task["task"], **row}

"""Asks the engine about every unit of a chunk. Knows nothing of Ray, of Parquet, or of what runs the model.

One instance lives in one actor and owns one engine child through its supervisor. It is called from several
threads at once, a chunk each, so that the engine always has requests waiting while chunks come and go.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from model.engines.kinds import EngineSettings
from operators.checks.intrinsics import READ_COLUMNS, find_intrinsics
from operators.infer.engine_handle import EngineHandle
from operators.infer.supervisor import Supervisor
from operators.infer.unit_request import Conversation, UnitRequest
from operators.media.formats import FULL_INPUT_KINDS
from operators.media.full_input import FullInputs
from operators.media.opened import Opened, opened
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import LEASE_LOST, EngineError, Failure, InputError, StoreLost
from schemas.request import Completion, Request
from schemas.task import Task

LOOK_S = 1.0
"""How often one looks, while an engine thinks, whether the answer is still wanted."""


@dataclass(frozen=True)
class Provenance:
    """What every row says about where it came from; plain strings."""

    job: str
    model: str
    weights_sha256: str
    prompt_sha256: dict[str, str]  # by task
    spec_sha256: str
    version: str


@dataclass(frozen=True)
class InferSettings:
    """engine: what the engine child builds. decode: how whole documents and videos are opened, which happens beside the
    engine. deadline_s: per request. logs: the folder of what the engine prints, None for one among the temporary
    files. localize: makes settings for this node of `engine`, where its files lie elsewhere. held: whether the run may
    still ask for anything; None: it may. answered: told, as replies come, how many rows and tokens this actor has
    answered so far, and how long ago its engine got its first request."""

    engine: EngineSettings
    tasks: tuple[Task, ...]
    decode: DecodeSettings
    provenance: Provenance
    deadline_s: float
    stall_s: float
    logs: Path | None = None
    localize: Callable[[EngineSettings], EngineSettings] | None = None
    held: Callable[[], bool] | None = None
    answered: Callable[[int, int, float | None], None] | None = None


class Infer:
    """DECODED_CHUNKS in, ANSWERED out: one row per chunk and task, holding the result rows of its units.

    Total: whatever happens to a unit becomes its row's status. When no engine can be had at all, or no input any more,
    the row says so instead (`fault`, `lost`): raising would reach the driver as Ray's own error, without ours.
    """

    def __init__(self, settings: InferSettings, supervisor: EngineHandle | None = None) -> None:
        self._settings = settings
        self._tasks = {task.name: task for task in settings.tasks}
        self._full_inputs = FullInputs(settings.decode)
        self._counting = threading.Lock()
        self._rows = self._tokens = 0
        self._supervisor: EngineHandle = supervisor or Supervisor(
            settings.engine, localize=settings.localize, stall_s=settings.stall_s, logs=settings.logs
        )

    def __call__(self, chunks: pa.Table) -> pa.Table:
        with self._supervisor.utilization.parse:
            return self._answered(chunks)

    def _answered(self, chunks: pa.Table) -> pa.Table:
        rows: list[dict[str, Any]] = []
        for chunk in _rows(chunks):
            plan = chunk["plan"].as_py()
            if not chunk["tasks"].as_py():  # a plan that comes alone
                rows.append({"chunk_id": "", "task": "", "plan": plan})
                continue
            retries, spent = (chunk[key].as_py() or [] for key in ("retries", "spent"))
            try:
                for row in self._answer(chunk):
                    lacks = sorted({*(chunk["lacks"].as_py() or ()), *self._full_inputs.lacks})
                    retries += self._full_inputs.retries()
                    with_ = {"lacks": lacks, "retries": retries, "spent": spent, "plan": plan}
                    rows.append({**row, "engine": self._use(), **with_})
                    retries, spent, plan = [], [], None
            except (EngineError, StoreLost) as error:  # no answers, for no fault of the units: nothing to commit
                why = "fault" if isinstance(error, EngineError) else "lost"
                rows += [
                    {"chunk_id": chunk["chunk_id"].as_py(), "task": task, why: str(error), "engine": self._use()}
                    for task in chunk["tasks"].as_py()
                ]
        return pa.Table.from_pylist(rows, schema=tables.ANSWERED)

    def close(self) -> None:
        self._full_inputs.close()
        self._supervisor.close()

    def _use(self) -> dict[str, Any]:
        """How much of this actor's engine was in use so far, and how often it died."""
        stats = self._supervisor.stats
        return {
            "actor": f"{socket.gethostname()}/{os.getpid()}",
            **self._supervisor.utilization.snapshot(),
            **{key: getattr(stats, key) for key in ("deaths", "death", "log")},
        }

    def _answer(self, chunk: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if (lost := chunk["lost"].as_py()) is not None:
            raise StoreLost(lost)
        self._go_on()
        chunk_id: str = chunk["chunk_id"].as_py()
        tasks = [self._tasks[name] for name in chunk["tasks"].as_py()]
        units = [self._opened(row) for row in chunk["units"].values]
        wanted = [row["requests"].as_py() for row in chunk["units"].values]
        passthrough = pa.ipc.open_stream(chunk["passthrough"].as_buffer()).read_all()
        requests = {task.name: _unit_requests(chunk_id, task, units, wanted, passthrough) for task in tasks}
        self._ask([request for of_task in requests.values() for *_, request in of_task])
        for task in tasks:
            rows = [
                self._row(chunk_id, task, units[index], request_index, request)
                for index, request_index, request in requests[task.name]
            ]
            indices = pa.array([index for index, *_ in requests[task.name]], pa.int64())
            columns = passthrough.take(indices) if passthrough.num_columns else passthrough
            yield {"chunk_id": chunk_id, "task": task.name, "rows": to_ipc(results_table(task, rows, columns))}

    def _opened(self, row: pa.StructScalar) -> Opened:
        if row["unit_kind"].as_py() not in FULL_INPUT_KINDS:
            return opened(row)
        use = self._supervisor.utilization
        with use.parse.paused(), use.opening:
            return self._full_inputs.open(row.as_py())

    def _ask(self, unit_requests: list[UnitRequest]) -> None:
        """Go on with every conversation until all have ended."""
        replies: queue.SimpleQueue[tuple[Request, Completion | Failure]] = queue.SimpleQueue()
        waiting: dict[str, Conversation] = {}
        left: Counter[int] = Counter()  # requests that a conversation waits for

        def ask_next(conversation: Conversation) -> None:
            following = list(conversation.next())
            left[id(conversation)] += len(following)
            if not left[id(conversation)]:
                self._count(rows=1)
            for request in following:
                waiting[request.request_id] = conversation
                self._supervisor.submit(
                    replace(request, deadline_s=self._settings.deadline_s),
                    lambda request, reply: replies.put((request, reply)),
                )

        for unit_request in unit_requests:
            if unit_request.conversation is not None:
                ask_next(unit_request.conversation)
        while waiting:
            with contextlib.suppress(queue.Empty):
                with self._supervisor.utilization.parse.paused():
                    request, reply = replies.get(timeout=LOOK_S)
                conversation = waiting.pop(request.request_id)
                conversation.receive(request, reply)
                left[id(conversation)] -= 1
                if isinstance(reply, Completion):
                    self._count(tokens=reply.output_tokens)
                ask_next(conversation)
            self._go_on()
            self._tell()
        if self._supervisor.broken is not None:
            raise EngineError("engine_error", self._supervisor.broken)

    def _count(self, rows: int = 0, tokens: int = 0) -> None:
        with self._counting:
            self._rows += rows
            self._tokens += tokens

    def _tell(self) -> None:
        if self._settings.answered is not None:
            since_s = self._supervisor.utilization.snapshot()["since_s"]
            ago_s = None if since_s is None else max(0.0, time.time() - since_s)
            self._settings.answered(self._rows, self._tokens, ago_s)

    def _go_on(self) -> None:
        """Raises StoreLost where another process has the output: then the engine is let go, with all that it was asked
        and did not answer."""
        if self._settings.held is not None and not self._settings.held():
            self._supervisor.close()
            raise StoreLost(LEASE_LOST)

    def _row(
        self, chunk_id: str, task: Task, unit: Opened, request_index: int, unit_request: UnitRequest
    ) -> dict[str, Any]:
        """One result row, all columns but the passthrough ones."""
        values = unit_request.values
        source = self._settings.provenance
        return {
            **unit.columns,
            "request_index": request_index,
            "parameters": json.dumps(values, ensure_ascii=False, default=str) if values else None,
            **unit_request.columns(unit.error),
            "chunk_id": chunk_id,
            "job": source.job,
            "model": source.model,
            "weights_sha256": source.weights_sha256,
            "prompt_sha256": source.prompt_sha256[task.name],
            "spec_sha256": source.spec_sha256,
            "version": source.version,
        }


def _unit_requests(
    chunk_id: str, task: Task, units: list[Opened], wanted: list[list[int] | None], passthrough: pa.Table
) -> list[tuple[int, int, UnitRequest]]:
    """(index of the unit, request_index, what is to be asked), in order. wanted: by unit, None for all requests."""
    names = [*task.parameter_names(), *(READ_COLUMNS if task.camera else ())]
    names = [name for name in dict.fromkeys(names) if name in passthrough.schema.names]
    rows = passthrough.select(names).to_pylist() if names else [{}] * len(units)
    unit_requests = []
    for index, (unit, row) in enumerate(zip(units, rows, strict=True)):
        camera, fault = _camera(task, unit, row) if task.camera else ({}, None)
        for number, values in enumerate(task.requests(row)):
            if (only := wanted[index]) is not None and number not in only:
                continue
            label = {
                "task": task.name,
                "sample": _file_name(unit.columns["input_uri"]),
                "unit": str(unit.columns["unit_index"]),
                "request": str(number),
            }
            values = None if values is None else {**values, **camera}
            name = f"{chunk_id}/{task.name}/{index}/{number}"
            unit_requests.append((index, number, UnitRequest(task, unit.unit, values, name, label, fault)))
    return unit_requests


def _file_name(uri: str) -> str:
    """Of a member of a shard the same as of the file that it was."""
    return uri.rsplit("/", 1)[-1].rpartition(".tar#")[2]


def _camera(task: Task, unit: Opened, row: Mapping[str, Any]) -> tuple[dict[str, Any], Failure | None]:
    """The value `intrinsics` of the unit's requests, none where nobody knows them; or why those of the row are none."""
    if unit.unit is None:
        return {}, None
    view = unit.unit.view
    try:
        camera = find_intrinsics({**row, **task.parameters}, unit.columns["input_uri"], view.width_px, view.height_px)
    except InputError as error:
        return {}, Failure("infer", error.kind, str(error))
    return {} if camera is None else {"intrinsics": asdict(camera)}, None


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Each row as scalars. Chunk by chunk: `combine_chunks` would copy the pictures out of shared memory."""
    for batch in table.to_batches():
        for index in range(batch.num_rows):
            yield {name: batch.column(name)[index] for name in batch.schema.names}


def results_table(task: Task, rows: list[dict[str, Any]], passthrough: pa.Table) -> pa.Table:
    """The result rows of one chunk in the task's own schema, with the passthrough columns in their place."""
    schema = tables.results_schema(task.output.arrow_type, list(passthrough.schema))
    columns = [
        passthrough.column(field.name)
        if field.name in passthrough.schema.names
        else pa.array([row[field.name] for row in rows], type=field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def to_ipc(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()

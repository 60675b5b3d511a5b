"""Infer the engine about every unit of a chunk. Knows nothing of Ray, of Parquet, or of what runs the model.

One instance lives in one actor and owns one engine child through its supervisor. It is called from several
threads at once, a chunk each, so that the engine always has requests waiting while chunks come and go.
"""

from __future__ import annotations

import io
import json
import os
import queue
import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from model.engines.kinds import EngineSettings
from operators.checks.intrinsics import COLUMNS, find_intrinsics
from operators.infer.engine_handle import EngineHandle
from operators.infer.supervisor import Supervisor
from operators.infer.unit_request import Conversation, UnitRequest
from operators.media.full_input import FULL_INPUT_KINDS, FullInputs
from operators.media.opened import Opened, opened
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import EngineError, Failure, InputError
from schemas.request import Completion, Request
from schemas.task import Task


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
    """engine: what the engine child builds. decode: how whole documents and videos
    are opened, which happens beside the engine. deadline_s: per request."""

    engine: EngineSettings
    tasks: tuple[Task, ...]
    decode: DecodeSettings
    provenance: Provenance
    deadline_s: float
    stall_s: float


class Infer:
    """DECODED_CHUNKS in, ANSWERED out: one row per chunk and task, holding the result rows of its units.

    Total: whatever happens to a unit becomes its row's status. When no engine can be had at all, the row says
    so instead (`fault`): raising would reach the driver as Ray's own error, without ours.
    """

    def __init__(self, settings: InferSettings, supervisor: EngineHandle | None = None) -> None:
        self._settings = settings
        self._tasks = {task.name: task for task in settings.tasks}
        self._full_inputs = FullInputs(settings.decode)
        self._supervisor: EngineHandle = supervisor or Supervisor(settings.engine, stall_s=settings.stall_s)

    def __call__(self, chunks: pa.Table) -> pa.Table:
        rows: list[dict[str, Any]] = []
        for chunk in _rows(chunks):
            try:
                rows.extend({**row, "engine": self._use()} for row in self._answer(chunk))
            except EngineError as error:  # no answers, for no fault of the units: nothing to commit
                rows += [
                    {"chunk_id": chunk["chunk_id"].as_py(), "task": task, "fault": str(error)}
                    for task in chunk["tasks"].as_py()
                ]
        return pa.Table.from_pylist(rows, schema=tables.ANSWERED)

    def close(self) -> None:
        self._supervisor.close()

    def _use(self) -> dict[str, Any]:
        """How much of this actor's engine was in use so far, and how often it died."""
        used = self._supervisor.utilization.snapshot()
        return {
            "actor": f"{socket.gethostname()}/{os.getpid()}", **used, "deaths": self._supervisor.stats.deaths
        }  # fmt: skip

    def _answer(self, chunk: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        chunk_id: str = chunk["chunk_id"].as_py()
        tasks = [self._tasks[name] for name in chunk["tasks"].as_py()]
        units = [self._opened(row) for row in chunk["units"].values]
        passthrough = pa.ipc.open_stream(chunk["passthrough"].as_buffer()).read_all()
        asked = {task.name: _answers(task, units, passthrough) for task in tasks}
        self._ask(chunk_id, [answer for answers in asked.values() for *_, answer in answers])
        for task in tasks:
            rows = [
                self._row(chunk_id, task, units[index], request_index, answer)
                for index, request_index, answer in asked[task.name]
            ]
            places = pa.array([index for index, *_ in asked[task.name]], pa.int64())
            own = passthrough.take(places) if passthrough.num_columns else passthrough
            yield {"chunk_id": chunk_id, "task": task.name, "rows": to_ipc(results_table(task, rows, own))}

    def _opened(self, row: pa.StructScalar) -> Opened:
        return self._full_inputs.open(row.as_py()) if row["unit_kind"].as_py() in FULL_INPUT_KINDS else opened(row)

    def _ask(self, chunk_id: str, answers: list[UnitRequest]) -> None:
        """Carry on the loop of every answer until all have ended."""
        heard: queue.SimpleQueue[tuple[Request, Completion | Failure]] = queue.SimpleQueue()
        waiting: dict[str, Conversation] = {}

        def ask_next(conversation: Conversation) -> None:
            request = conversation.next()
            if request is not None:
                request = replace(
                    request,
                    request_id=f"{chunk_id}/{conversation.name}/{len(conversation.history)}",
                    deadline_s=self._settings.deadline_s,
                    label=conversation.label(),
                )
                waiting[request.request_id] = conversation
                self._supervisor.submit(request, lambda request, reply: heard.put((request, reply)))

        for answer in answers:
            for conversation in answer.conversations:
                ask_next(conversation)
        while waiting:
            request, reply = heard.get()
            conversation = waiting.pop(request.request_id)
            conversation.receive(request, reply)
            ask_next(conversation)
        if self._supervisor.broken is not None:
            raise EngineError("engine_error", self._supervisor.broken)

    def _row(self, chunk_id: str, task: Task, unit: Opened, request_index: int, answer: UnitRequest) -> dict[str, Any]:
        """One result row, all columns but the passthrough ones."""
        source = self._settings.provenance
        return {
            **unit.columns,
            "request_index": request_index,
            "parameters": json.dumps(answer.values, ensure_ascii=False, default=str) if answer.values else None,
            **answer.columns(unit.error),
            "chunk_id": chunk_id,
            "job": source.job,
            "model": source.model,
            "weights_sha256": source.weights_sha256,
            "prompt_sha256": source.prompt_sha256[task.name],
            "spec_sha256": source.spec_sha256,
            "version": source.version,
        }


def _answers(task: Task, units: list[Opened], passthrough: pa.Table) -> list[tuple[int, int, UnitRequest]]:
    """(index of the unit, request_index, what is to be answered), in order."""
    known = [*task.parameter_names(), *(COLUMNS if task.camera else ())]
    known = [name for name in dict.fromkeys(known) if name in passthrough.schema.names]
    values = passthrough.select(known).to_pylist() if known else [{}] * len(units)
    found = []
    for index, (unit, row) in enumerate(zip(units, values, strict=True)):
        camera, fault = _camera(task, unit, row) if task.camera else ({}, None)
        for number, request in enumerate(task.requests(row)):
            label = {
                "task": task.name,
                "sample": unit.columns["input_uri"].rsplit("/", 1)[-1],
                "unit": str(unit.columns["unit_index"]),
                "request": str(number),
            }
            request = None if request is None else {**request, **camera}
            answer = UnitRequest(task, unit.unit, request, f"{task.name}/{index}/{number}", label, fault)
            found.append((index, number, answer))
    return found


def _camera(task: Task, unit: Opened, row: Mapping[str, Any]) -> tuple[dict[str, Any], Failure | None]:
    """The value `intrinsics` of the unit's requests, none where nobody knows them; or why what is said is no camera."""
    if unit.unit is None:
        return {}, None
    view = unit.unit.view
    try:
        found = find_intrinsics({**row, **task.parameters}, unit.columns["input_uri"], view.width_px, view.height_px)
    except InputError as error:
        return {}, Failure("infer", error.kind, str(error))
    return {} if found is None else {"intrinsics": asdict(found)}, None


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

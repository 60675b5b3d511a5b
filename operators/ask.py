"""Ask the engine about every unit of a chunk. Knows nothing of Ray, of Parquet, or of what runs the model.

One instance lives in one actor and owns one engine child through its supervisor. It is called from several
threads at once, a chunk each, so that the engine always has requests waiting while chunks come and go.
"""

from __future__ import annotations

import io
import queue
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

import pyarrow as pa

from operators.children import Limits
from operators.supervisor import Supervisor
from schemas import tables
from schemas.ask import Clip, Completion, Picture, Request
from schemas.errors import EngineError, Failure, InvalidOutput
from schemas.task import Step, Task, TextLine, Unit, View


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
class AskSettings:
    """engine: what the engine child builds (`operators/engine_child.py`). deadline_s: per request."""

    engine: dict[str, Any]
    tasks: tuple[Task, ...]
    provenance: Provenance
    deadline_s: float
    stall_s: float


class Ask:
    """DECODED_CHUNKS in, ANSWERED out: one row per chunk and task, holding a result row for each unit.

    Total: whatever happens to a unit becomes its row's status. When no engine can be had at all, the row says
    so instead (`fault`): raising would reach the driver as Ray's own error, without ours.
    """

    def __init__(self, settings: AskSettings) -> None:
        self._settings = settings
        self._tasks = {task.name: task for task in settings.tasks}
        # a model maps more address space than it uses; the fake has faults that would eat the machine
        limits = Limits(memory_mb=2048) if settings.engine["kind"] == "scripted" else Limits()
        self._supervisor = Supervisor(settings.engine, limits=limits, stall_s=settings.stall_s)

    def __call__(self, chunks: pa.Table) -> pa.Table:
        rows: list[dict[str, Any]] = []
        for chunk in _rows(chunks):
            try:
                rows.extend(self._answer(chunk))
            except EngineError as error:  # no answers, for no fault of the units: nothing to commit
                rows += [
                    {"chunk_id": chunk["chunk_id"].as_py(), "task": task, "fault": str(error)}
                    for task in chunk["tasks"].as_py()
                ]
        return pa.Table.from_pylist(rows, schema=tables.ANSWERED)

    def close(self) -> None:
        self._supervisor.close()

    def _answer(self, chunk: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        chunk_id: str = chunk["chunk_id"].as_py()
        tasks = [self._tasks[name] for name in chunk["tasks"].as_py()]
        units: pa.StructArray = chunk["units"].values
        carried = pa.ipc.open_stream(chunk["carried"].as_buffer()).read_all()
        answers = self._ask(chunk_id, tasks, units)
        for task in tasks:
            rows = [self._row(chunk_id, task, units[i], answers[task.name, i]) for i in range(len(units))]
            table = results_table(task, rows, carried)
            yield {"chunk_id": chunk_id, "task": task.name, "rows": to_ipc(table)}

    def _ask(self, chunk_id: str, tasks: list[Task], units: pa.StructArray) -> dict[tuple[str, int], _Answer]:
        """Carry on every task's loop over every unit until all have ended."""
        asked: dict[tuple[str, int], _Answer] = {}
        heard: queue.SimpleQueue[tuple[Request, Completion | Failure]] = queue.SimpleQueue()
        waiting: dict[str, _Talk] = {}

        def ask_next(talk: _Talk) -> None:
            request = talk.next()
            if request is not None:
                request = replace(
                    request,
                    request_id=f"{chunk_id}/{talk.name}/{len(talk.history)}",
                    deadline_s=self._settings.deadline_s,
                    label=talk.label(),
                )
                waiting[request.request_id] = talk
                self._supervisor.submit(request, lambda request, reply: heard.put((request, reply)))

        for index in range(len(units)):
            unit = _unit(units[index])
            for task in tasks:
                answer = asked[task.name, index] = _Answer(task, index, unit, units[index]["input_uri"].as_py())
                for talk in answer.talks:
                    ask_next(talk)
        while waiting:
            request, reply = heard.get()
            talk = waiting.pop(request.request_id)
            talk.hear(request, reply)
            ask_next(talk)
        if self._supervisor.broken is not None:
            raise EngineError("engine_error", self._supervisor.broken)
        return asked

    def _row(self, chunk_id: str, task: Task, unit: pa.StructScalar, answer: _Answer) -> dict[str, Any]:
        """One result row, all columns but the carried ones."""
        source = self._settings.provenance
        completions = [step.completion for talk in answer.talks for step in talk.history]
        status, failure, result = answer.outcome(unit["error"].as_py())
        return {
            **{key: unit[key].as_py() for key in _COPIED},
            "request_index": 0,
            "status": status,
            "error": failure,
            "result": result,
            "text": answer.text(),
            "finish_reason": answer.finish_reason(),
            "prompt_tokens": sum(each.prompt_tokens for each in completions),
            "output_tokens": sum(each.output_tokens for each in completions),
            "decode_s": unit["decode_s"].as_py() or 0.0,
            "infer_s": sum(each.infer_s for each in completions),
            "chunk_id": chunk_id,
            "job": source.job,
            "model": source.model,
            "weights_sha256": source.weights_sha256,
            "prompt_sha256": source.prompt_sha256[task.name],
            "spec_sha256": source.spec_sha256,
            "version": source.version,
        }


_COPIED = (
    *("input_id", "input_uri", "unit_index", "unit_count", "unit_kind", "page", "start_s", "end_s"),
    *("width_px", "height_px", "times_s"),
)


class _Answer:
    """One task's answer about one unit: a single talk, or one for each piece of its lines."""

    def __init__(self, task: Task, index: int, unit: Unit | None, uri: str) -> None:
        self.task = task
        self._unit = unit
        name = f"{task.name}/{index}"
        self.talks: list[_Talk] = []
        self._lines: list[tuple[TextLine, list[_Talk]]] | None = None
        if unit is None:
            return
        if task.parse_lines is None or unit.lines is None:
            self.talks.append(_Talk(task, f"{name}/0", unit, uri))
            return
        self._lines = []
        for line in unit.lines:
            pieces = [
                _Talk(task, f"{name}/{len(self.talks) + i}", Unit(unit.view, piece), uri, _most_tokens(piece))
                for i, piece in enumerate(line.pieces)
            ]
            self._lines.append((line, pieces))
            self.talks += pieces

    def text(self) -> str | None:
        """The raw replies: as it is of a single talk, lines and their pieces otherwise."""
        if self._lines is None:
            return self.talks[0].reply() if self.talks else None
        return "\n".join(" ".join(talk.reply() or "" for talk in pieces) for _, pieces in self._lines)

    def finish_reason(self) -> str | None:
        """`length` when any reply was cut."""
        reasons = {talk.history[-1].completion.finish_reason for talk in self.talks if talk.history}
        return "length" if "length" in reasons else "stop" if reasons else None

    def outcome(self, unreadable: dict[str, Any] | None) -> tuple[str, dict[str, Any] | None, Any]:
        """Status, error struct and result of the row."""
        if unreadable is not None:
            return "unreadable_input", unreadable, None
        for number, talk in enumerate(self.talks, start=1):
            if (failure := talk.failure()) is not None:
                if self._lines is not None:
                    failure = replace(failure, message=f"part {number} of {len(self.talks)}: {failure.message}")
                return "engine_failed", asdict(failure), None
        try:
            return "ok", None, self.task.output.check(self._parsed())
        except InvalidOutput as error:
            return "invalid_output", asdict(Failure("parse", "unparsable", str(error))), None
        except Exception as error:  # noqa: BLE001  the row's boundary: a parser may do anything
            return "invalid_output", asdict(Failure("parse", "internal", repr(error))), None

    def _parsed(self) -> Any:
        assert self._unit is not None
        if self._lines is None:
            return self.task.parse(self.talks[0].reply() or "", self._unit.view)
        assert self.task.parse_lines is not None
        read = tuple((line, tuple(talk.reply() or "" for talk in pieces)) for line, pieces in self._lines)
        return self.task.parse_lines(read, self._unit.view)


def _most_tokens(piece: Picture) -> int:
    """Bound of a reply about a piece of a line: no script has more than that in a token's square of the picture."""
    return 16 + 6 * (piece.width_px * piece.height_px // 1024)


class _Talk:
    """The loop of one task over one unit, or over a piece of it: what was asked and what came back."""

    def __init__(self, task: Task, name: str, unit: Unit, uri: str, most_tokens: int | None = None) -> None:
        self.task = task
        self.name = name
        self.history: tuple[Step, ...] = ()
        self._unit = unit
        self._uri = uri
        self._most_tokens = most_tokens
        self._failure: Failure | None = None

    def next(self) -> Request | None:
        if self._failure is not None:
            return None
        try:
            request = self.task.next(self.task, self._unit, self.history)
        except Exception as error:  # noqa: BLE001  the row's boundary: a task's own code may do anything
            self._failure = Failure("ask", "internal", f"task {self.task.name}: {error!r}")
            return None
        if request is not None and self._most_tokens is not None:
            most = min(request.sampling.max_tokens, self._most_tokens)
            request = replace(request, sampling=replace(request.sampling, max_tokens=most))
        return request

    def hear(self, request: Request, answer: Completion | Failure) -> None:
        if isinstance(answer, Failure):
            self._failure = answer
        else:
            self.history += (Step(request, answer),)

    def label(self) -> tuple[tuple[str, str], ...]:
        return (
            ("task", self.task.name),
            ("sample", self._uri.rsplit("/", 1)[-1]),
            ("unit", str(self._unit.view.unit_index)),
            ("step", str(len(self.history))),
        )

    def reply(self) -> str | None:
        return clean_text(self.history[-1].completion.text) if self.history else None

    def failure(self) -> Failure | None:
        if self._failure is None and not self.history:
            return Failure("ask", "internal", f"task {self.task.name} asked nothing")
        return self._failure


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Each row as scalars. Chunk by chunk: `combine_chunks` would copy the pictures out of shared memory."""
    for batch in table.to_batches():
        for index in range(batch.num_rows):
            yield {name: batch.column(name)[index] for name in batch.schema.names}


def _unit(row: pa.StructScalar) -> Unit | None:
    """The unit with its pictures as views of the Arrow buffers, or None when it could not be read."""
    if row["error"].is_valid:
        return None
    view = View(
        unit_kind=row["unit_kind"].as_py(),
        unit_index=row["unit_index"].as_py(),
        width_px=row["width_px"].as_py(),
        height_px=row["height_px"].as_py(),
        page=row["page"].as_py(),
        start_s=row["start_s"].as_py(),
        end_s=row["end_s"].as_py(),
        times_s=tuple(row["times_s"].as_py() or ()),
    )
    pictures = tuple(map(_picture, row["pictures"]))
    if view.unit_kind == "clip":
        return Unit(view, Clip(pictures, view.times_s))
    lines = _text_lines(row["strips"].values) if row["strips"].is_valid else None
    return Unit(view, pictures[0], lines)


def _text_lines(strips: pa.StructArray) -> tuple[TextLine, ...]:
    lines = []
    for _, pieces in groupby(strips, key=lambda strip: strip["line"].as_py()):
        own = list(pieces)
        x0, y0, x1, y1 = own[0]["box"].as_py()
        lines.append(TextLine((x0, y0, x1, y1), tuple(_picture(piece["picture"]) for piece in own)))
    return tuple(lines)


def _picture(row: pa.StructScalar) -> Picture:
    """A view of the Arrow buffer."""
    return Picture(row["width_px"].as_py(), row["height_px"].as_py(), memoryview(row["data"].as_buffer()))


def clean_text(text: str) -> str:
    """Text that Arrow can hold: a lone surrogate becomes U+FFFD."""
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text


def results_table(task: Task, rows: list[dict[str, Any]], carried: pa.Table) -> pa.Table:
    """The result rows of one chunk in the task's own schema, with the carried columns in their place."""
    schema = tables.results_schema(task.output.arrow_type, list(carried.schema))
    columns = [
        carried.column(field.name)
        if field.name in carried.schema.names
        else pa.array([row[field.name] for row in rows], type=field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def to_ipc(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()

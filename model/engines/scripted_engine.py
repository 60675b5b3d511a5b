"""The fake engine that ships: answers from a recording, at a chosen pace, with chosen faults. Needs no model.

A recording is JSON lines. Each names what it answers and how:

    {"sample": "a.pdf", "task": "ocr", "reply": "…"}      base name of the input, task; `*` stands for any
    {…, "unit": 3, "request": 1, "step": 0}                this unit, this request, this turn of the loop only
    {…, "delay_s": 0.5}                                    after so long
    {…, "finish_reason": "length"}
    {…, "fault": "crash", "once": "marker"}                see FAULTS; `once`: only while that file is absent
    {…, "asked_log": "asked.txt"}                          a line is appended for every ask

The most specific line wins; among equals the last. A reply may use {sample}, {task}, {unit}, {request}, {step} and
{sha256}, the hash of the request's first picture's data. Other keys (prompt, source, note, id) are a recording's
own remarks. Tokens are counted as words.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.errors import EngineError, SpecError
from schemas.request import Clip, Completion, FinishReason, Picture, Request

FAULTS = ("error", "crash", "exit", "hang", "stall", "memory")
"""error: answered as failed; crash: SIGSEGV; exit: the process ends; hang: the loop stands still; stall: never
answered while the loop goes on; memory: allocates until the limit strikes."""

_KEYS = {"sample", "task", "unit", "request", "step", "reply", "delay_s", "finish_reason", "fault", "once", "asked_log"}
_REMARKS = {"id", "prompt", "source", "note"}


@dataclass(frozen=True)
class Line:
    sample: str = "*"
    task: str = "*"
    unit: int | None = None
    request: int | None = None
    step: int | None = None
    reply: str = ""
    delay_s: float = 0.0
    finish_reason: FinishReason = "stop"
    fault: str | None = None
    once: str | None = None
    asked_log: str | None = None

    def answers(self, label: dict[str, str]) -> bool:
        return (
            self.sample in ("*", label.get("sample"))
            and self.task in ("*", label.get("task"))
            and (self.unit is None or str(self.unit) == label.get("unit"))
            and (self.request is None or str(self.request) == label.get("request"))
            and (self.step is None or str(self.step) == label.get("step"))
            and not (self.once is not None and Path(self.once).exists())
        )

    @property
    def specific(self) -> int:
        chosen = (self.unit, self.request, self.step)
        return (self.sample != "*") + (self.task != "*") + sum(part is not None for part in chosen)


def read_recording(path: Path) -> list[Line]:
    """Raises SpecError that names file and line."""
    lines = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from error
    for number, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        place = f"{path}, line {number}"
        try:
            data = json.loads(content)
        except ValueError as error:
            raise SpecError(f"{place}: not JSON: {error}") from error
        if not isinstance(data, dict):
            raise SpecError(f"{place}: not a JSON object")
        if unknown := sorted(data.keys() - _KEYS - _REMARKS):
            raise SpecError(f"{place}: unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
        if "reply" not in data and "fault" not in data:
            raise SpecError(f"{place}: needs a reply or a fault")
        if data.get("fault") not in (None, *FAULTS):
            raise SpecError(f"{place}: unknown fault {data['fault']!r}; known are {', '.join(FAULTS)}")
        if data.get("finish_reason", "stop") not in ("stop", "length"):
            raise SpecError(f"{place}: finish_reason is stop or length")
        lines.append(Line(**{key: value for key, value in data.items() if key in _KEYS}))
    return lines


@dataclass
class ScriptedEngine:
    """recording: lines as above. slots: how many requests it works on at once."""

    recording: Path
    slots: int = 8
    _progress: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._lines = read_recording(Path(self.recording))
        self._free = asyncio.Semaphore(self.slots)

    @property
    def progress(self) -> int:
        return self._progress

    async def generate(self, request: Request) -> Completion:
        async with self._free:
            started = time.monotonic()
            label = dict(request.label)
            line = self._line(label)
            if line.asked_log is not None:
                with Path(line.asked_log).open("a") as log:
                    log.write(f"{request.request_id}\n")
            self._progress += 1
            if line.delay_s:
                await self._wait(line.delay_s)
            if line.fault is not None:
                if line.once is not None:
                    Path(line.once).touch()
                await _misbehave(line.fault)
            self._progress += 1
            text = _fill(line.reply, label, request)
            return Completion(
                text=text,
                finish_reason=line.finish_reason,
                prompt_tokens=_words(request),
                output_tokens=len(text.split()),
                infer_s=time.monotonic() - started,
            )

    async def close(self) -> None:
        return

    async def _wait(self, seconds: float) -> None:
        """A slow answer is progress all the while, as tokens of a model would be."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.1))
            self._progress += 1

    def _line(self, label: dict[str, str]) -> Line:
        fitting = [line for line in self._lines if line.answers(label)]
        if not fitting:
            raise EngineError(
                "engine_error",
                f"the recording has no reply for task {label.get('task')!r}, sample {label.get('sample')!r}",
            )
        most = max(line.specific for line in fitting)
        return [line for line in fitting if line.specific == most][-1]


async def _misbehave(fault: str) -> None:
    match fault:
        case "error":
            raise EngineError("engine_error", "a scripted error")
        case "crash":
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(1)
        case "hang":
            while True:
                time.sleep(3600)
        case "stall":
            await asyncio.Event().wait()
        case "memory":
            hoard = []
            while True:
                hoard.append(bytearray(64 << 20))
    await asyncio.sleep(3600)  # the signal is on its way


def _fill(reply: str, label: dict[str, str], request: Request) -> str:
    values: dict[str, Any] = {**label}
    if "{sha256}" in reply:
        first = next(_pictures(request))
        values["sha256"] = hashlib.sha256(first.data).hexdigest()
    return re.sub(
        r"\{(sample|task|unit|request|step|sha256)\}", lambda match: str(values.get(match[1], match[0])), reply
    )


def _pictures(request: Request) -> Any:
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, Picture):
                yield part
            elif isinstance(part, Clip):
                yield from part.frames


def _words(request: Request) -> int:
    return sum(
        len(part.split()) if isinstance(part, str) else 1 for message in request.messages for part in message.parts
    )

"""A few small questions to the engine of a job, before the job: does it load, see, count and answer in time?

Knows nothing of machines or of what else is wrong.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from model.engines.kinds import EngineSettings
from model.prompts.rgb import pack
from operators.infer.supervisor import Supervisor
from schemas.errors import EngineError, Failure
from schemas.finding import Finding
from schemas.output import record
from schemas.request import Clip, Completion, Message, Part, Picture, Request, Sampling

SLOW_S = 10.0
_SIDE_PX = 256
_TOKENS = (_SIDE_PX // 32) ** 2
_SCHEMA = record(seen={"type": "boolean"})
_QUESTION = "What is shown?"


def canary(engine: EngineSettings, *, clips: bool, schema: bool, load_s: float) -> list[Finding]:
    """clips, schema: whether the job will ask such things.

    A picture, one twice as wide, a clip, and a question with a schema, all at once.
    """
    one, wide = _picture(_SIDE_PX, 1), _picture(2 * _SIDE_PX, 2)
    asked = {"picture": _request("picture", one), "wide": _request("wide", wide)}
    if clips:
        frames = tuple(_picture(_SIDE_PX, number) for number in range(4))
        asked["clip"] = _request("clip", Clip(frames, (0.0, 0.5, 1.0, 1.5)))
    if schema:
        asked["schema"] = _request("schema", one, schema=_SCHEMA, tokens=64)
    supervisor = Supervisor(engine, load_s=load_s)
    try:
        started = time.monotonic()
        first = supervisor.ask(_request("first", one, tokens=1)).result()
        ready_s = time.monotonic() - started
        if isinstance(first, Failure):
            return [Finding("fail", "canary", first.message, _fix(first.message, supervisor.log.path))]
        started = time.monotonic()
        futures = {name: supervisor.ask(request) for name, request in asked.items()}
        answers = {name: future.result() for name, future in futures.items()}
        answers_s = time.monotonic() - started
    except EngineError as error:
        return [Finding("fail", "canary", str(error), _fix(str(error), supervisor.log.path))]
    finally:
        supervisor.close()
    failed = {name: answer.message for name, answer in answers.items() if isinstance(answer, Failure)}
    findings = [
        Finding("fail", "canary", f"{name}: {message}", _fix(message, supervisor.log.path))
        for name, message in failed.items()
    ]
    if not failed:
        message = f"first answer after {ready_s:.1f} s, then {len(answers)} in {answers_s:.1f} s"
        if answers_s > SLOW_S:
            fix = "short answers take this long: is the engine busy with others, or too large for this machine?"
            findings.append(Finding("note", "canary", message, fix))
        else:
            findings.append(Finding("ok", "canary", message))
    complete = {name: answer for name, answer in answers.items() if isinstance(answer, Completion)}
    return findings + list(_doubts(complete))


def _doubts(answers: dict[str, Completion]) -> Iterable[Finding]:
    """What comes back without an error and is wrong all the same (docs/facts/qwen3-vl.md §5)."""
    one, wide = answers.get("picture"), answers.get("wide")
    if one is not None and wide is not None and one.prompt_tokens:
        more = wide.prompt_tokens - one.prompt_tokens
        if more != _TOKENS:
            yield Finding(
                "note", "pictures", f"{_TOKENS} more squares of 32 px made {more} more tokens",
                "the engine resizes pictures again, or is no Qwen3-VL: compare its pixel bounds with the checkpoint's",
            )  # fmt: skip
    if any("<think>" in answer.text for answer in answers.values()):
        yield Finding(
            "note", "thinking", "reasoning comes as text", "start the server with --reasoning-parser deepseek_r1"
        )
    held = answers.get("schema")
    if held is not None and not _fits(held.text):
        yield Finding(
            "fail", "schema", f"an answer held to a JSON Schema ended in {held.text[-40:]!r} ({held.finish_reason})",
            'vLLM: --structured-outputs-config \'{"backend": "xgrammar", "disable_any_whitespace": true}\'; '
            "other servers: one that knows response_format json_schema",
        )  # fmt: skip


def _fits(text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and isinstance(value.get("seen"), bool)


def _fix(message: str, log: Path) -> str:
    """What to do about a failure that explains itself only to those who have met it. log: where the engine printed."""
    for sign, fix in (
        ("api_key_env", "export the variable in the shell that starts Ray on every node"),
        ("trust-request-mm-kwargs", "start vLLM with that flag, or say engine.clips: images"),
        ("cannot be reached", "start the server, or fix engine.url"),
        ("is not JSON", "fix engine.url: most servers want /v1 at its end"),
        ("does not serve", "say engine.model as the server names it"),
        ("memory", "take a smaller model, engine.slots or engine.max_context, or a larger GPU"),
        ("too_long", "raise engine.max_context"),
        ("gives no numbers", "say engine.dtype: float32, or fetch the checkpoint anew"),
    ):
        if sign in message:
            return fix
    if log.is_file() and log.stat().st_size:
        return f"see what the engine printed: {log}"
    return "the engine printed nothing about it: ask one file with `sightread try`"


def _picture(width_px: int, seed: int) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (_SIDE_PX, width_px, 3), np.uint8)
    return pack(pixels)


def _request(name: str, shown: Part, *, schema: dict[str, Any] | None = None, tokens: int = 8) -> Request:
    message = Message("user", (shown, _QUESTION))
    return Request(name, (message,), Sampling(max_tokens=tokens), deadline_s=60.0, schema=schema)

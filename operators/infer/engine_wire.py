"""Requests and completions as frames of JSON and bytes: how they cross to the engine child. Pictures are
payloads as they lie in memory; nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, get_args

from operators.processes.messages import INT64, Bounds, Messages, fits, integer, maybe, number, one_of, record, text
from schemas.errors import FAILURE_KINDS, Failure
from schemas.request import Buffer, Clip, Completion, FinishReason, Message, Part, Picture, Request, Sampling

_LONGEST = 2000
"""Of a message, in characters."""

_failure = record(
    {
        "stage": one_of(("infer",)),
        "kind": one_of(FAILURE_KINDS),
        "message": text(_LONGEST),
        "attempts": integer(1, 1000),
    }
)
_completion = record(
    {
        "text": text(),
        "finish_reason": one_of(get_args(FinishReason)),
        "prompt_tokens": integer(),
        "output_tokens": integer(),
        "infer_s": number(0, 1e9),
        "reasoning": maybe(text()),
        "reasoning_tokens": integer(),
        "logprob": maybe(number(-1e300, 0)),
    }
)
_request_id = text(1000)
_used_s = number(0, 1e12)

ENGINE_MESSAGES = Messages(
    Bounds(json_bytes=8 << 20, values=300_000),
    {
        "alive": record({"alive": integer(0, INT64)}),
        "completion": record({"answer": _request_id, "completion": _completion, "used_s": _used_s}),
        "failure": record({"answer": _request_id, "failure": _failure, "used_s": _used_s}),
        "ready": record({"ready": record({"slots": integer()})}),
        "fatal": record({"fatal": text(_LONGEST)}),
        "last_error": record({"last_error": text(500)}),
    },
)
"""What an engine's child says."""
_SHORT_CHARS = 100_000


def pack_request(request: Request) -> tuple[dict[str, Any], list[Buffer]]:
    payloads: list[Buffer] = []
    head = {
        "request_id": request.request_id,
        "messages": [
            {"role": message.role, "parts": [_pack_part(part, payloads) for part in message.parts]}
            for message in request.messages
        ],
        "sampling": asdict(request.sampling),
        "deadline_s": request.deadline_s,
        "label": [list(pair) for pair in request.label],
        "schema": request.schema,
    }
    return {"ask": head}, payloads


def unpack_request(head: dict[str, Any], payloads: Sequence[Buffer]) -> Request:
    upcoming = iter(payloads)
    sampling = {**head["sampling"], "stop": tuple(head["sampling"]["stop"])}
    return Request(
        request_id=head["request_id"],
        messages=tuple(
            Message(message["role"], tuple(_unpack_part(part, upcoming) for part in message["parts"]))
            for message in head["messages"]
        ),
        sampling=Sampling(**sampling),
        deadline_s=head["deadline_s"],
        label=tuple((key, value) for key, value in head["label"]),
        schema=head["schema"],
    )


def pack_answer(request_id: str, answer: Completion | Failure, used_s: float = 0.0) -> dict[str, Any]:
    """A text that no frame takes is a failure, and a message is cut. used_s: seconds in which slots of the engine were
    in use until now, summed over them."""
    if isinstance(answer, Completion) and not _fits(answer):
        answer = Failure("infer", "too_long", f"the model wrote {len(answer.text)} characters")
    if isinstance(answer, Failure):
        answer = replace(answer, message=answer.message[:_LONGEST])
    kind = "completion" if isinstance(answer, Completion) else "failure"
    return {"answer": request_id, kind: asdict(answer), "used_s": used_s}


def _fits(completion: Completion) -> bool:
    if len(completion.text) + len(completion.reasoning or "") < _SHORT_CHARS:
        return True
    return fits({"answer": "x" * 1000, "completion": asdict(completion), "used_s": 1 / 3}, ENGINE_MESSAGES.bounds)


def unpack_answer(head: dict[str, Any]) -> Completion | Failure:
    return Completion(**head["completion"]) if "completion" in head else Failure(**head["failure"])


def _pack_part(part: Part, payloads: list[Buffer]) -> Any:
    if isinstance(part, str):
        return part
    if isinstance(part, Picture):
        payloads.append(part.data)
        return {"picture": [part.width_px, part.height_px]}
    return {"clip": [_pack_part(frame, payloads) for frame in part.frames], "times_s": list(part.times_s)}


def _unpack_part(part: Any, payloads: Any) -> Part:
    if isinstance(part, str):
        return part
    if "picture" in part:
        return _unpack_picture(part, payloads)
    frames = tuple(_unpack_picture(frame, payloads) for frame in part["clip"])
    return Clip(frames, tuple(part["times_s"]))


def _unpack_picture(part: Any, payloads: Any) -> Picture:
    width_px, height_px = part["picture"]
    return Picture(width_px, height_px, next(payloads))

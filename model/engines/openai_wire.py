"""Requests as bodies for an OpenAI-compatible server, and its stream of events as a completion. Opens no connection.

What is unusual: the server renders and tokenizes, so text that looks like a special token would end a turn there.
Such marks are broken with a zero-width space. A clip is sent in one of two ways, because only vLLM takes frames that
are decoded already:

    video    data:video/jpeg;base64,… of PNG frames, with their times as indices of a microsecond clock: the same
             tokens as in our own engine (vllm/multimodal/media/video.py; wants --trust-request-mm-kwargs)
    images   each frame a picture behind its timestamp, as Qwen writes grounding in frames (docs/facts/qwen3-vl.md
             §2.5): any server, twice the visual tokens
"""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from PIL import Image

from model.prompts.rgb import channels_of, unpack
from schemas.errors import EngineError
from schemas.request import Clip, Completion, FinishReason, Part, Picture, Request, Sampling

Clips: TypeAlias = Literal["video", "images"]

_CLOCK_HZ = 1_000_000
_MARK = re.compile(r"<\|(?=\w+\|>)")
_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class Garbled(Exception):
    """What the server sent is no whole answer."""


def body(request: Request, model: str, *, clips: Clips, most_tokens: int | None, extended: bool) -> bytes:
    """The JSON of a POST to /chat/completions.

    most_tokens: of prompt and answer together, as the server says; it refuses to be asked for more than that.
    extended: the server knows vLLM's parameters, and takes those that are left out from the checkpoint.
    Raises ValueError for pictures that are none.
    """
    content: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": _content(message.parts, clips)} for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(request.sampling, most_tokens, extended=extended),
    }
    if request.schema is not None:
        content["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": request.schema},
        }
    shown = [part for message in request.messages for part in message.parts if isinstance(part, Clip)]
    if clips == "video" and shown:
        if len(shown) > 1:  # their times are one setting for the whole request
            raise ValueError("a server takes the times of one clip a request, and this one has several")
        content["media_io_kwargs"] = {"video": _times(shown[0])}
    return json.dumps(content).encode()


def _sampling(sampling: Sampling, most_tokens: int | None, *, extended: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "max_tokens": min(sampling.max_tokens, most_tokens or sampling.max_tokens),
    }
    if sampling.seed is not None:
        settings["seed"] = sampling.seed
    if sampling.stop:
        settings["stop"] = list(sampling.stop)
    if extended or sampling.top_k:
        settings["top_k"] = sampling.top_k
    if extended or sampling.repetition_penalty != 1.0:
        settings["repetition_penalty"] = sampling.repetition_penalty
    return settings


def _content(parts: tuple[Part, ...], clips: Clips) -> str | list[dict[str, Any]]:
    if all(isinstance(part, str) for part in parts):
        return "".join(_text(str(part)) for part in parts)
    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, str):
            content.append({"type": "text", "text": _text(part)})
        elif isinstance(part, Picture):
            content.append(_image(part))
        elif clips == "video":
            frames = ",".join(_png(frame) for frame in _paired(part).frames)
            content.append({"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{frames}"}})
        else:
            for frame, time_s in zip(part.frames, part.times_s, strict=True):
                content += [{"type": "text", "text": f"<{time_s:.1f} seconds>"}, _image(frame)]
    return content


def _text(text: str) -> str:
    return _MARK.sub("<\u200b|", text)


def _image(picture: Picture) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_png(picture)}"}}


def _png(picture: Picture) -> str:
    """Lossless, so that the server sees what our own engine would; vLLM opens it whatever the URL calls it."""
    file = io.BytesIO()
    channels = channels_of(unpack(picture))
    Image.fromarray(channels if channels.shape[2] == 3 else channels[..., 0]).save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def _times(clip: Clip) -> dict[str, Any]:
    indices = [round(time_s * _CLOCK_HZ) for time_s in _paired(clip).times_s]
    return {
        "num_frames": -1,
        "fps": _CLOCK_HZ,
        "frames_indices": indices,
        "total_num_frames": max(indices[-1] + 1, len(indices)),
        "do_sample_frames": False,
    }


def _paired(clip: Clip) -> Clip:
    """An even number of frames, by the rule of schemas.request.Clip; servers pad a lone frame in ways of their own."""
    if len(clip.frames) % 2 == 0:
        return clip
    return Clip((*clip.frames, clip.frames[-1]), (*clip.times_s, clip.times_s[-1]))


@dataclass
class Reply:
    """An answer as it comes in, event by event."""

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def accept(self, event: str) -> bool:
        """One `data:` line of the stream; True when it was the last. Raises Garbled."""
        if event == "[DONE]":
            return True
        try:
            data = json.loads(event)
            if data.get("error"):
                raise Garbled(f"the server broke off: {message_of(data) or data['error']}")
            if usage := data.get("usage"):
                self.prompt_tokens = _count(usage.get("prompt_tokens"))
                self.output_tokens = _count(usage.get("completion_tokens"))
                details = usage.get("completion_tokens_details") or {}
                self.reasoning_tokens = _count(details.get("reasoning_tokens"))
            for choice in (data.get("choices") or ())[:1]:
                delta = choice.get("delta") or {}
                self.text += _string(delta.get("content"))
                # vLLM's name and that of others
                self.reasoning += _string(delta.get("reasoning") or delta.get("reasoning_content"))
                self.finish_reason = _string(choice.get("finish_reason")) or self.finish_reason
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            raise Garbled(f"the server sent what is no event of a chat completion: {event[:80]!r}") from error
        return False

    @property
    def whole(self) -> bool:
        """Whether the answer has its end. (Some servers leave out the last mark; a finish reason says as much.)"""
        return self.finish_reason not in (None, "abort")

    def completion(self, infer_s: float) -> Completion:
        """Of a whole answer. Token counts are 0 where the server gives none, or nonsense. Raises EngineError for one
        withheld."""
        assert self.finish_reason is not None
        if self.finish_reason not in _REASONS:
            raise EngineError("engine_error", f"the server ended the answer for another reason: {self.finish_reason}")
        text, reasoning = self.text, self.reasoning
        if not reasoning and "</think>" in text:  # served without a reasoning parser (docs/facts/qwen3-vl.md §5)
            reasoning, _, text = text.rpartition("</think>")
            reasoning, text = reasoning.removeprefix("<think>"), text.lstrip("\n")
        return Completion(
            text=text,
            finish_reason=_REASONS[self.finish_reason],
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            infer_s=infer_s,
            reasoning=reasoning.strip("\n") if reasoning else None,
            reasoning_tokens=self.reasoning_tokens,
        )


def _string(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError(value)
    return value or ""


def _count(value: Any) -> int:
    if value is not None and not isinstance(value, int):
        raise TypeError(value)
    return int(value) if value is not None and 0 <= value < 1 << 31 else 0


def message_of(data: Any) -> str:
    """What an error object of a server says, '' when it has no words for it."""
    error = data.get("error", data) if isinstance(data, dict) else None
    words = error.get("message") if isinstance(error, dict) else error
    return words if isinstance(words, str) else ""

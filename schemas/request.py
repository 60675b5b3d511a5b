"""What a task asks of an engine and what comes back. Knows nothing of models, Ray or files.

Pictures travel as RGB8 or as gray, compressed where that gets them much smaller (`model/prompts/rgb.py`): lossless, and
some twenty times cheaper to make and to open than PNG. They are already at the size that the model sees
(`model/prompts/pixels.py`), so no engine resizes them again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Buffer: TypeAlias = bytes | memoryview


@dataclass(frozen=True)
class Picture:
    """One RGB picture at the model's input size; both sides are multiples of the model's token side (32 px).

    data: height_px * width_px * 3 bytes, row-major, RGB order, or a zstd frame of them. Of a picture without color, one
    channel: height_px * width_px bytes, or "G" and a zstd frame of them. Frames are of none of these lengths. A
    read-only view is enough.
    """

    width_px: int
    height_px: int
    data: Buffer


@dataclass(frozen=True)
class Clip:
    """Frames of one stretch of video, all of one size, with the presentation time of each in seconds.

    times_s counts from the start of the file, ascending. An odd number of frames is padded by the engine
    with the last one, as the model's temporal patch of two frames wants it.
    """

    frames: tuple[Picture, ...]
    times_s: tuple[float, ...]

    def __post_init__(self) -> None:
        assert len(self.frames) == len(self.times_s) > 0


Part: TypeAlias = str | Picture | Clip


@dataclass(frozen=True)
class Message:
    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. temperature 0 is greedy and ignores the rest but the penalties.

    top_k 0 and top_p 1.0 switch those filters off. The presence penalty is subtracted from the logit of every
    token generated so far (OpenAI's rule, prompt not counted); the repetition penalty divides positive and
    multiplies negative logits of tokens in prompt and output (CTRL, arXiv 1909.05858, as transformers and
    vLLM do). With a seed, a request samples the same tokens whatever shares its batch.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    max_tokens: int = 2048
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """One question to the engine. `label` (task, sample: what the request is about) is for logs and for the
    scripted engine, which answers by it; engines with a model never look at it.

    deadline_s: seconds from submission after which the request is aborted and answered as failed.
    schema: JSON Schema that the answer is held to while it is written; None leaves the model free.
    note: what this attempt does differently from the one before; for the row, not for the engine.
    """

    request_id: str
    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    deadline_s: float = 600.0
    label: tuple[tuple[str, str], ...] = ()
    schema: dict[str, Any] | None = None
    note: str = ""


FinishReason: TypeAlias = Literal["stop", "length"]


@dataclass(frozen=True)
class Completion:
    """The answer to one request.

    finish_reason: stop (the model ended or a stop string came) or length (max_tokens or the context is full).
    infer_s: seconds from the moment that the engine took the request up to its last token.
    reasoning: what a thinking model wrote before its answer (not part of text), None where it did not think;
    reasoning_tokens of the output_tokens are its, the closing tag among them.
    logprob: of all output tokens together (natural logarithm), as the model has them: before penalties, grammar and
    temperature. None where the engine does not tell.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    output_tokens: int
    infer_s: float
    reasoning: str | None = None
    reasoning_tokens: int = 0
    logprob: float | None = None

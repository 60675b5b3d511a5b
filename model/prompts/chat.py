"""Messages to token ids and back: the checkpoint's own chat template and tokenizer.

What is unusual: the template writes one placeholder for each picture; here it becomes as many pad tokens as
the picture has tokens, and for a clip a run of them for every pair of frames, each behind its timestamp.
Text of users and files is tokenized with special tokens switched off: a page that says <|im_end|> ends nothing.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer
from torch import Tensor

from model.prompts.pixels import frame_pair_times_s
from model.prompts.preprocess import MERGE, Grid, patchify
from model.prompts.template import chat_template
from schemas.errors import SpecError
from schemas.json_file import read_object
from schemas.request import Clip, Message, Picture

_MOST_TOKENIZER_BYTES = 64 << 20  # Qwen's has 7 MB
VisualT = TypeVar("VisualT")
"""What is kept of a picture or clip: patches [t*h*w, 1536] as `patchify` gives them, or something else."""


@dataclass(frozen=True)
class Prompt(Generic[VisualT]):
    """input_ids with every pad token in place; visuals, with grids (t, h, w), in the order of their tokens.

    spans: [start, end) in input_ids of what stands for each visual: its pads, and between a clip's their timestamps
    and marks.
    """

    input_ids: list[int]
    visuals: list[tuple[VisualT, Grid]]
    spans: list[tuple[int, int]]


@dataclass(frozen=True)
class DecodedReply:
    """Generated ids as text. reasoning: None where there is none; reasoning_tokens of the ids are its."""

    text: str
    reasoning: str | None
    reasoning_tokens: int


class Chat:
    """Reads the folder's tokenizer.json, chat template and end-of-text ids. Raises SpecError for what is missing."""

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise SpecError(f"{folder} holds no tokenizer.json")
        self._tokenizer = _tokenizer(path)
        # encode_special_tokens: text that looks like a special token is text (our marks go in as ids)
        self._plain = _tokenizer(path)
        self._plain.encode_special_tokens = True
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
        environment.globals["raise_exception"] = _raise
        self._template = environment.from_string(chat_template(folder))
        self._specials = {
            token.content: token_id
            for token_id, token in self._tokenizer.get_added_tokens_decoder().items()
            if token.special or token.content.startswith("<|")
        }
        self._split = re.compile("|".join(re.escape(name) for name in sorted(self._specials, key=len, reverse=True)))
        self.image_id = self._id("<|image_pad|>")
        self.video_id = self._id("<|video_pad|>")
        self.stop_ids = self._stop_ids(folder)
        self._think_ids: tuple[int | None, int | None] = (
            self._tokenizer.token_to_id("<think>"),
            self._tokenizer.token_to_id("</think>"),
        )

    def encode(self, messages: Sequence[Message]) -> Prompt[Tensor]:
        """The prompt up to where the assistant speaks. Raises ValueError for pictures that are none."""
        return self.encode_with(patchify, messages)

    def encode_with(
        self, preprocess: Callable[[Picture | Clip], tuple[VisualT, Grid]], messages: Sequence[Message]
    ) -> Prompt[VisualT]:
        """The same with another way to open pictures and clips."""
        contents: list[Picture | Clip] = []
        texts: dict[str, str] = {}
        turns = [self._turn(message, contents, texts) for message in messages]
        try:
            rendered = self._template.render(messages=turns, add_generation_prompt=True)
        except TemplateError as error:
            raise SpecError(f"the chat template cannot render this conversation: {error}") from error
        visuals = [preprocess(content) for content in contents]
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        upcoming = iter(zip(contents, visuals, strict=True))
        for piece, special in self._pieces(rendered, texts):
            if special and self._specials[piece] in (self.image_id, self.video_id):
                content, (_, grid) = next(upcoming)
                start = len(ids)
                ids += self._expand(content, grid)
                spans.append((start, len(ids)))
            elif special:
                ids.append(self._specials[piece])
            else:
                ids += self._text_ids(piece)
        return Prompt(ids, visuals, spans)

    def tokenizer_json(self) -> str:
        text: str = self._tokenizer.to_str()
        return text

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens left out; bytes that are no UTF-8 (yet) become U+FFFD."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def opens_thinking(self, input_ids: Sequence[int]) -> bool:
        """Whether the template left `<think>` open: the answer begins with reasoning and only its end is marked."""
        start, end = self._think_ids
        last = next((token for token in reversed(input_ids) if token in (start, end)), None)
        # a tag that text brought along lies before the end of its turn
        tail = input_ids[-4:]
        return last is not None and last == start and start in tail

    @property
    def think_end_id(self) -> int | None:
        return self._think_ids[1]

    def split_thinking(self, input_ids: Sequence[int], output_ids: Sequence[int]) -> tuple[list[int], list[int]]:
        """Generated ids as reasoning (its closing tag included) and answer, split at the last closing tag.

        A thought that was cut short is all reasoning (docs/facts/qwen3-vl.md §1.1, §5).
        """
        ids = list(output_ids)
        end = self._think_ids[1]
        if end is not None and end in ids:
            place = len(ids) - ids[::-1].index(end)
            return ids[:place], ids[place:]
        return (ids, []) if self.opens_thinking(input_ids) else ([], ids)

    def decode_reply(
        self, input_ids: Sequence[int], output_ids: Sequence[int], stops: Sequence[str] = ()
    ) -> DecodedReply:
        """The answer without its reasoning, without the token that ended it and what came from a stop string on."""
        reasoning, answer = self.split_thinking(input_ids, output_ids)
        text = self.decode(answer[:-1] if answer and answer[-1] in self.stop_ids else answer)
        if reasoning:
            text = text.lstrip("\n")
        cuts = [place for stop in stops if (place := text.find(stop)) >= 0]
        return DecodedReply(
            text[: min(cuts)] if cuts else text,
            self.decode_reasoning(reasoning) if reasoning else None,
            len(reasoning),
        )

    def decode_reasoning(self, ids: Sequence[int]) -> str:
        return self.decode([token for token in ids if token not in self._think_ids]).strip("\n")

    def _turn(self, message: Message, contents: list[Picture | Clip], texts: dict[str, str]) -> dict[str, Any]:
        parts: list[dict[str, str]] = []
        for part in message.parts:
            if isinstance(part, str):
                # a key stands for the text while the template works, so that it cannot be taken for marks
                key = f"\ue000{uuid.uuid4().hex}\ue001"
                texts[key] = part
                parts.append({"type": "text", "text": key})
            else:
                contents.append(part)
                parts.append({"type": "image" if isinstance(part, Picture) else "video"})
        return {"role": message.role, "content": parts}

    def _pieces(self, rendered: str, texts: dict[str, str]) -> list[tuple[str, bool]]:
        """The rendered prompt in order, as special tokens (True) and the text between them."""
        pieces: list[tuple[str, bool]] = []
        text = ""
        place = 0
        for mark in self._split.finditer(rendered):
            text = _filled(rendered[place : mark.start()], texts)
            if text:
                pieces.append((text, False))
            pieces.append((mark.group(), True))
            place = mark.end()
        text = _filled(rendered[place:], texts)
        if text:
            pieces.append((text, False))
        return pieces

    def _expand(self, content: Picture | Clip, grid: tuple[int, int, int]) -> list[int]:
        """Pad tokens for one placeholder. The template's own vision marks stay around a clip's pairs: so do
        transformers from 5.10 on and vLLM, which are what the parity tests hold this to."""
        t, h, w = grid
        tokens = h * w // MERGE**2
        if isinstance(content, Picture):
            return [self.image_id] * tokens
        ids: list[int] = []
        for time_s in frame_pair_times_s(content.times_s):
            ids += self._text_ids(f"<{time_s:.1f} seconds>")
            ids += [self._id("<|vision_start|>"), *[self.video_id] * tokens, self._id("<|vision_end|>")]
        assert len(frame_pair_times_s(content.times_s)) == t
        return ids

    def _text_ids(self, text: str) -> list[int]:
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids

    def _id(self, name: str) -> int:
        if name not in self._specials:
            raise SpecError(f"tokenizer.json has no token {name}")
        return self._specials[name]

    def _stop_ids(self, folder: Path) -> frozenset[int]:
        """Ids that end an answer: of generation_config.json, else of config.json; <|im_end|> in any case."""
        ids_of_end = {self._id("<|im_end|>")}
        for name in ("generation_config.json", "config.json"):
            path = folder / name
            ids = read_object(path).get("eos_token_id") if path.exists() else None
            if ids is not None:
                ids = ids if isinstance(ids, list) else [ids]
                if not all(isinstance(number, int) for number in ids):
                    raise SpecError(f"{path}: eos_token_id is {f'{ids!r}'[:60]}, not a number or several")
                ids_of_end |= set(ids)
                break
        return frozenset(ids_of_end)


def _tokenizer(path: Path) -> Tokenizer:
    try:
        size = path.stat().st_size
        if size > _MOST_TOKENIZER_BYTES:
            raise SpecError(f"{path} cannot be read: {size} bytes; at most {_MOST_TOKENIZER_BYTES} are read")
        return Tokenizer.from_file(str(path))
    except SpecError:
        raise
    except Exception as error:  # the library raises no other
        raise SpecError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error


def _filled(text: str, texts: dict[str, str]) -> str:
    return re.sub("\ue000[0-9a-f]{32}\ue001", lambda match: texts[match.group()], text)


def _raise(message: str) -> None:
    raise TemplateError(message)

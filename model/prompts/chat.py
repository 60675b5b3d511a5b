"""Messages to token ids and back: the checkpoint's own chat template and tokenizer.

What is unusual: the template writes one placeholder for each picture; here it becomes as many pad tokens as
the picture has tokens, and for a clip a run of them for every pair of frames, each behind its timestamp.
Text of users and files is tokenized with special tokens switched off: a page that says <|im_end|> ends nothing.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from model.prompts.pixels import MERGE, frame_pair_times_s
from model.prompts.template import ChatTemplate
from model.prompts.tokens import Tokens
from schemas.errors import SpecError
from schemas.request import Clip, Message, Picture

if TYPE_CHECKING:
    from torch import Tensor

    from model.prompts.preprocess import Grid

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
    """Reads the folder's tokenizer, chat template and end-of-text ids. Raises SpecError for what is missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokens = Tokens(folder)
        self._template = ChatTemplate(folder)
        self._marks = self._tokens.marks
        self._split = re.compile("|".join(re.escape(name) for name in sorted(self._marks, key=len, reverse=True)))
        self.image_id = self._tokens.id_of("<|image_pad|>")
        self.video_id = self._tokens.id_of("<|video_pad|>")
        self._vision_ids = tuple(self._tokens.id_of(f"<|vision_{side}|>") for side in ("start", "end"))
        self.stop_ids = self._tokens.stop_ids
        self._think_ids = (self._tokens.any_id("<think>"), self._tokens.any_id("</think>"))

    def check(self, marks: dict[str, int], vocabulary: int) -> None:
        """As `Tokens.check`; and the template has to show a picture, a clip and a text. Raises SpecError."""
        self._tokens.check(marks, vocabulary)
        picture = Picture(32, 32, b"")
        word = "\N{SNOWMAN}"
        rendered, texts = self._render([Message("user", (picture, Clip((picture,), (0.0,)), word))])
        if word not in _filled(rendered, texts):
            raise SpecError(f"{self._folder}: the chat template leaves out what a user says")

    def encode(self, messages: Sequence[Message]) -> Prompt[Tensor]:
        """The prompt up to where the assistant speaks. Raises ValueError for pictures that are none."""
        from model.prompts.preprocess import patchify  # torch: seconds, and only here

        return self.encode_with(patchify, messages)

    def encode_with(
        self, preprocess: Callable[[Picture | Clip], tuple[VisualT, Grid]], messages: Sequence[Message]
    ) -> Prompt[VisualT]:
        """The same with another way to open pictures and clips."""
        rendered, texts = self._render(messages)
        contents = [part for message in messages for part in message.parts if not isinstance(part, str)]
        visuals = [preprocess(content) for content in contents]
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        upcoming = iter(zip(contents, visuals, strict=True))
        for piece, is_mark in self._pieces(rendered, texts):
            if is_mark and self._marks[piece] in (self.image_id, self.video_id):
                content, (_, grid) = next(upcoming)
                start = len(ids)
                ids += self._expand(content, grid)
                spans.append((start, len(ids)))
            elif is_mark:
                ids.append(self._marks[piece])
            else:
                ids += self._tokens.encode(piece)
        return Prompt(ids, visuals, spans)

    def tokenizer_json(self) -> str:
        return self._tokens.as_json()

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens left out; bytes that are no UTF-8 (yet) become U+FFFD."""
        return self._tokens.decode(ids)

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

    def _render(self, messages: Sequence[Message]) -> tuple[str, dict[str, str]]:
        """What the template makes of it, with keys where texts belong. Raises SpecError."""
        texts: dict[str, str] = {}
        turns = [{"role": message.role, "content": self._parts(message, texts)} for message in messages]
        rendered = self._template.render(turns)
        for kind, mark, what in ((Picture, "<|image_pad|>", "pictures"), (Clip, "<|video_pad|>", "clips")):
            shown = sum(isinstance(part, kind) for message in messages for part in message.parts)
            if rendered.count(mark) != shown:
                raise SpecError(
                    f"{self._folder}: the chat template writes {rendered.count(mark)} times {mark} for {shown} {what}"
                )
        return rendered, texts

    def _parts(self, message: Message, texts: dict[str, str]) -> list[dict[str, str]]:
        is_own = message.role == "assistant"
        tags = _TAGS_OF_ASSISTANT if is_own else _TAGS_OF_TOOLS
        parts: list[dict[str, str]] = []
        for part in message.parts:
            if isinstance(part, str):
                # a text from elsewhere writes no marks, where a tokenizer takes its tags for such
                pieces = tags.split(part) if is_own or self._marks.keys().isdisjoint(tags.findall(part)) else [part]
                shown = "".join(piece if tags.fullmatch(piece) else _veiled(piece, texts) for piece in pieces)
                parts.append({"type": "text", "text": shown})
            else:
                parts.append({"type": "image" if isinstance(part, Picture) else "video"})
        return parts

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
            ids += self._tokens.encode(f"<{time_s:.1f} seconds>")
            ids += [self._vision_ids[0], *[self.video_id] * tokens, self._vision_ids[1]]
        assert len(frame_pair_times_s(content.times_s)) == t
        return ids


_TAGS_OF_ASSISTANT = re.compile("(</?think>)")
_TAGS_OF_TOOLS = re.compile("(</?tool_response>)")
"""What the templates of Qwen look for in a text: they drop an earlier turn's thought, and take no answer of a tool for
a question."""


def _veiled(text: str, texts: dict[str, str]) -> str:
    """A key in place of the text, while the template works, so that it cannot be taken for marks. What templates strip
    stays as it is: space at its ends."""
    body = text.strip()
    if not body:
        return text
    key = f"\ue000{uuid.uuid4().hex}\ue001"
    texts[key] = body
    start = text.index(body[0])
    return text[:start] + key + text[start + len(body) :]


def _filled(text: str, texts: dict[str, str]) -> str:
    return re.sub("\ue000[0-9a-f]{32}\ue001", lambda match: texts[match.group()], text)

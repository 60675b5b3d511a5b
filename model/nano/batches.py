"""Lines in batches of about one width, as the tensors that training wants. Knows nothing of losses.

Shapes: B lines; N image tokens of all of them; S tokens of the padded sequence; C characters, padded.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from model.nano.fonts import Face
from model.nano.line_image import TOKEN_SIDE_PX
from model.nano.questions import SIDES, Question, Where, ask_all, caption
from model.nano.render import Sample, draw_sample
from model.nano.scenes import MOTIONS, TOUCHES, Box, Scene, Thing, draw_clip, draw_picture
from model.nano.shape import MERGE, PATCH, TEMPORAL
from model.nano.tokens import CHARACTERS, THINGS, phrase_ids, prompt_ids, reply_ids, scene_prompt_ids, token_ids
from model.network.positions import positions

SLOTS = 4
"""Characters that the frame-wise head may name under one image token."""
BLANK = 0
CLASS_OF = {character: index for index, character in enumerate(CHARACTERS, 1)}
CLASSES = len(CHARACTERS) + 1
IGNORED = -100
NOWHERE = -1.0


@dataclass(frozen=True)
class _Tensors:
    """What goes from the process that draws to the device that learns."""

    grid: Tensor  # [pictures, 3]; stays where it is: its numbers are read, not computed with

    def to(self, device: str) -> Self:
        return self if device == "cpu" else self._changed(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """Called by the loader: what is pinned is copied to a GPU while that computes."""
        return self._changed(Tensor.pin_memory)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Self:
        values: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "grid"}
        return replace(self, **{name: change(value) for name, value in values.items() if isinstance(value, Tensor)})


@dataclass(frozen=True)
class Batch(_Tensors):
    patches: Tensor  # uint8 [4N, 1536]; `normalize` makes them what the network wants
    input_ids: Tensor  # [B, S]
    labels: Tensor  # [B, S], the next token where it is the reply's, else IGNORED
    places: Tensor  # [3, B, S]
    slots: Tensor  # [N, SLOTS] classes of the characters under each image token
    counts: Tensor  # [N] characters of its line that begin before the token
    token_of: Tensor  # [B, S] sequence place of the image token that holds the next character, or IGNORED
    characters: int

    @property
    def lines(self) -> int:
        return int(self.grid.shape[0])


def line_image_patches(line_images: Tensor) -> Tensor:
    """uint8 [B, 32, W, 3] to uint8 [B * 4N, 1536]: `model.prompts.preprocess.patchify` for many line_images of one
    width."""
    lines, height, width, channels = line_images.shape
    blocks = line_images.view(
        lines, height // PATCH // MERGE, MERGE, PATCH, width // PATCH // MERGE, MERGE, PATCH, channels
    )
    patches = blocks.permute(0, 1, 4, 2, 5, 7, 3, 6)  # line, rows, columns, 2, 2, channel, y, x
    repeated = patches.unsqueeze(6).expand(*patches.shape[:6], TEMPORAL, PATCH, PATCH)
    return repeated.reshape(-1, channels * TEMPORAL * PATCH * PATCH)


def normalize(patches: Tensor) -> Tensor:
    """uint8 of 0 … 255 to float32 of -1 … 1. Done where the network runs: bytes travel at a quarter of the cost."""
    return patches.to(torch.float32).div_(127.5).sub_(1.0)


def collate(samples: list[Sample]) -> Batch:
    """Tensors of samples, best of few widths: those of one width that follow each other are looked at together."""
    widths = [sample.width_px // TOKEN_SIDE_PX for sample in samples]
    prompts = {width: prompt_ids(width) for width in set(widths)}
    first_image = 4  # after <|im_start|> user \n <|vision_start|>
    length = max(len(prompts[width]) + len(sample.text) for sample, width in zip(samples, widths, strict=True))
    where = {width: _line_places(prompt, width, first_image, length) for width, prompt in prompts.items()}
    input_ids = torch.zeros(len(samples), length, dtype=torch.long)
    labels = torch.full((len(samples), length), IGNORED)
    token_of = torch.full((len(samples), length), IGNORED)
    slots, counts = [], []
    for row, (sample, tokens) in enumerate(zip(samples, widths, strict=True)):
        prompt, reply = prompts[tokens], reply_ids(sample.text)
        ids = prompt + reply[:-1]
        input_ids[row, : len(ids)] = torch.tensor(ids)
        speaks = slice(len(prompt) - 1, len(ids))
        labels[row, speaks] = torch.tensor(reply)
        under = [min(int(center // TOKEN_SIDE_PX), tokens - 1) for center in sample.centers_px]
        token_of[row, len(prompt) - 1 : len(ids) - 1] = torch.tensor(under) + first_image
        named = torch.full((tokens, SLOTS), BLANK)
        filled = [0] * tokens
        for character, token in zip(sample.text, under, strict=True):
            if filled[token] < SLOTS:
                named[token, filled[token]] = CLASS_OF[character]
            filled[token] += 1
        slots.append(named)
        counts.append(torch.tensor([0, *filled[:-1]]).cumsum(0))
    return Batch(
        patches=torch.cat([line_image_patches(torch.from_numpy(sample.picture.copy())[None]) for sample in samples]),
        grid=torch.tensor([(1, MERGE, width * MERGE) for width in widths]),
        input_ids=input_ids,
        labels=labels,
        places=torch.stack([where[width] for width in widths], dim=1),
        slots=torch.cat(slots),
        counts=torch.cat(counts).float(),
        token_of=token_of,
        characters=sum(len(sample.text) for sample in samples),
    )


def _line_places(prompt: list[int], tokens: int, first_image: int, length: int) -> Tensor:
    """[3, length]"""
    grid = (1, MERGE, tokens * MERGE)
    places, _ = positions(prompt + [0] * (length - len(prompt)), [grid], (prompt[first_image], -1), MERGE)
    return places


THING_CLASSES = len(THINGS) + 1


@dataclass(frozen=True)
class SceneBatch(_Tensors):
    """Pictures or clips of one size, as many questions about each. T frame pairs (1 for pictures) of N tokens each.

    C: scenes. B: sequences, one for each question; those about one scene follow each other. R: the columns of the
    sequence from `first` on, where replies are spoken.
    """

    patches: Tensor  # uint8 [C * T * 4N, 1536]
    input_ids: Tensor  # [B, S]
    labels: Tensor  # [B, S]
    places: Tensor  # [3, B, S]
    first: int
    looks: Tensor  # bool [B, R, S]: the image tokens on the thing, or on the side of it, that the next token speaks of
    asked: Tensor  # bool [B, R, S]: the token of the prompt that asks for the thing, if one does
    shown: Tensor  # [B * T * N] place of each image token among the B * S
    things: Tensor  # [C * T * N] class of the thing at each token's middle, 0 for none
    sides: Tensor  # [C * T * N, 4] of its box, x0, y0, x1, y1 as shares of the picture: at the tokens that it touches
    # them in, else NOWHERE
    middles: Tensor  # [C * T * N, 2] of each token: x, y as shares
    following: Tensor  # [C * T * N] class of the next thing to the right, in pictures, else IGNORED
    leftmost: Tensor  # [C * T * N] class of the leftmost thing, in pictures, else IGNORED
    motions: Tensor  # [C * T * N] class of what the thing does, in clips, else IGNORED
    starts: Tensor  # [B * T * N] second in which it was first seen, in clips, else IGNORED
    seconds: Tensor  # [B * T * N] second of each token's own frames, in clips, else IGNORED

    @property
    def questions(self) -> int:
        """About each scene."""
        return len(self.input_ids) // len(self.grid)


def collate_scenes(scenes: list[Scene], asked_of_each: list[list[Question]]) -> SceneBatch:
    """Tensors of scenes that have one size and one length, and have as many questions."""
    ids = token_ids()
    frames, height, width, _ = scenes[0].frames.shape
    pairs = max(1, frames // TEMPORAL)
    grid = (pairs, height // PATCH, width // PATCH)
    rows, columns = height // TOKEN_SIDE_PX, width // TOKEN_SIDE_PX
    shown = [_Cells(scene, pairs, rows, columns) for scene in scenes]
    cells = [cell for cell, questions in zip(shown, asked_of_each, strict=True) for _ in questions]
    questions = [question for of_one in asked_of_each for question in of_one]
    prompts = [
        scene_prompt_ids(cell.scene.times_s, rows * columns, question.prompt)
        for cell, question in zip(cells, questions, strict=True)
    ]
    replies = [
        [(token, thing, where) for text, thing, where in question.reply for token in phrase_ids(text)]
        + [(ids["<|im_end|>"], None, "all of it")]
        for question in questions
    ]
    length = max(len(prompt) + len(reply) for prompt, reply in zip(prompts, replies, strict=True)) - 1
    first = min(map(len, prompts)) - 1
    input_ids = torch.zeros(len(cells), length, dtype=torch.long)
    labels = torch.full((len(cells), length), IGNORED)
    looks, asked = (np.zeros((len(cells), length - first, length), dtype=bool) for _ in range(2))
    places = torch.zeros(3, len(cells), length, dtype=torch.long)
    pads = (ids["<|image_pad|>"], ids["<|video_pad|>"])
    for row, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        sequence = prompt + [token for token, *_ in reply[:-1]]
        input_ids[row, : len(sequence)] = torch.tensor(sequence)
        labels[row, len(prompt) - 1 : len(sequence)] = torch.tensor([token for token, *_ in reply])
        places[:, row], _ = positions(sequence + [0] * (length - len(sequence)), [grid], pads, MERGE)
        image_at = np.array([place for place, token in enumerate(prompt) if token in pads])
        asked_at = [[at for at, token in enumerate(prompt) if token == ids[t.label]] for t in cells[row].scene.things]
        shown_at: dict[tuple[int, Where], NDArray[np.int64]] = {}
        for place, (_, thing, where) in enumerate(reply, start=len(prompt) - 1 - first):
            if thing is not None:
                if (thing, where) not in shown_at:
                    shown_at[thing, where] = image_at[cells[row].of(thing, where).flatten().numpy()]
                looks[row, place, shown_at[thing, where]] = True
                asked[row, place, asked_at[thing]] = True
    return SceneBatch(
        patches=torch.cat([scene_patches(torch.from_numpy(scene.frames)) for scene in scenes]),
        grid=torch.tensor([grid] * len(scenes)),
        input_ids=input_ids,
        labels=labels,
        places=places,
        first=first,
        looks=torch.from_numpy(looks),
        asked=torch.from_numpy(asked),
        shown=((input_ids == pads[0]) | (input_ids == pads[1])).flatten().nonzero()[:, 0],
        things=torch.cat([cell.things.flatten() for cell in shown]),
        sides=torch.cat([cell.sides.view(-1, 4) for cell in shown]),
        middles=_middles(rows, columns).repeat(len(scenes) * pairs, 1),
        following=torch.cat([cell.following.flatten() for cell in shown]),
        leftmost=torch.cat([cell.leftmost.flatten() for cell in shown]),
        motions=torch.cat([cell.motions.flatten() for cell in shown]),
        starts=torch.cat([cell.starts.flatten() for cell in cells]),
        seconds=torch.cat([_seconds(cell.scene.times_s, rows * columns) for cell in cells]),
    )


def _middles(rows: int, columns: int) -> Tensor:
    """[rows * columns, 2]"""
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    return torch.stack([x, y], dim=-1).view(-1, 2)


def _seconds(times_s: tuple[float, ...], tokens: int) -> Tensor:
    """[T * tokens] of the frames that each visual token shows, IGNORED for a picture."""
    shown = [int(time_s) for time_s in times_s[::TEMPORAL]] or [IGNORED]
    return torch.tensor(shown).repeat_interleave(tokens)


class _Cells:
    """What lies under each visual token of a scene: tensors [T, rows, columns], sides [..., 4]."""

    def __init__(self, scene: Scene, pairs: int, rows: int, columns: int) -> None:
        self.scene = scene
        size = (pairs, rows, columns)
        classes = [THINGS.index(thing.label) + 1 for thing in scene.things]
        self.which = torch.full(size, -1)  # index of the thing in the scene
        self.things = torch.zeros(size, dtype=torch.long)
        self.sides = torch.full((*size, 4), NOWHERE)
        self.touched: dict[tuple[int, Where], tuple[int, int, int]] = {}  # in a picture, or a clip's last pair
        self.following, self.leftmost, self.motions, self.starts = (torch.full(size, IGNORED) for _ in range(4))
        if not scene.times_s:
            self.leftmost[:] = classes[0] if classes else 0
        for index, (thing, seen) in enumerate(zip(scene.things, scene.boxes, strict=True)):
            for pair in range(pairs):
                box = next(
                    (seen_box for seen_box in seen[pair * TEMPORAL : (pair + 1) * TEMPORAL] if seen_box is not None),
                    None,
                )
                if box is None:
                    continue
                here = self._under(box, pair)
                self.which[here] = index
                self.things[here] = classes[index]
                self._touch(index, thing, box, pair)
                if scene.times_s:
                    self.motions[here] = MOTIONS.index(thing.motion)
                    self.starts[here] = int(thing.start_s)
                else:
                    self.following[here] = classes[index + 1] if index + 1 < len(classes) else 0

    def _under(self, box: Box, pair: int) -> Tensor:
        """bool [T, rows, columns]: the tokens that the box covers by half or more, and the one amid it."""
        _, rows, columns = self.which.shape
        x0, y0, x1, y1 = box
        here = torch.zeros(self.which.shape, dtype=torch.bool)
        here[pair, max(0, round(y0 * rows)) : round(y1 * rows), max(0, round(x0 * columns)) : round(x1 * columns)] = (
            True
        )
        here[pair, min(int((y0 + y1) / 2 * rows), rows - 1), min(int((x0 + x1) / 2 * columns), columns - 1)] = True
        return here

    def _touch(self, index: int, thing: Thing, box: Box, pair: int) -> None:
        _, rows, columns = self.which.shape
        x0, y0, x1, y1 = box
        points = zip(SIDES, TOUCHES[thing.shape], range(4), strict=True)
        for side, (x, y), number in (*points, ("middle", (0.5, 0.5), None)):
            # a little inside, where there is foreground for sure
            x, y = 0.02 + 0.96 * x, 0.02 + 0.96 * y
            row, column = int((y0 + y * (y1 - y0)) * rows), int((x0 + x * (x1 - x0)) * columns)
            cell = (pair, min(max(row, 0), rows - 1), min(max(column, 0), columns - 1))
            self.touched[index, side] = cell
            if number is not None:
                self.sides[(*cell, number)] = box[number]

    def of(self, thing: int, where: Where) -> Tensor:
        """bool [T, rows, columns]: the tokens on a thing, on a side of it, or in the first or last pair of frames."""
        here = self.which == thing
        if where == "all of it":
            return here
        chosen = torch.zeros_like(here)
        if (thing, where) in self.touched:
            chosen[self.touched[thing, where]] = True
            return chosen
        pairs = here.flatten(1).any(1).nonzero()[:, 0]  # empty where another thing covers it all the time
        if len(pairs):
            pair = pairs[0 if where == "first seen" else -1]
            chosen[pair] = here[pair]
        return chosen


def scene_patches(frames: Tensor) -> Tensor:
    """uint8 [T, h, w, 3] to uint8 [t * 4N, 1536], as `model.prompts.preprocess.patchify`; a single frame stands for a
    pair."""
    if frames.shape[0] == 1:
        frames = frames.expand(TEMPORAL, *frames.shape[1:])
    count, height, width, channels = frames.shape
    blocks = frames.reshape(
        count // TEMPORAL,
        TEMPORAL,
        height // PATCH // MERGE,
        MERGE,
        PATCH,
        width // PATCH // MERGE,
        MERGE,
        PATCH,
        channels,
    )
    return blocks.permute(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(-1, channels * TEMPORAL * PATCH * PATCH)


class Scenes(IterableDataset[SceneBatch]):
    """Endless batches of about `image_tokens` tokens, of pictures and clips in turn.

    asked: for the decoder, several questions about each, which cost it little: most of the work is to look. Otherwise
    only the pictures count, and of clips a few seconds are enough: many short ones show more motions than few long.
    boxes: three times as many pictures as clips, and twice as many boxes asked for.
    """

    def __init__(self, faces: list[Face], seed: int, image_tokens: int, *, asked: bool, boxes: bool = False) -> None:
        self.faces, self.seed, self.image_tokens, self.asked = faces, seed, image_tokens, asked
        self.pictures, self.boxes = (3, 4) if boxes else (1, 2)

    def __iter__(self) -> Iterator[SceneBatch]:
        worker = _worker()
        rng = random.Random(f"scenes {self.seed}{worker or ''}")
        if worker % 2:
            yield self._batch(rng, self._clips(rng))  # or all workers had pictures at the same time
        while True:
            for _ in range(self.pictures):
                rows, columns = rng.randint(2, 9), rng.randint(3, 16)
                if rows * columns <= 128 and columns <= 6 * rows:
                    count = max(1, self.image_tokens // (rows * columns))
                    yield self._batch(rng, [draw_picture(rng, self.faces, rows, columns) for _ in range(count)])
            yield self._batch(rng, self._clips(rng))

    def _clips(self, rng: random.Random) -> list[Scene]:
        pairs, rows, columns = rng.randint(2, rng.randint(3, 16)), rng.randint(2, 4), rng.randint(2, 7)
        if rng.random() < 0.1:
            pairs, rows, columns = rng.randint(17, 30), rng.randint(2, 3), rng.randint(2, 4)
        shown = pairs if self.asked else min(pairs, rng.randint(2, 4))
        count = max(1, self.image_tokens // (shown * rows * columns))
        return [draw_clip(rng, self.faces, pairs, rows, columns, shown) for _ in range(count)]

    def _batch(self, rng: random.Random, scenes: list[Scene]) -> SceneBatch:
        if self.asked:
            return collate_scenes(scenes, [ask_all(rng, scene, self.boxes) for scene in scenes])
        return collate_scenes(scenes, [[caption(scene)] for scene in scenes])


class Lines(IterableDataset[Batch]):
    """Endless batches of about `image_tokens` tokens; lines wait in buckets until one is full.

    widths: so many share a bucket: large batches would take long to fill with one.
    """

    def __init__(
        self,
        faces: list[Face],
        seed: int,
        image_tokens: int,
        max_chars: tuple[int, int],
        noise: float,
        widths: int = 1,
    ) -> None:
        self.faces, self.seed, self.image_tokens = faces, seed, image_tokens
        self.max_chars, self.noise, self.widths = max_chars, noise, widths

    def __iter__(self) -> Iterator[Batch]:
        worker = _worker()
        rng = random.Random(f"lines {self.seed} {worker}" if worker else self.seed)
        buckets: dict[int, list[Sample]] = {}
        while True:
            sample = draw_sample(rng, self.faces, rng.randint(*self.max_chars), noise=self.noise)
            tokens = sample.width_px // TOKEN_SIDE_PX
            if tokens > 96:
                continue
            bucket = buckets.setdefault(tokens // self.widths, [])
            bucket.append(sample)
            if len(bucket) * tokens >= self.image_tokens:
                del buckets[tokens // self.widths]
                yield collate(sorted(bucket, key=lambda sample: sample.width_px))


def _worker() -> int:
    """Of the processes that draw, which one this is: each draws its own."""
    info = get_worker_info()
    return info.id if info else 0

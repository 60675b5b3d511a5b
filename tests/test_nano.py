"""Nano's data, questions and training on a smallest scale, and what the shipped checkpoint can do."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader

from model.nano import questions, tokens
from model.nano import sinusoidal as codes
from model.nano.batches import (
    IGNORED,
    NOWHERE,
    Lines,
    Scenes,
    collate,
    collate_scenes,
    line_image_patches,
    normalize,
    scene_patches,
)
from model.nano.export import export
from model.nano.fonts import Face
from model.nano.losses import AuxiliaryHeads, losses, scene_losses
from model.nano.metrics import iou, score_events, score_objects
from model.nano.pages import held_out_lines
from model.nano.render import draw_sample
from model.nano.scenes import Box, Scene, draw_clip, draw_picture
from model.nano.score import cer, read
from model.nano.shape import config_json, nano_config
from model.nano.train import Recipe, Run
from model.network.checkpoint import load
from model.network.config import Config
from model.network.qwen3vl import Qwen3VL
from model.prompts.chat import Chat
from model.prompts.preprocess import patchify
from schemas.checkout import NANO as CHECKPOINT
from schemas.request import Clip, Message, Picture
from tests.support.tiny import tiny_checkpoint

PILLOW = [Face("Aileron", None, 1.0)]  # the one font that every machine has


def picture_of(frame: np.ndarray) -> Picture:
    height_px, width_px, _ = frame.shape
    return Picture(width_px, height_px, pa.Codec("zstd").compress(frame.tobytes(), asbytes=True))


def shown(scene: Scene) -> Picture | Clip:
    pictures = tuple(map(picture_of, scene.frames))
    return Clip(pictures, scene.times_s) if scene.times_s else pictures[0]


def test_the_same_seed_draws_the_same_line_and_knows_where_its_letters_are() -> None:
    one, other = (draw_sample(random.Random(5), PILLOW, 30, text="WHITE is a name") for _ in range(2))
    assert np.array_equal(one.picture, other.picture)
    assert list(one.centers_px) == sorted(one.centers_px)
    assert len(one.centers_px) == len(one.text)
    # ink stands where the letters are said to be, and not beyond them
    clean = draw_sample(random.Random(5), PILLOW, 30, noise=0, text="HHHH    HHHH")
    ink = (clean.picture.min(axis=(0, 2)) < 128).nonzero()[0]
    letters = [x for x, character in zip(clean.centers_px, clean.text, strict=True) if character == "H"]
    left, right = clean.centers_px[3], clean.centers_px[8]  # the H before the gap, and the one behind it
    gap = (ink > 0.7 * left + 0.3 * right) & (ink < 0.3 * left + 0.7 * right)
    assert ink.min() < letters[0] < letters[-1] < ink.max()
    assert not gap.any()


def test_a_batch_of_lines_asks_for_their_text() -> None:
    samples = [draw_sample(random.Random(seed), PILLOW, 8, text="Hollow") for seed in range(40)]
    width = samples[0].width_px
    batch = collate([sample for sample in samples if sample.width_px == width])
    tokenizer = tokens.build_tokenizer()
    for labels, ids, token_of in zip(batch.labels, batch.input_ids, batch.token_of, strict=True):
        spoken = labels[labels != IGNORED].tolist()
        assert tokenizer.decode(spoken) == "Hollow"
        looked = token_of[token_of != IGNORED]
        assert (ids[looked] == tokens.token_ids()["<|image_pad|>"]).all()
        assert looked.tolist() == sorted(looked.tolist())


def test_a_line_is_learned_alike_alone_and_among_wider_ones() -> None:
    network = Qwen3VL(Config.from_json(config_json(vision_hidden=64, vision_depth=2, text_hidden=64, text_layers=2)))
    teacher = AuxiliaryHeads(network)
    samples = [draw_sample(random.Random(seed), PILLOW, chars) for seed, chars in ((1, 3), (2, 3), (3, 9), (4, 20))]
    samples.sort(key=lambda sample: sample.width_px)
    together = collate(samples)
    assert len(set(together.grid[:, 2].tolist())) > 2
    for name in ("reply", "frames", "count", "attention"):
        alone = [getattr(losses(network, teacher, collate([sample])), name) for sample in samples]
        # means over the tokens of a batch: over replies, over visual tokens, over characters
        weight = {"reply": lambda s: len(s.text) + 1, "attention": lambda s: len(s.text)}.get(
            name, lambda s: s.width_px
        )
        weights = torch.tensor([float(weight(sample)) for sample in samples])
        wanted = (torch.stack(alone) * weights).sum() / weights.sum()
        assert getattr(losses(network, teacher, together), name).item() == pytest.approx(wanted.item(), rel=1e-4), name


@pytest.mark.parametrize("dataset", [Lines(PILLOW, 3, 64, (2, 9), 0.5, widths=2), Scenes(PILLOW, 3, 64, asked=True)])
def test_every_process_draws_its_own(dataset: Lines | Scenes) -> None:
    def texts(processes: int) -> list[list[int]]:
        batches = islice(DataLoader(dataset, batch_size=None, num_workers=processes), 4)
        return [batch.labels.flatten().tolist() for batch in batches]

    alone, both = texts(0), texts(2)
    assert texts(1) == alone
    assert both[0] == alone[0]  # the first process is the one of old
    assert both[2] == alone[1]
    assert both[1] not in alone
    assert both[1] != both[3]


def test_patches_are_those_of_the_engine() -> None:
    sample = draw_sample(random.Random(1), PILLOW, 20)
    wanted, _ = patchify(picture_of(sample.picture))
    assert torch.equal(normalize(line_image_patches(torch.from_numpy(sample.picture.copy())[None])), wanted)
    clip = draw_clip(random.Random(2), PILLOW, pairs=2, rows=2, columns=3)
    wanted, _ = patchify(shown(clip))
    assert torch.equal(normalize(scene_patches(torch.from_numpy(clip.frames.copy()))), wanted)


@pytest.mark.parametrize("seed", range(6))
def test_the_prompts_of_training_are_those_of_the_engine(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = random.Random(seed)
    chat = Chat(tiny_checkpoint(tmp_path_factory.mktemp("tiny")))
    for scene in (draw_picture(rng, PILLOW, 4, 6), draw_clip(rng, PILLOW, pairs=3, rows=2, columns=3)):
        asked = questions.ask_all(rng, scene)
        batch = collate_scenes([scene], [asked])
        assert batch.questions == len(asked) > 1
        for question, ids, labels in zip(asked, batch.input_ids, batch.labels, strict=True):
            prompt = chat.encode((Message("user", (shown(scene), question.prompt)),)).input_ids
            assert ids[: len(prompt)].tolist() == prompt
            assert chat.decode(labels[labels != IGNORED].tolist()) == question.text


def test_replies_have_the_forms_of_the_real_model() -> None:
    rng = random.Random(3)
    scene = next(s for s in (draw_picture(rng, PILLOW, 5, 8) for _ in range(50)) if len(s.things) >= 2)
    labels = [thing.label for thing in scene.things]
    boxes = json.loads(questions.locate(scene, labels).text.removeprefix("```json\n").removesuffix("\n```"))
    assert [each["label"] for each in boxes] == labels
    assert all(0 <= side <= 1000 for each in boxes for side in each["bbox_2d"])
    assert all(x0 < x1 and y0 < y1 for x0, y0, x1, y1 in (each["bbox_2d"] for each in boxes))
    clip = draw_clip(rng, PILLOW, pairs=6, rows=2, columns=3)
    spans = json.loads(questions.events(clip).text)
    assert next(iter(spans)).count(":") == 2
    assert len(spans) <= len(clip.things)


def test_the_box_of_a_thing_is_where_its_color_is() -> None:
    scene = draw_picture(random.Random(11), PILLOW, 6, 9)
    assert scene.things
    height, width, _ = scene.frames[0].shape
    for thing in scene.things:
        x0, y0, x1, y1 = thing.box
        inside = scene.frames[0][int(y0 * height) : int(y1 * height), int(x0 * width) : int(x1 * width)]
        middle = inside[inside.shape[0] // 2, inside.shape[1] // 2].astype(int)
        corner = scene.frames[0][0, 0].astype(int)
        assert abs(middle - corner).sum() > 100, thing


def _shifted(box: Box) -> Box:
    x0, y0, x1, y1 = box
    return x0 + 0.5, y0, x1 + 0.5, y1


def test_judges_tell_right_from_wrong() -> None:
    rng = random.Random(8)
    for _ in range(20):
        scene = draw_picture(rng, PILLOW, 5, 8)
        if not scene.things:
            continue
        labels = questions.asked_labels(rng, scene)
        for points in (False, True):
            right = questions.locate(scene, labels, points=points).text
            marks = score_objects(right, scene, labels)
            assert marks.parsed
            assert marks.right == marks.wanted
            assert not score_objects(right[:-6], scene, labels).parsed
        moved = replace(scene, things=tuple(replace(thing, box=_shifted(thing.box)) for thing in scene.things))
        assert score_objects(questions.locate(moved, labels).text, scene, labels).right == 0
        clip = draw_clip(rng, PILLOW, pairs=8, rows=2, columns=3)
        assert score_events(questions.events(clip).text, clip).right == 2 * len(clip.things)
        late = replace(clip, things=tuple(replace(t, start_s=t.start_s + 1, end_s=t.end_s + 1) for t in clip.things))
        assert score_events(questions.events(late).text, clip).right == 0


def test_measures() -> None:
    assert cer(["kitten"], ["sitting"]) == 3 / 7
    assert cer(["ab", ""], ["abc", "d"]) == 0.5
    assert iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert iou((0, 0, 1, 1), (2, 2, 3, 3)) == 0


@pytest.mark.slow
def test_training_lowers_its_losses_stops_resumes_and_exports(tmp_path: Path) -> None:
    config = config_json(vision_hidden=64, vision_depth=2, text_hidden=64, text_layers=2)
    recipe = Recipe(steps=60, log_every=10, short_share=0.2, image_tokens=64, bf16=False, warm_up_steps=5)
    run = Run(recipe, tmp_path / "run", PILLOW, config)
    run.train()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "frames" in line]
    assert run.progress.step == 60
    assert run.progress.scenes > 0
    again = Run(replace(recipe, steps=70), tmp_path / "run", PILLOW, config)
    again.resume()
    assert again.progress.step == 60
    assert torch.equal(again.network.lm_head.weight, run.network.lm_head.weight)
    again.train()
    assert again.progress.step == 70
    assert logged[-1]["frames"] < logged[0]["frames"]
    assert logged[-1]["sides"] < logged[0]["sides"]
    after = Run(replace(recipe, minutes=0.02, boxes=True, batch=2), tmp_path / "run", PILLOW, config)
    after.resume()
    after.progress.spent_s = 0.0
    assert after.rate() == pytest.approx(recipe.peak_rate)
    after.train()
    assert after.progress.step > 70
    assert after.progress.spent_s >= 0.02 * 60
    assert after.rate() == pytest.approx(recipe.peak_rate * recipe.last_rate)
    moved = {
        name
        for (name, one), (_, other) in zip(
            after.network.named_parameters(), again.network.named_parameters(), strict=True
        )
        if not torch.equal(one, other)
    }
    assert moved  # and of the tower nothing
    assert not any(name.startswith("visual.") for name in moved)
    export(again.network, config, tmp_path / "checkpoint")
    exported = load(tmp_path / "checkpoint")
    assert torch.equal(exported.lm_head.weight, again.network.lm_head.weight.bfloat16().float())


def test_numbers_start_as_neighbors() -> None:
    network = Qwen3VL(Config.from_json(nano_config()))
    codes.start(network)
    ids = tokens.token_ids()
    for names in (tokens.COORDINATES, tokens.SAID_SECONDS, tokens.SHOWN_SECONDS):
        rows = network.lm_head.weight[[ids[name] for name in names]]
        way = torch.cdist(rows, rows)
        for number in (0, 7, len(names) - 1):
            nearest = int(way[number].argsort()[1])
            assert abs(nearest - number) <= len(names) // 20, (names[number], names[nearest])
        assert way[0, -1] > 1.5 * way[0, 1]
    logits = codes.Coordinates(8, 4)(torch.zeros(5, 8))
    assert logits.shape == (5, 4, len(tokens.COORDINATES))


def test_a_part_of_a_clip_holds_what_is_seen_in_it() -> None:
    for seed in range(30):
        whole = draw_clip(random.Random(seed), PILLOW, pairs=9, rows=2, columns=3)
        part = draw_clip(random.Random(seed), PILLOW, pairs=9, rows=2, columns=3, shown=2)
        assert part.frames.shape == (4, *whole.frames.shape[1:])
        assert set(part.times_s) < set(whole.times_s)
        assert len(part.things) == len(part.boxes)
        for thing, seen in zip(part.things, part.boxes, strict=True):
            assert thing.box == next(box for box in seen if box is not None)


def test_the_tokens_of_a_clip_find_the_timestamp_before_them() -> None:
    torch.manual_seed(0)
    network = Qwen3VL(Config.from_json(config_json(vision_hidden=64, vision_depth=2, text_hidden=64, text_layers=2)))
    teacher = AuxiliaryHeads(network)
    clip = draw_clip(random.Random(5), PILLOW, pairs=4, rows=2, columns=3)
    batch = collate_scenes([clip], [questions.ask_all(random.Random(5), clip)])
    optimiser = torch.optim.AdamW([*network.language_model.parameters()], lr=3e-3)
    seen = []
    for _ in range(60):
        found = scene_losses(network, teacher, batch)
        optimiser.zero_grad()
        loss = teacher.stamp_attention(network, batch)
        loss.backward()
        optimiser.step()
        seen.append(loss.item())
        assert found.attention.isfinite()
    assert seen[-1] < 0.1 < seen[0]


@pytest.mark.parametrize("asked", [False, True])
def test_batches_of_scenes_hold_pictures_and_clips(asked: bool) -> None:
    batches = list(islice(Scenes(PILLOW, 1, 128, asked=asked), 12))
    assert {int(batch.grid[0, 0]) > 1 for batch in batches} == {True, False}
    boxes = list(islice(Scenes(PILLOW, 1, 128, asked=asked, boxes=True), 12))
    assert sum(each.grid[0, 0] == 1 for each in boxes) > sum(each.grid[0, 0] == 1 for each in batches)
    assert {each.questions for each in boxes if each.grid[0, 0] == 1} == ({6} if asked else {1})
    for batch in batches:
        left, top, right, bottom = batch.sides.T
        x, y = batch.middles.T
        rows, columns = (int(side) // 2 for side in batch.grid[0, 1:])
        for side, own, count in ((left, x, columns), (top, y, rows), (right, x, columns), (bottom, y, rows)):
            touched = side != NOWHERE
            assert ((side - own).abs()[touched] <= 0.6 / count + 0.01).all()  # each is told of where it lies
        looked = batch.input_ids.unsqueeze(1).expand_as(batch.looks)[batch.looks]
        assert set(looked.tolist()) <= {tokens.token_ids()["<|image_pad|>"], tokens.token_ids()["<|video_pad|>"]}
        numbers = [tokens.token_ids()[each] for each in tokens.COORDINATES]
        spoken = torch.isin(batch.labels[:, batch.first :], torch.tensor(numbers))
        assert (batch.looks.sum(2)[spoken] == 1).all()
    under = torch.cat([batch.things[batch.sides[:, 0] != NOWHERE] for batch in batches])
    assert (under > 0).float().mean() > 0.3  # most left sides are touched in a token that is the shape's own


needs_checkpoint = pytest.mark.skipif(not CHECKPOINT.exists(), reason="no checkpoint is shipped")


@needs_checkpoint
def test_the_shipped_checkpoint_reads_lines_it_has_never_seen() -> None:
    samples = held_out_lines(PILLOW, 24, noise=0.0, seed=99)
    assert cer(read(load(CHECKPOINT), samples), [sample.text for sample in samples]) <= 0.03

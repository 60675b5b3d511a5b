"""model/ against transformers, in float32, on small random checkpoints: every step, from token ids to greedy text."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.engines.encoder_cache import EncoderCache, VisualCursor
from model.engines.runner import Runner, Sequence
from model.network.checkpoint import load
from model.network.kv_cache import BlockCache
from model.network.positions import positions
from model.network.qwen3vl import Qwen3VL, Visual, join
from model.prompts.chat import Chat
from model.prompts.pixels import smart_resize
from model.prompts.preprocessors import pixel_budget
from schemas.request import Clip, Message, Picture
from tests.support.reference import make_checkpoint, picture, transformers

TOLERANCE = 1e-4
NEW_TOKENS = 64


@dataclass(frozen=True)
class Pair:
    """Both implementations of one checkpoint."""

    folder: Path
    chat: Chat
    ours: Qwen3VL
    theirs: Any
    processor: Any


VARIANTS: dict[str, dict[str, Any]] = {
    "untied": {},
    "tied, old layout": {"tied": True, "old_layout": True, "seed": 1},
    "vision heads of 72": {"vision_head_dim": 72, "seed": 2},
    "experts": {"experts": True, "seed": 3},
    "experts, yarn, old layout": {"experts": True, "yarn": True, "old_layout": True, "seed": 4},
    "yarn": {"yarn": True, "seed": 5},
}


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda name: name.replace(" ", "-"))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = make_checkpoint(tmp_path_factory.mktemp("checkpoint"), **VARIANTS[request.param])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        processor = transformers.AutoProcessor.from_pretrained(folder)
    return Pair(folder, Chat(folder), load(folder), theirs, processor)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """A smooth picture with some noise, [h, w, 3] uint8."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, width)[None, :, None] + np.linspace(0, 40, height)[:, None, None]
    return (ramp + random.integers(0, 16, (height, width, 3))).astype(np.uint8)


def clip(frames: int, height: int, width: int, fps: float = 2.0) -> tuple[Clip, np.ndarray[Any, Any], dict[str, Any]]:
    """Ours, their frames [T, H, W, C], and their metadata: frames at fps out of a source of 30 fps."""
    pixels = np.stack([noise(height, width, seed) for seed in range(frames)])
    indices = [round(index * 30 / fps) for index in range(frames)]
    metadata = {
        "fps": 30.0,
        "frames_indices": indices,
        "total_num_frames": indices[-1] + 30,
        "duration": (indices[-1] + 30) / 30,
        "video_backend": "pyav",
    }
    return Clip(tuple(picture(each) for each in pixels), tuple(index / 30 for index in indices)), pixels, metadata


@dataclass(frozen=True)
class Case:
    """A user's turn for both: our parts; their content, pictures and videos."""

    parts: tuple[Any, ...]
    content: list[dict[str, str]]
    images: tuple[np.ndarray[Any, Any], ...] = ()
    videos: tuple[tuple[np.ndarray[Any, Any], dict[str, Any]], ...] = ()


def case(*parts: Any) -> Case:
    """From strings, picture arrays and results of `clip`."""
    ours, content, images, videos = [], [], [], []
    for part in parts:
        if isinstance(part, str):
            ours.append(part)
            content.append({"type": "text", "text": part})
        elif isinstance(part, tuple):
            ours.append(part[0])
            content.append({"type": "video"})
            videos.append(part[1:])
        else:
            ours.append(picture(part))
            content.append({"type": "image"})
            images.append(part)
    return Case(tuple(ours), content, tuple(images), tuple(videos))


CASES = {
    "text": case("What is the theatre, then?"),
    "one image": case(noise(64, 96), "Read the text."),
    "two images": case(noise(64, 96), "and", noise(96, 32, 5), "Compare the pictures."),
    "odd clip": case(clip(5, 64, 96), "What happens?"),
    "image and clip": case(noise(32, 64), clip(4, 64, 64), "Is it in the clip?"),
}


def their_inputs(pair: Pair, cases: list[Case], **options: Any) -> Any:
    texts = [
        pair.processor.apply_chat_template(
            [{"role": "user", "content": each.content}], add_generation_prompt=True, tokenize=False
        )
        for each in cases
    ]
    images = [image for each in cases for image in each.images]
    videos = [video for each in cases for video in each.videos]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = pair.processor(
            text=texts,
            images=images or None,
            videos=[frames for frames, _ in videos] or None,
            video_metadata=[metadata for _, metadata in videos] or None,
            do_sample_frames=False,
            do_resize=False,
            padding=True,
            padding_side="left",
            return_tensors="pt",
            **options,
        )
    inputs.pop("video_metadata", None)
    return inputs


def our_inputs(pair: Pair, one: Case) -> tuple[torch.Tensor, torch.Tensor, int, Visual | None, list[Any]]:
    prompt = pair.chat.encode([Message("user", one.parts)])
    grids = [grid for _, grid in prompt.visuals]
    config = pair.ours.config
    places, delta = positions(prompt.input_ids, grids, (config.image_id, config.video_id))
    visual = None
    if prompt.visuals:
        patches = torch.cat([patches for patches, _ in prompt.visuals])
        visual = pair.ours.vision(patches, torch.tensor(grids))
    return torch.tensor([prompt.input_ids]), places[:, None], delta, visual, prompt.visuals


def greedy(pair: Pair, one: Case, count: int) -> list[int]:
    """With the engine's cache, one row. A pad token that the model itself writes is a token like any other."""
    ids, places, delta, visual, _ = our_inputs(pair, one)
    cache = BlockCache(pair.ours.config.text, slots=1, tokens=1024, dtype=torch.float32, device="cpu")
    with torch.inference_mode():
        hidden = pair.ours(ids, places, visual, cache=cache.chunks([(0, ids.shape[1])]))
        made = [int(pair.ours.logits(hidden[:, -1]).argmax())]
        while len(made) < count:
            place = torch.full((3, 1, 1), cache.host.lengths[0] + delta)
            cache.grow({0: 1})
            hidden = pair.ours(torch.tensor([[made[-1]]]), place, cache=cache.decode([0]))
            made.append(int(pair.ours.logits(hidden[:, -1]).argmax()))
    return made


@pytest.mark.parametrize("name", CASES)
def test_ids_grids_pixels_positions_and_logits(pair: Pair, name: str) -> None:
    one = CASES[name]
    theirs = their_inputs(pair, [one])
    ids, places, delta, visual, visuals = our_inputs(pair, one)
    assert ids.tolist() == theirs["input_ids"].tolist()
    for kind, pixels, grid in (
        ("image", "pixel_values", "image_grid_thw"),
        ("video", "pixel_values_videos", "video_grid_thw"),
    ):
        if pixels in theirs:
            wanted = Picture if kind == "image" else Clip
            contents = [part for part in one.parts if not isinstance(part, str)]
            mine = [each for part, each in zip(contents, visuals, strict=True) if isinstance(part, wanted)]
            assert [each[1] for each in mine] == [tuple(row) for row in theirs[grid].tolist()]
            assert (torch.cat([each[0] for each in mine]) - theirs[pixels]).abs().max() <= 1e-6
    their_places, their_delta = pair.theirs.model.get_rope_index(
        theirs["input_ids"],
        **{key: theirs[key] for key in ("image_grid_thw", "video_grid_thw", "attention_mask") if key in theirs},
        mm_token_type_ids=theirs["mm_token_type_ids"],
    )
    assert places.tolist() == their_places.tolist()
    assert delta == int(their_delta)
    with torch.inference_mode():
        logits = pair.ours.logits(pair.ours(ids, places, visual))
        difference = (logits - pair.theirs(**theirs).logits).abs().max()
    assert difference <= TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_greedy_tokens(pair: Pair, name: str) -> None:
    one = CASES[name]
    theirs = their_inputs(pair, [one])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # no stop token: all 64 are compared
        made = pair.theirs.generate(
            **theirs, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=-1, pad_token_id=0
        )
    expected = made[0, theirs["input_ids"].shape[1] :].tolist()
    assert len(set(expected)) > 4, "a degenerate reference would prove nothing"
    assert greedy(pair, one, NEW_TOKENS) == expected


def test_a_padded_batch(pair: Pair) -> None:
    """Ours pads on the right and needs no mask; theirs on the left. The last logits of each row agree."""
    cases = [CASES[name] for name in ("text", "two images", "odd clip")]
    theirs = their_inputs(pair, cases)
    with torch.inference_mode():
        their_last = pair.theirs(**theirs).logits[:, -1]
        inputs = [our_inputs(pair, one) for one in cases]
        lengths = [each[0].shape[1] for each in inputs]
        ids = torch.zeros(len(cases), max(lengths), dtype=torch.long)
        places = torch.zeros(3, len(cases), max(lengths), dtype=torch.long)
        for row, (each_ids, each_places, *_) in enumerate(inputs):
            ids[row, : lengths[row]] = each_ids[0]
            places[:, row, : lengths[row]] = each_places[:, 0]
        hidden = pair.ours(ids, places, join([each[3] for each in inputs if each[3] is not None]))
        our_last = pair.ours.logits(hidden[torch.arange(len(cases)), torch.tensor(lengths) - 1])
    assert (our_last - their_last).abs().max() <= TOLERANCE


def test_a_mixed_batch_writes_what_a_left_padded_one_does(pair: Pair) -> None:
    """All cases in one packed prefill, then decoded together, as the engine does; theirs is padded on the left."""
    cases = list(CASES.values())
    theirs = their_inputs(pair, cases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = pair.theirs.generate(
            **theirs, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=-1, pad_token_id=0
        )
    runner = Runner(pair.ours, slots=len(cases), cache_tokens=4096, device="cpu")
    sequences = [engine_sequence(pair, one) for one in cases]
    with torch.inference_mode():
        logits = runner.prefill([(sequence, 0, len(sequence.input_ids)) for sequence in sequences])
        choices = runner.begin(sequences, logits)
        for _ in range(NEW_TOKENS):
            for sequence, choice in zip(sequences, choices, strict=True):
                sequence.output_ids.append(choice.token_id)
            choices = runner.decode(sequences)
    assert [sequence.output_ids for sequence in sequences] == made[:, theirs["input_ids"].shape[1] :].tolist()


BFLOAT16 = 1.5
"""How far bfloat16 may stray from float32, as a multiple of how far the reference strays in bfloat16 itself: both in
root mean square over the logits after every EVERY tokens of a prompt, in a left-padded, mixed batch. Greedy text would
say less: among random weights, choices are often closer than a rounding."""
EVERY = 8


def test_bfloat16_strays_no_further_than_the_reference_does(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.network.loaded.computes_bfloat16", lambda: True)  # as little as this CPU does it well
    cases = list(CASES.values())
    inputs = their_inputs(pair, cases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rounded = transformers.AutoModelForImageTextToText.from_pretrained(pair.folder, dtype=torch.bfloat16).eval()
    runner = Runner.load(pair.folder, dtype="bfloat16", device="cpu", slots=len(cases), cache_tokens=4096)
    sequences = [engine_sequence(pair, one) for one in cases]
    rows: list[int] = []
    columns: list[int] = []  # of their batch, which is padded on the left
    ours: list[torch.Tensor] = []
    with torch.inference_mode():
        exact, theirs = pair.theirs(**inputs).logits, rounded(**inputs).logits.float()
        for row, sequence in enumerate(sequences):
            length = len(sequence.input_ids)
            for start in range(0, length, EVERY):
                count = min(EVERY, length - start)
                ours.append(runner.prefill([(sequence, start, count)])[0].float())
                rows.append(row)
                columns.append(exact.shape[1] - length + start + count - 1)
    exact, theirs = exact[rows, columns], theirs[rows, columns]

    def stray(logits: torch.Tensor) -> float:
        # of the middle place: with experts, a rounding may send a token to another one, and what follows far away
        return float(((logits - exact).square().mean(-1).sqrt() / exact.std()).median())

    assert stray(torch.stack(ours)) <= BFLOAT16 * stray(theirs)


def engine_sequence(pair: Pair, one: Case) -> Sequence:
    prompt = pair.chat.encode_with(EncoderCache().preprocess, [Message("user", one.parts)])
    visual_ids = (pair.ours.config.image_id, pair.ours.config.video_id)
    places, delta = positions(prompt.input_ids, [grid for _, grid in prompt.visuals], visual_ids)
    items = [item for items, _ in prompt.visuals for item in items]
    return Sequence.of(prompt.input_ids, places, delta, VisualCursor(items), visual_ids)


def stepped(pair: Pair, one: Case, chunk: int) -> tuple[torch.Tensor, list[int]]:
    """The engine's steps, prompts in chunks of so many tokens: logits after the prompt, and greedy tokens."""
    sequence = engine_sequence(pair, one)
    runner = Runner.load(pair.folder, dtype="float32", device="cpu", slots=2, cache_tokens=1024)
    with torch.inference_mode():
        for start in range(0, len(sequence.input_ids), chunk):
            logits = runner.prefill([(sequence, start, min(chunk, len(sequence.input_ids) - start))])
        first = logits[0]
        sequence.output_ids.append(int(first.argmax()))
        while len(sequence.output_ids) < NEW_TOKENS:
            sequence.output_ids.append(int(runner.decode_logits([sequence])[0].argmax()))
    return first, sequence.output_ids


@pytest.mark.parametrize("name", CASES)
def test_chunked_prefill_is_the_unchunked_one(pair: Pair, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks end in the midst of pictures; masks are taken a few queries at a time, as far into a long prompt."""
    one = CASES[name]
    ids, places, _, visual, _ = our_inputs(pair, one)
    with torch.inference_mode():
        whole = pair.ours.logits(pair.ours(ids, places, visual))[0, -1]
    expected = greedy(pair, one, NEW_TOKENS)
    monkeypatch.setattr("model.network.attention.MASK_CELLS", 64)
    for chunk in (5, 23):
        logits, tokens = stepped(pair, one, chunk)
        assert (logits - whole).abs().max() <= TOLERANCE
        assert tokens == expected


def test_a_size_that_is_no_multiple_of_32(pair: Pair) -> None:
    """Their processor resizes by itself; our arithmetic must come to the same grid, and our patches near theirs."""
    from PIL import Image

    budget = pixel_budget(pair.folder)
    for height, width in ((100, 75), (31, 200), (333, 700), (20, 20)):
        source = Image.fromarray(noise(height, width))
        theirs = pair.processor.image_processor(source, return_tensors="pt")
        seen = smart_resize(height, width, min_pixels=budget.image_min_px, max_pixels=budget.image_max_px)
        resized = np.asarray(source.resize((seen[1], seen[0]), Image.Resampling.BICUBIC))
        prompt = pair.chat.encode([Message("user", (picture(resized),))])
        patches, grid = prompt.visuals[0]
        assert [list(grid)] == theirs["image_grid_thw"].tolist()
        # two implementations of bicubic: a grey level or two apart
        assert (patches - theirs["pixel_values"]).abs().max() <= 3 / 127.5


def test_the_position_table_at_its_own_size_is_itself(pair: Pair) -> None:
    side = pair.ours.config.vision.grid_side
    table = pair.ours.visual._table_at(side, side)
    from model.network.vision import merge_order

    assert torch.equal(table, pair.ours.visual.pos_embed.weight[merge_order(side, side, 2)])

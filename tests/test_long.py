"""A 40-minute clip against the reference, and in chunks against in one; and what memory a long prompt takes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.engines.encoder_cache import EncoderCache, VisualCursor
from model.engines.runner import Runner, Sequence
from model.network.positions import positions
from model.prompts.chat import Chat
from schemas.checkout import NANO as CHECKPOINT
from schemas.checkout import ROOT
from schemas.request import Clip, Message
from tests.support.reference import make_checkpoint, picture, transformers

TOTAL = 40 * 60 * 30  # frames


def long_clip() -> tuple[Clip, np.ndarray[Any, Any], list[int]]:
    """768 frames, as many as the model's own sampling takes, out of 40 minutes at 30 frames a second: the clip, its
    one frame, and the places of the frames."""
    indices = np.linspace(0, TOTAL - 1, 768).round().astype(int).tolist()
    one = np.full((32, 64, 3), 128, np.uint8)
    return Clip((picture(one),) * 768, tuple(index / 30 for index in indices)), one, indices


def test_forty_minutes_of_video_stand_where_the_reference_puts_them(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    clip, one, indices = long_clip()
    chat = Chat(folder)
    prompt = chat.encode([Message("user", (clip, "What happens?"))])
    places, delta = positions(prompt.input_ids, [grid for _, grid in prompt.visuals], (chat.image_id, chat.video_id))
    metadata = {
        "fps": 30.0, "frames_indices": indices, "total_num_frames": TOTAL, "duration": 2400.0, "video_backend": "pyav",
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        processor = transformers.AutoProcessor.from_pretrained(folder)
        content = [{"type": "video"}, {"type": "text", "text": "What happens?"}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        theirs = processor(
            text=[text],
            videos=[np.broadcast_to(one, (768, *one.shape))],
            video_metadata=[metadata],
            do_sample_frames=False,
            do_resize=False,
            return_tensors="pt",
        )
        model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        their_places, their_delta = model.model.get_rope_index(
            theirs["input_ids"],
            video_grid_thw=theirs["video_grid_thw"],
            attention_mask=theirs["attention_mask"],
            mm_token_type_ids=theirs["mm_token_type_ids"],
        )
    # the timestamps of all 384 pairs are text, and so among the ids
    assert prompt.input_ids == theirs["input_ids"][0].tolist()
    assert places[:, None].tolist() == their_places.tolist()
    assert delta == int(their_delta)


def test_forty_minutes_in_chunks_are_those_in_one(tmp_path: Path) -> None:
    """Frames that differ; chunks end within pairs and timestamps. Logits after the prompt and after some tokens."""
    folder = make_checkpoint(tmp_path / "checkpoint")
    random = np.random.default_rng(3)
    frames = [picture(random.integers(0, 256, (32, 64, 3), dtype=np.uint8)) for _ in range(16)]
    plain, _, _ = long_clip()
    clip = Clip(tuple(frames[index % 16] for index in range(768)), plain.times_s)
    chat = Chat(folder)
    prompt = chat.encode_with(EncoderCache().preprocess, [Message("user", (clip, "What happens?"))])
    visual_ids = (chat.image_id, chat.video_id)
    places, delta = positions(prompt.input_ids, [grid for _, grid in prompt.visuals], visual_ids)
    found = []
    for chunk in (len(prompt.input_ids), 1000):
        # patches are given up as they are encoded, so they are opened anew
        seen = chat.encode_with(EncoderCache().preprocess, [Message("user", (clip, "What happens?"))]).visuals
        cursor = VisualCursor([item for items, _ in seen for item in items])
        sequence = Sequence.of(prompt.input_ids, places, delta, cursor, visual_ids)
        runner = Runner.load(folder, dtype="float32", device="cpu", slots=1, cache_tokens=16_384)
        with torch.inference_mode():
            for start in range(0, len(sequence.input_ids), chunk):
                last = runner.prefill([(sequence, start, min(chunk, len(sequence.input_ids) - start))])
            made = [last]
            for token in (40, 50, 60):
                sequence.output_ids.append(token)
                made.append(runner.decode_logits([sequence]))
        found.append(torch.cat(made))
    assert len(prompt.input_ids) > 5000
    assert (found[0] - found[1]).abs().max() <= 1e-4
    assert found[0].std() > 0.1


@pytest.mark.skipif(not CHECKPOINT.exists(), reason="no checkpoint is shipped")
def test_memory_grows_by_keys_and_values_alone() -> None:
    """`sightread bench long` on a prompt that takes seconds; the bound is the command's own."""
    line = [sys.executable, "-m", "jobs.cli", "bench", "long", "--tokens", "12000"]
    done = subprocess.run(
        line, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    grown, cache, bound = (float(number) for number in re.findall(r"(\d+) MB", done.stdout))
    text = json.loads((CHECKPOINT / "config.json").read_text())["text_config"]
    numbers = text["num_hidden_layers"] * 2 * text["num_key_value_heads"] * text["head_dim"]  # of a token
    assert cache == round(12_000 * numbers * 4 / 1e6)
    assert cache <= grown <= bound

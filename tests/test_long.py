"""A 40-minute clip against the reference: timestamps, ids and positions."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch

from model.chat import Chat
from model.positions import positions
from schemas.ask import Clip, Message
from tests.reference import make_checkpoint, picture, transformers


def test_forty_minutes_of_video_stand_where_the_reference_puts_them(tmp_path: Path) -> None:
    """768 frames, as many as the model's own sampling takes, out of 40 minutes at 30 frames a second."""
    folder = make_checkpoint(tmp_path / "checkpoint")
    total = 40 * 60 * 30
    indices = np.linspace(0, total - 1, 768).round().astype(int).tolist()
    one = np.full((32, 64, 3), 128, np.uint8)
    clip = Clip((picture(one),) * 768, tuple(index / 30 for index in indices))
    chat = Chat(folder)
    prompt = chat.encode([Message("user", (clip, "What happens?"))])
    places, delta = positions(prompt.input_ids, [grid for _, grid in prompt.visuals], (chat.image_id, chat.video_id))
    metadata = {
        "fps": 30.0, "frames_indices": indices, "total_num_frames": total, "duration": 2400.0, "video_backend": "pyav",
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

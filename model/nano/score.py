"""Reads lines greedily and counts wrong characters. Knows nothing of training.

CER: edit distance between reply and truth, summed over lines, divided by the characters of the truth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein

from model.nano.batches import line_image_patches, normalize
from model.nano.line_image import TOKEN_SIDE_PX
from model.nano.render import Sample
from model.nano.tokens import build_tokenizer, prompt_ids, token_ids
from model.network.kv_cache import BlockCache, tokens_for
from model.network.qwen3vl import Qwen3VL, join


def cer(replies: Sequence[str], truths: Sequence[str]) -> float:
    wrong = sum(Levenshtein.distance(reply, truth) for reply, truth in zip(replies, truths, strict=True))
    return wrong / sum(map(len, truths))


@torch.inference_mode()
def read(network: Qwen3VL, samples: Sequence[Sample], *, max_tokens: int = 112, batch: int = 32) -> list[str]:
    """Replies to the OCR prompt, greedy, in the order of samples."""
    replies: list[str] = []
    for start in range(0, len(samples), batch):
        replies += _read(network, samples[start : start + batch], max_tokens)
    return replies


def _read(network: Qwen3VL, samples: Sequence[Sample], max_tokens: int) -> list[str]:
    ids = token_ids()
    device = str(next(network.parameters()).device)
    merge = network.config.vision.merge
    widths = [sample.width_px // TOKEN_SIDE_PX for sample in samples]
    prompts = [prompt_ids(width) for width in widths]
    lengths = [len(prompt) for prompt in prompts]
    grids = [(1, merge, width * merge) for width in widths]
    placed = [network.positions(prompt, [grid]) for prompt, grid in zip(prompts, grids, strict=True)]
    visual = join(
        [
            network.vision(
                normalize(line_image_patches(torch.from_numpy(np.array(sample.picture))[None]).to(device)),
                torch.tensor([grid]),
            )
            for sample, grid in zip(samples, grids, strict=True)
        ]
    )
    slots = list(range(len(samples)))
    room = tokens_for(length + max_tokens for length in lengths)
    cache = BlockCache(network.config.text, slots=len(samples), tokens=room, dtype=visual.embeds.dtype, device=device)
    hidden = network(
        torch.tensor([[token for prompt in prompts for token in prompt]], device=device),
        torch.cat([where for where, _ in placed], dim=1)[:, None].to(device),
        visual,
        cache=cache.chunks(list(zip(slots, lengths, strict=True))),
    )
    last = hidden[0, torch.tensor(lengths).cumsum(0) - 1]
    written: list[list[int]] = [[] for _ in samples]
    running = set(slots)
    for _ in range(max_tokens):
        chosen = network.logits(last).argmax(-1)
        for row in sorted(running):
            token = int(chosen[row])
            if token == ids["<|im_end|>"]:
                running.discard(row)
            else:
                written[row].append(token)
        if not running:
            break
        now = torch.tensor(
            [length + delta for length, (_, delta) in zip(cache.host.lengths, placed, strict=True)], device=device
        )
        cache.grow(dict.fromkeys(slots, 1))
        last = network(chosen[None], now.expand(3, 1, -1), cache=cache.decode(slots))[0]
    tokenizer = build_tokenizer()
    return [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in written]

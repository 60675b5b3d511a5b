"""How Qwen samples each kind of its models (docs/facts/qwen3-vl.md §3). Opens no weights and needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.prompts.template import chat_template

PRESETS: dict[tuple[bool, bool], dict[str, Any]] = {
    # (thinking, about pictures)
    (False, True): {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "presence_penalty": 1.5},
    (False, False): {"temperature": 1.0, "top_p": 1.0, "top_k": 40, "presence_penalty": 2.0},
    (True, True): {"temperature": 1.0, "top_p": 0.95, "top_k": 20, "presence_penalty": 0.0},
    (True, False): {"temperature": 1.0, "top_p": 0.95, "top_k": 20, "presence_penalty": 1.5},
}


def preset(folder: Path, *, pictures: bool) -> dict[str, Any]:
    """Fields of Sampling for the checkpoint in that folder, asked about pictures or about text alone."""
    return dict(PRESETS[thinks(folder), pictures])


def thinks(folder: Path) -> bool:
    """Whether the chat template opens a thought where the assistant is to speak: a Thinking checkpoint."""
    opening = chat_template(folder).rpartition("add_generation_prompt")[2]
    return "<think>" in opening and "</think>" not in opening.rpartition("<think>")[2]

"""The two parts of a layer as compiled code: one for all layers, because their weights are arguments, and for any
number of tokens but one, which has code of its own. What is compiled is kept between runs.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from model.network.language import Layer
from model.network.qwen3vl import Qwen3VL


def compile_layers(network: Qwen3VL, *, backend: str = "inductor") -> None:
    """In place; the code is made at the first call. Attention between the parts, which depends on the cache, stays as
    it is. Tested against torch 2.11 and 2.13: modules that are arguments have parameters that are."""
    keep_code()
    language = network.language_model
    language.before_attention = torch.compile(Layer.before_attention, dynamic=True, fullgraph=True, backend=backend)
    language.after_attention = torch.compile(Layer.after_attention, dynamic=True, fullgraph=True, backend=backend)


def plain_layers(network: Qwen3VL) -> None:
    language = network.language_model
    language.before_attention, language.after_attention = Layer.before_attention, Layer.after_attention


def keep_code() -> Path:
    """Where torch keeps what it compiles: as its own variable says, else with the other caches of this user, and not in
    a temporary folder, which is its choice."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home / "sightread" / "torchinductor")))

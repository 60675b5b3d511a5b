"""A checkpoint as an engine runs it: its layers laid out for the device."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from model.network.checkpoint import load
from model.network.compiled_tower import compile_tower
from model.network.cpu_linear import computes_bfloat16, pack, use_huge_pages
from model.network.fused import fuse
from model.network.qwen3vl import Qwen3VL

_log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_network(folder: Path, *, dtype: str, device: str) -> Qwen3VL:
    """In eval mode. dtype: float32, bfloat16, or auto (float32 on the CPU, else bfloat16); float32 where bfloat16 is
    asked of a CPU that would only emulate it."""
    kind = DTYPES["float32" if device == "cpu" else "bfloat16"] if dtype == "auto" else DTYPES[dtype]
    if device == "cpu":
        use_huge_pages()
        if kind == torch.bfloat16 and not computes_bfloat16():
            _log.warning("in float32: this CPU has neither AVX512_BF16 nor AMX, and would only emulate bfloat16")
            kind = torch.float32
    network = load(folder, dtype=kind, device=device)
    if device == "cpu":
        pack(network)
    else:
        fuse(network)
        # cuDNN plans for each length that it has not seen, 35 ms each; prompts and pages have a new one every time
        torch.backends.cuda.enable_cudnn_sdp(False)
        compile_tower(network)
        torch.cuda.empty_cache()  # of the plain layers: the engine shares out what the driver calls free
    return network

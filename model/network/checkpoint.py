"""Checkpoints in the Hugging Face layout: load one, write one. The one place that knows weight names.

A folder holds config.json, model.safetensors (or shards and their index), tokenizer.json, the preprocessors'
json, a chat template and generation_config.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.network.fitting import HEAD
from model.network.hub import SINGLE, one_line, runnable_config, weight_files
from model.network.qwen3vl import Qwen3VL
from schemas.errors import SpecError


def load(folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Qwen3VL:
    """The network with its weights, in eval mode.

    On the CPU and in the dtype of the file, a weight is a view of the mapped file: nothing is copied, and pages are
    read when they are used. Else tensors are converted one by one, so the peak is one copy and one tensor.
    Raises SpecError as model/network/fitting.py, for a file that cannot be read, and for weights that are not numbers.
    """
    config = runnable_config(folder)
    with torch.device("meta"):
        network = Qwen3VL(config)
    for name, opened in _tensors(folder):
        ours = name.removeprefix("model.")
        if ours == HEAD and config.tied:
            continue  # some tied checkpoints store the head all the same
        value = opened.get_tensor(name).to(device=device, dtype=dtype)
        # at the speed of the memory; a look at each number takes thirty times as long
        if not all(bound.isfinite() for bound in value.aminmax()):
            raise SpecError(
                f"{folder}: {name} holds NaN or infinity as {str(dtype).removeprefix('torch.')}: the file is damaged "
                "or was converted badly; fetch or convert it anew"
            )
        _assign(network, ours, value)
    return network.eval().requires_grad_(False)


def save(network: Qwen3VL, folder: Path, config_json: dict[str, Any], *, dtype: torch.dtype) -> None:
    """Write config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        _their_name(name): value.detach().to("cpu", dtype).contiguous() for name, value in network.named_parameters()
    }
    save_file(weights, folder / SINGLE, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config_json, indent=2) + "\n", encoding="utf-8")


def _their_name(name: str) -> str:
    return name if name.startswith("lm_head.") else f"model.{name}"


def _assign(network: Qwen3VL, name: str, value: Tensor) -> None:
    module_name, _, leaf = name.rpartition(".")
    module = network.get_submodule(module_name)
    if value.shape != network.get_parameter(name).shape:  # experts that transformers 5 saved
        value = value.transpose(1, 2).contiguous()
    module.register_parameter(leaf, torch.nn.Parameter(value, requires_grad=False))


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118  not a dict
                    yield name, opened
        except (SafetensorError, OSError) as error:
            raise SpecError(f"{path} cannot be read: {one_line(error)}") from error

"""Whether our network runs a checkpoint as it is meant: by its config and the headers of its weights, before anything
is built. Reads no weights, but for a head that is stored beside the table it is tied to; needs no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.network.config import Config
from model.network.config_values import check_values
from model.network.headers import StoredTensor
from model.network.weight_shapes import weight_shapes
from schemas.errors import SpecError

DTYPES = ("BF16", "F16", "F32", "F64")
HEAD, TABLE = "lm_head.weight", "model.language_model.embed_tokens.weight"

_VLLM_METHODS = frozenset(
    ("fp8", "awq", "gptq", "bitsandbytes", "compressed-tensors", "modelopt", "torchao", "quark", "auto-round")
)
"""Of the methods in config.json, those that vLLM reads (its documentation, "Supported Hardware for Quantization")."""
_OF_OLD = {"quantize_config.json": "gptq", "quant_config.json": "awq", "hf_quant_config.json": "modelopt"}
"""Files that say so of checkpoints whose config.json does not."""
_MOST_NAMED, _PIECE = 8, 1 << 24


def check_fit(data: dict[str, Any], config: Config, stored: dict[str, StoredTensor], folder: Path) -> None:
    """data: parsed config.json, which config is of. Raises SpecError for what our network would run wrongly or not at
    all; names the engine that runs it, if any."""
    check_values(data)
    _check_dtypes(stored, folder)
    _check_weights(config, stored, folder)


def check_quantization(data: dict[str, Any], folder: Path) -> None:
    """data: parsed config.json. Raises SpecError for weights that are quantized."""
    text = data.get("text_config")
    for section in (data, text if isinstance(text, dict) else {}):
        for key in ("quantization_config", "compression_config"):
            if section.get(key):
                settings = section[key]
                method = settings.get("quant_method") if isinstance(settings, dict) else settings
                raise _quantized(method or key, f"{key} of config.json", folder)
        if section.get("quantization"):
            raise SpecError(
                f"{folder}: weights quantized by MLX (quantization of config.json); a server of MLX runs them, asked "
                "by engine: {kind: openai}"
            )
    for name, method in _OF_OLD.items():
        if (folder / name).exists():
            raise _quantized(method, name, folder)


def _quantized(method: Any, place: str, folder: Path) -> SpecError:
    name = f"{method!r}"[:60].strip("'")
    text = f"{folder}: weights quantized by {name} ({place}), which this engine does not read"
    if isinstance(method, str) and method in _VLLM_METHODS:
        return SpecError(f"{text}; engine: {{kind: vllm}} takes them")
    return SpecError(f"{text}; name the checkpoint that they were made from")


def _check_dtypes(stored: dict[str, StoredTensor], folder: Path) -> None:
    for name, tensor in stored.items():
        if tensor.dtype not in DTYPES:
            raise SpecError(
                f"{folder}: {name[:120]} is stored as {tensor.dtype[:20]}, and no quantization_config of config.json "
                "says how to read it; name the checkpoint that it was made from"
            )


def _check_weights(config: Config, stored: dict[str, StoredTensor], folder: Path) -> None:
    """Raises SpecError that lists what is missing, unexpected or of another shape."""
    experts = config.text.experts
    if experts is not None and config.text.hidden in (experts.ffn, 2 * experts.ffn):
        raise SpecError(
            f"{folder}: experts {experts.ffn} wide beside hidden_size {config.text.hidden}: their matrices are square, "
            "and versions of transformers differ in which side comes first"
        )
    left = dict(stored)
    missing, misshapen = [], []
    for name, shape in weight_shapes(config):
        tensor = left.pop(name, None)
        if tensor is None:
            missing.append(name)
        elif tensor.shape not in (shape, turned(name, shape)):
            misshapen.append(f"{name} {list(tensor.shape)[:8]}, not {list(shape)} ({tensor.file.name})")
        if len(missing) + len(misshapen) > 1000:
            break
    if config.tied and left.pop(HEAD, None) is not None:
        _check_tied(stored, folder)
    if missing == [HEAD]:
        raise SpecError(
            f"{folder}: the weights lack {HEAD}, and config.json does not tie it to the embedding table "
            "(tie_word_embeddings): this checkpoint writes no text, as those of embedding models"
        )
    faults = [
        f"{kind}: {', '.join(sorted(names)[:_MOST_NAMED])}"
        + f" and {len(names) - _MOST_NAMED} more" * (len(names) > _MOST_NAMED)
        for kind, names in (
            ("missing", missing),
            ("unexpected", [f"{name}"[:120] for name in left]),
            ("of another shape", misshapen),
        )
        if names
    ]
    if faults:
        raise SpecError(f"{folder}: the weights do not fit config.json; {'; '.join(faults)}")


def turned(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a matrix of experts as transformers 5 saves it, out before in; of others their own. Such are turned
    while they are loaded, by both."""
    return (shape[0], shape[2], shape[1]) if ".experts." in name else shape


def _check_tied(stored: dict[str, StoredTensor], folder: Path) -> None:
    """A head beside the table that it is tied to has to be that table: transformers takes one that is not, vLLM does
    not."""
    head, table = stored[HEAD], stored.get(TABLE)
    if table is None:
        return
    same = (head.dtype, head.shape, head.end - head.start) == (table.dtype, table.shape, table.end - table.start)
    if same:
        with head.file.open("rb") as one, table.file.open("rb") as other:
            one.seek(head.start)
            other.seek(table.start)
            for start in range(0, head.end - head.start, _PIECE):
                count = min(_PIECE, head.end - head.start - start)
                if one.read(count) != other.read(count):
                    same = False
                    break
    if not same:
        raise SpecError(
            f"{folder}: {HEAD} is not the embedding table, and config.json ties the two; set tie_word_embeddings to "
            "false there if the checkpoint was trained with a head apart"
        )

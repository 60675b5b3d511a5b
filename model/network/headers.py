"""What the weight files of a checkpoint hold, by their headers: names, dtypes and shapes of tensors. Reads no weights,
needs no torch.

It is looked at before a network is built: config.json may ask for a million million layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.network.config import Config
from schemas.errors import SpecError
from schemas.json_file import parse_object

MOST_BYTES = 32 << 20
"""Of a header. A shard of the largest checkpoints has one of some hundred kB."""

_LAYER = re.compile(r"(?:^|\.)(layers|blocks)\.(\d{1,6})\.")


@dataclass(frozen=True)
class StoredTensor:
    """dtype: by its safetensors name, as BF16. start, end: of its bytes in the file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def stored_tensors(files: Iterable[Path]) -> dict[str, StoredTensor]:
    """By name, in order of files. Raises SpecError for a header that cannot be read."""
    tensors: dict[str, StoredTensor] = {}
    for path in files:
        header, size = _header(path)
        there = path.stat().st_size
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            tensors[name] = tensor = _tensor(path, name, entry, 8 + size)
            if tensor.end > there:
                raise SpecError(f"{path} cannot be read: it ends within {name[:80]}, at {there} bytes")
    return tensors


def _header(path: Path) -> tuple[dict[str, Any], int]:
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > MOST_BYTES:
                raise SpecError(f"{path} cannot be read: a header of {size} bytes; at most {MOST_BYTES} are read")
            header = file.read(size)
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    if len(header) < size:
        raise SpecError(f"{path} cannot be read: it ends within its header")
    return parse_object(header, str(path)), size


def _tensor(path: Path, name: str, entry: Any, offset: int) -> StoredTensor:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(end)]} if all(
            isinstance(side, int) for side in shape
        ):
            return StoredTensor(path, dtype, tuple(shape), offset + start, offset + end)
    raise SpecError(f"{path} cannot be read: its header says {f'{entry!r}'[:60]} of {name[:80]}")


def check_layers(config: Config, names: Iterable[str], folder: Path) -> None:
    """Raises SpecError where config.json names more layers than the weights have."""
    counts = {"layers": 0, "blocks": 0}
    for name in names:
        for kind, number in _LAYER.findall(name):
            counts[kind] = max(counts[kind], int(number) + 1)
    for kind, of_config in (("layers", config.text.layers), ("blocks", config.vision.depth)):
        if of_config > counts[kind] > 0:
            there = counts[kind]
            raise SpecError(
                f"{folder}: the weights do not fit config.json; it names {of_config} {kind}, they have {there}"
            )

"""What the weight files of a checkpoint hold, by their headers: names of tensors. Reads no weights, needs no torch.

It is looked at before a network is built: config.json may ask for a million million layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from model.network.config import Config
from schemas.errors import SpecError
from schemas.json_file import parse_object

MOST_BYTES = 32 << 20
"""Of a header. A shard of the largest checkpoints has one of some hundred kB."""

_LAYER = re.compile(r"(?:^|\.)(layers|blocks)\.(\d{1,6})\.")


def tensor_names(path: Path) -> list[str]:
    """Raises SpecError."""
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
    return list(parse_object(header, str(path)))


def check_layers(config: Config, files: Iterable[Path], folder: Path) -> None:
    """Raises SpecError where config.json names more layers than the weights have."""
    counts = {"layers": 0, "blocks": 0}
    for path in files:
        for name in tensor_names(path):
            for kind, number in _LAYER.findall(name):
                counts[kind] = max(counts[kind], int(number) + 1)
    for kind, of_config in (("layers", config.text.layers), ("blocks", config.vision.depth)):
        if of_config > counts[kind] > 0:
            there = counts[kind]
            raise SpecError(
                f"{folder}: the weights do not fit config.json; it names {of_config} {kind}, they have {there}"
            )

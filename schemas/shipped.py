"""Which folder a spec means by the name of a model. Knows no hub."""

from __future__ import annotations

from pathlib import Path

from schemas.checkout import NANO, NANO_NAME


def model_folder(name: str) -> Path:
    """`nano` is the checkpoint that ships, wherever one stands; a folder of that name is ./nano."""
    return NANO if name == NANO_NAME else Path(name).expanduser()

"""Where a checkpoint lies: a local folder, or the hub's cache. Opens no weights and needs no torch, so that a
wrong name is refused at once.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from model.network.config import Config
from model.network.headers import check_layers
from schemas.errors import SpecError
from schemas.json_file import read_object
from schemas.shipped import model_folder

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
SUFFIXES = (".json", ".safetensors", ".jinja", ".txt")
"""Of the files of a checkpoint; what else lies in a folder (states of optimizers, other formats) stays there."""


def resolve(name: str) -> Path:
    """The folder of a checkpoint: a local one as it is, a hub name (`owner/name`) through the hub's cache.

    Raises SpecError when there is neither.
    """
    folder = model_folder(name)
    if folder.is_dir():
        config_json(folder)
        return folder.resolve()
    if not _is_hub_name(name):
        raise SpecError(f"engine.model: there is no checkpoint folder {name}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        fetched = snapshot_download(name, allow_patterns=[f"*{suffix}" for suffix in SUFFIXES])
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise SpecError(
            f"engine.model: {name} is no local folder and cannot be had from the hub: {one_line(error)}"
        ) from error
    return Path(fetched)


def to_be_fetched(name: str) -> bool:
    """Whether it is a hub name that the cache of this machine does not hold yet. Fetches nothing."""
    if model_folder(name).is_dir() or not _is_hub_name(name):
        return False
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        snapshot_download(name, local_files_only=True)
    except (HFValidationError, LocalEntryNotFoundError, OSError):
        return True
    return False


def _is_hub_name(name: str) -> bool:
    return not (Path(name).is_absolute() or name.startswith((".", "~"))) and name.count("/") == 1


def weights_sha256(folder: Path) -> str:
    """sha256 over the names and contents of the weight files, in order of name."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files, sharded or single, in order of name. Raises SpecError for what is missing."""
    if (folder / INDEX).exists():
        try:
            shards = set(read_object(folder / INDEX)["weight_map"].values())
        except (KeyError, AttributeError, TypeError) as error:
            raise SpecError(f"{folder / INDEX} cannot be read: {error!r}") from error
        for name in shards:
            if not isinstance(name, str) or Path(name).name != name:  # it may lead out of the folder
                raise SpecError(f"{folder / INDEX} cannot be read: {f'{name!r}'[:60]} is no name of a file")
        files = [folder / name for name in sorted(shards)]
    else:
        files = [folder / SINGLE]
    # a name may be too long to be asked for
    if gone := [path.name for path in files if not os.path.isfile(path)]:  # noqa: PTH113
        raise SpecError(f"{folder} lacks {', '.join(gone)[:500]}")
    return files


def config_json(folder: Path) -> dict[str, Any]:
    """The parsed config.json. Raises SpecError."""
    if not (folder / "config.json").exists():
        raise SpecError(f"engine.model: {folder} holds no config.json")
    return read_object(folder / "config.json")


def load_config(folder: Path) -> Config:
    """Held against the names in the weight files. Raises SpecError."""
    config = Config.from_json(config_json(folder))
    check_layers(config, weight_files(folder), folder)
    return config


def one_line(error: BaseException) -> str:
    """An error of somebody else's as part of a sentence of ours."""
    return " ".join(str(error).split())[:300]

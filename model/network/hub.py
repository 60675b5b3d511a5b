"""Where a checkpoint lies: a local folder, or the hub's cache. Opens no weights and needs no torch, so that a
wrong name is refused at once.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from model.network.config import Config
from schemas.errors import SpecError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


def resolve(name: str) -> Path:
    """The folder of a checkpoint: a local one as it is, a hub name (`owner/name`) through the hub's cache.

    Raises SpecError when there is neither.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        config_json(folder)
        return folder.resolve()
    if not _is_hub_name(name):
        raise SpecError(f"engine.model: there is no checkpoint folder {name}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        fetched = snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt"])
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise SpecError(
            f"engine.model: {name} is no local folder and cannot be had from the hub: {one_line(error)}"
        ) from error
    return Path(fetched)


def to_be_fetched(name: str) -> bool:
    """Whether it is a hub name that the cache of this machine does not hold yet. Fetches nothing."""
    if Path(name).expanduser().is_dir() or not _is_hub_name(name):
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
            shards = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError) as error:
            raise SpecError(f"{folder / INDEX} cannot be read: {error!r}") from error
        files = [folder / name for name in sorted(shards)]
    else:
        files = [folder / SINGLE]
    if gone := [path.name for path in files if not path.is_file()]:
        raise SpecError(f"{folder} lacks {', '.join(gone)}")
    return files


def config_json(folder: Path) -> dict[str, Any]:
    """The parsed config.json. Raises SpecError."""
    try:
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"engine.model: {folder} holds no config.json") from None
    except (OSError, ValueError) as error:
        raise SpecError(f"{folder / 'config.json'} cannot be read: {error}") from error
    assert isinstance(data, dict)
    return data


def load_config(folder: Path) -> Config:
    """Raises SpecError."""
    return Config.from_json(config_json(folder))


def one_line(error: BaseException) -> str:
    """An error of somebody else's as part of a sentence of ours."""
    return " ".join(str(error).split())[:300]

"""Where a checkpoint lies: a local folder, or the hub's cache. Opens no weights and needs no torch, so that a
wrong name is refused at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.network.config import Config
from model.network.config_values import check_values
from model.network.fitting import check_fit, check_quantization
from model.network.forms import refuse_file, refuse_other_forms
from model.network.headers import StoredTensor, check_layers, stored_tensors
from schemas.errors import SpecError
from schemas.json_file import read_object
from schemas.shipped import model_folder

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
SUFFIXES = (".json", ".safetensors", ".jinja", ".txt")
"""Of the files of a checkpoint; what else lies in a folder (states of optimizers, other formats) stays there."""


@dataclass(frozen=True)
class OpenedCheckpoint:
    folder: Path
    config: Config

    @property
    def marks(self) -> dict[str, int]:
        """Ids that its config has for marks of prompts, by their names."""
        config = self.config
        names = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
        ids = (config.image_id, config.video_id, config.vision_start_id, config.vision_end_id)
        return dict(zip(names, ids, strict=True))


def open_checkpoint(name: str, local: Path | None = None, *, embedded: bool) -> OpenedCheckpoint:
    """name: as for `resolve`, or an address, whose files lie in local. embedded: for our own network. Raises SpecError
    for one that cannot be run."""
    if local is not None:
        refuse_other_forms(local, name)
    folder = resolve(name, embedded=embedded) if local is None else local
    return OpenedCheckpoint(folder, runnable_config(folder) if embedded else load_config(folder))


def resolve(name: str, *, embedded: bool = False) -> Path:
    """The folder of a checkpoint: a local one as it is, a hub name (`owner/name`) through the hub's cache, its weights
    after the rest was looked at.

    Raises SpecError when there is neither, no checkpoint of a model that writes, or, where it is to be fetched for our
    own network (embedded), one that this does not run.
    """
    folder = model_folder(name)
    if folder.is_dir():
        refuse_other_forms(folder.resolve(), name)
        config_json(folder)
        return folder.resolve()
    refuse_file(folder)
    if not _is_hub_name(name):
        raise SpecError(f"engine.model: there is no checkpoint folder {name}")
    described = _fetched(name, [suffix for suffix in SUFFIXES if suffix != ".safetensors"])
    refuse_other_forms(described, name)
    data = config_json(described)
    if embedded:
        check_quantization(data, described)
        Config.from_json(data)
        check_values(data)
    return _fetched(name, SUFFIXES)


def _fetched(name: str, suffixes: Iterable[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=[f"*{suffix}" for suffix in suffixes]))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise SpecError(
            f"engine.model: {name} is no local folder and cannot be had from the hub: {one_line(error)}"
        ) from error


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
    return _with_weights(config_json(folder), folder)[0]


def runnable_config(folder: Path) -> Config:
    """Of a checkpoint that our own network runs (model/network/fitting.py). Raises SpecError for any other."""
    data = config_json(folder)
    check_quantization(data, folder)  # else such weights would only be called unknown
    config, stored = _with_weights(data, folder)
    check_fit(data, config, stored, folder)
    return config


def _with_weights(data: dict[str, Any], folder: Path) -> tuple[Config, dict[str, StoredTensor]]:
    config = Config.from_json(data)
    stored = stored_tensors(weight_files(folder))
    check_layers(config, stored, folder)
    return config, stored


def one_line(error: BaseException) -> str:
    """An error of somebody else's as part of a sentence of ours."""
    return " ".join(str(error).split())[:300]

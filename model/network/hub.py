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
from schemas.checkout import NANO_NAME
from schemas.errors import SpecError
from schemas.json_file import read_object
from schemas.shipped import model_folder

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
SUFFIXES = (".json", ".safetensors", ".jinja", ".txt")
"""Of the files of a checkpoint; what else lies in a folder (states of optimizers, other formats) stays there."""
WEIGHTS = (".safetensors",)
"""Of these, those that a plan does without."""
_DESCRIBING = tuple(suffix for suffix in SUFFIXES if suffix not in WEIGHTS)


class HubSilent(SpecError):
    """Nothing of a checkpoint is on this machine, and the hub cannot be asked whether it has it."""


@dataclass(frozen=True)
class OpenedCheckpoint:
    """has_weights: whether they lie in the folder too, and were held against the config."""

    folder: Path
    config: Config
    has_weights: bool = True

    @property
    def marks(self) -> dict[str, int]:
        """Ids that its config has for marks of prompts, by their names."""
        config = self.config
        names = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
        ids = (config.image_id, config.video_id, config.vision_start_id, config.vision_end_id)
        return dict(zip(names, ids, strict=True))


def open_checkpoint(name: str, local: Path | None = None, *, embedded: bool, fetch: bool = True) -> OpenedCheckpoint:
    """name: as for `resolve`, or an address, whose files lie in local. embedded: for our own network. fetch: as for
    `resolve`; without, local may lack weights. Raises SpecError for one that cannot be run."""
    if local is not None:
        refuse_other_forms(local, name)
    folder = resolve(name, embedded=embedded, fetch=fetch) if local is None else local
    is_elsewhere = local is not None or not model_folder(name).is_dir()
    if not fetch and is_elsewhere and not _has_weights(folder):
        return OpenedCheckpoint(folder, _described_config(folder, embedded=embedded), has_weights=False)
    return OpenedCheckpoint(folder, runnable_config(folder) if embedded else load_config(folder))


def resolve(name: str, *, embedded: bool = False, fetch: bool = True) -> Path:
    """The folder of a checkpoint: a local one as it is, a hub name (`owner/name`) through the hub's cache, its weights
    after the rest was looked at. fetch: these too; without, they are there only if they were there before.

    Raises SpecError when there is neither, no checkpoint of a model that writes, or, where it is to be fetched for our
    own network (embedded), one that this does not run; HubSilent.
    """
    folder = model_folder(name)
    if folder.is_dir():
        refuse_other_forms(folder.resolve(), name)
        config_json(folder)
        return folder.resolve()
    refuse_file(folder)
    if not _is_hub_name(name):
        hint = (
            ""
            if "/" in name
            else f"; it is {NANO_NAME!r} that ships, and names of the hub have an owner, as Qwen/{name}"
        )
        raise SpecError(f"engine.model: there is no checkpoint folder {name}{hint}")
    described = _fetched(name, _DESCRIBING)
    refuse_other_forms(described, name)
    _described_config(described, embedded=embedded)
    return _fetched(name, SUFFIXES) if fetch else described


def _described_config(folder: Path, *, embedded: bool) -> Config:
    """Where the weights are elsewhere. Raises SpecError for what our own network (embedded) does not run."""
    data = config_json(folder)
    if embedded:
        check_quantization(data, folder)
    config = Config.from_json(data)
    if embedded:
        check_values(data)
    return config


def _fetched(name: str, suffixes: Iterable[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError  # type: ignore[attr-defined]

    text = f"engine.model: {name} is no local folder and cannot be had from the hub"
    try:
        return Path(snapshot_download(name, allow_patterns=_patterns(suffixes)))
    except LocalEntryNotFoundError as error:
        raise HubSilent(f"{text}: {one_line(error)}") from error
    except (HFValidationError, OSError) as error:  # that the hub says no is of the second
        raise SpecError(f"{text}: {one_line(error)}") from error
    except HTTPError as error:  # a proxy that says no
        raise HubSilent(f"{text}: {one_line(error)}") from error


def _patterns(suffixes: Iterable[str]) -> list[str]:
    return [f"*{suffix}" for suffix in suffixes]


def to_be_fetched(name: str) -> bool:
    """Whether it is a hub name that the cache of this machine does not hold yet. Fetches nothing."""
    if model_folder(name).is_dir() or not _is_hub_name(name):
        return False
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(name, allow_patterns=_patterns(SUFFIXES), local_files_only=True)
    except (HFValidationError, LocalEntryNotFoundError, OSError):
        return True
    return not _has_weights(Path(folder))


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


def hub_weights_sha256(name: str, described: Path) -> str | None:
    """The same, by what the hub knows of its files; None where that cannot be had. described: the folder in the hub's
    cache, which may lack weights."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
    from huggingface_hub.hf_api import RepoFile

    try:
        listed = [*HfApi().list_repo_tree(name, revision=described.name)]
        hashes = {file.path: file.lfs.sha256 for file in listed if isinstance(file, RepoFile) and file.lfs is not None}
        digest = hashlib.sha256()
        for path in _weight_paths(described):
            digest.update(path.name.encode())
            digest.update(bytes.fromhex(hashes[path.name]))
    except (HTTPError, OSError, KeyError, ValueError):
        return None
    return digest.hexdigest()


def _has_weights(folder: Path) -> bool:
    try:
        return bool(weight_files(folder))
    except SpecError:
        return False


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files, sharded or single, in order of name. Raises SpecError for what is missing."""
    files = _weight_paths(folder)
    # a name may be too long to be asked for
    if gone := [path.name for path in files if not os.path.isfile(path)]:  # noqa: PTH113
        raise SpecError(f"{folder} lacks {', '.join(gone)[:500]}")
    return files


def _weight_paths(folder: Path) -> list[Path]:
    if (folder / INDEX).exists():
        try:
            shards = set(read_object(folder / INDEX)["weight_map"].values())
        except (KeyError, AttributeError, TypeError) as error:
            raise SpecError(f"{folder / INDEX} cannot be read: {error!r}") from error
        for name in shards:
            if not isinstance(name, str) or Path(name).name != name:  # it may lead out of the folder
                raise SpecError(f"{folder / INDEX} cannot be read: {f'{name!r}'[:60]} is no name of a file")
        return [folder / name for name in sorted(shards)]
    return [folder / SINGLE]


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

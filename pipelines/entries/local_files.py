"""Files of this machine that an entry names: one, those in a folder, or those that a glob matches."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from operators.media.formats import EPISODE, HEAD_BYTES, media_of_name
from operators.media.source import check_is_file, head_of, of_os
from operators.store.inputs.tar_input import shard_of
from pipelines.entries.recognized import DEEPEST, TOO_DEEP, names_many, recognized
from pipelines.entries.scope import Scope, Target
from schemas.address import is_remote
from schemas.errors import InputError
from schemas.input_uri import path_of, uri_of


def local_targets(path: Path, scope: Scope) -> Iterator[Target]:
    for file, media in _files(path, scope):
        yield target_of(file, media)


def target_of(path: Path | str, media: str | None, fault: InputError | None = None) -> Target:
    place = absolute(path)
    size = modified_ns = None
    try:
        status = os.stat(place)  # noqa: PTH116
        size, modified_ns = status.st_size, status.st_mtime_ns
        if media != EPISODE:
            check_is_file(status.st_mode)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and shard_of(uri_of(place)) is not None:
            return Target(uri_of(place), media, fault=fault)  # what the shard holds shows when it is read
        fault = of_os(error)
    except ValueError as error:  # a NUL, a lone surrogate
        fault = InputError("not_found", f"no file has such a name: {error}")
    except InputError as error:
        fault = error
    return Target(uri_of(place), media, size, modified_ns=modified_ns, fault=fault)


def exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110  Path.exists raises for a name that is too long


def is_folder(path: Path | str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  as above


def absolute(path: Path | str) -> str:
    return os.path.abspath(path)  # noqa: PTH100  not resolve(): a link keeps the name the user gave


def _files(path: Path, scope: Scope) -> Iterator[tuple[Path | str, str | None]]:
    """(file, what it seems to be)."""
    output = None if scope.output is None or is_remote(scope.output) else path_of(scope.output).resolve()
    if is_folder(path):
        yield from _walk(path, output, scope)
    elif not exists(path) and glob.has_magic(str(path)) and "\0" not in str(path):
        matches = sorted(set(glob.glob(str(path), recursive=True)))  # noqa: PTH207  absolute patterns too
        matches = [match for match in matches if not match.endswith("/") or is_folder(match)]  # `a.png/**` gives a.png/
        for match in matches:
            if is_folder(match):
                if "**" not in str(path):  # with ** the files inside match on their own
                    yield from _walk(Path(match), output, scope)
            elif names_many(path.name):
                yield Path(match), None
            elif (media := _recognized(match, scope.skipped)) is not None:
                yield Path(match), media
        if not matches:
            yield path, media_of_name(path.name)  # a named thing that is missing: its row says so
    else:
        yield path, media_of_name(path.name)


def _walk(folder: Path, output: Path | None, scope: Scope) -> Iterator[tuple[str, str]]:
    entered, skipped = {folder.resolve()}, scope.skipped

    def unreadable(_: OSError) -> None:
        skipped["unreadable folder"] += 1

    for place, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        kept = []
        if len(Path(place).parts) - len(folder.parts) >= DEEPEST:
            skipped[TOO_DEEP] += len(folders)
            folders.clear()
        for name in sorted(folders):
            real = (Path(place) / name).resolve()
            if name.startswith("."):
                skipped["hidden folder"] += 1
            elif real == output:
                skipped["the job's own output"] += 1
            elif real not in entered:  # a link may lead back up
                entered.add(real)
                kept.append(name)
        folders[:] = kept
        scope.looked_at(len(files))
        for name in sorted(files):
            if name.startswith("."):
                skipped["hidden file"] += 1
                continue
            path = os.path.join(place, name)  # noqa: PTH118  of every file: a Path takes ten times as long
            if (media := _recognized(path, skipped)) is not None:
                yield path, media


def _recognized(path: str, skipped: Counter[str]) -> str | None:
    media, reason = recognized(os.path.basename(path), lambda: head_of(Path(path), HEAD_BYTES))  # noqa: PTH119  as above
    if media is None:
        skipped[reason] += 1
    return media

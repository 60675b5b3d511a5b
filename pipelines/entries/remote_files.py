"""Files elsewhere that an entry names: one, those below a prefix, or those that a glob matches.

A prefix is walked like a folder of this machine, by one listing of all that is below it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from operators.media.formats import HEAD_BYTES, media_of_name
from operators.media.source import opened_source, origin_of
from operators.store.inputs.origin import Entry
from pipelines.entries.globs import Glob, has_magic
from pipelines.entries.lookups import REQUESTS, Lookup
from pipelines.entries.recognized import DEEPEST, TOO_DEEP, names_many, recognized, tells_nothing
from pipelines.entries.scope import Scope, Target
from schemas.address import name_of, place_of
from schemas.errors import InputError

LISTINGS = 8
"""Under way at once."""
SMALL_BYTES = 1 << 20
"""A file up to this size goes into the cache of the node when its first bytes are asked for."""


@dataclass(frozen=True, slots=True)
class _File:
    """folders: that it is in, below the one that is listed; the same tuple for all files of one."""

    entry: Entry
    folders: tuple[str, ...]
    name: str

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.folders, self.name)


FutureFiles: TypeAlias = "Future[list[_File] | None]"


def remote_targets(address: str, lookup: Lookup, listed: FutureFiles | None, scope: Scope) -> Iterator[Target]:
    """listed: what `listed_ahead` gives. Raises SpecError for what cannot be listed; StoreLost."""
    entry, fault = lookup.entry, lookup.fault
    folder = _folder_to_list(address, lookup)
    if folder is None:
        size, version = (entry.size_bytes, entry.version) if entry is not None else (None, None)
        yield Target(address, media_of_name(name_of(address)), size, version, fault=fault)
        return
    files = _below(folder, scope) if listed is None else listed.result()
    if fault is not None:
        yield from _matching(address.rstrip("/"), files, fault, scope)
        return
    if files is None:
        yield Target(folder, None, fault=InputError("not_found", f"nothing lies below {folder}"))
    yield from _recognized(_walk(files or [], scope), scope)


def listed_ahead(
    lookups: Sequence[tuple[str, Lookup | None]], scope: Scope
) -> Iterator[tuple[str, Lookup | None, FutureFiles | None]]:
    """The same; of several that must be listed, some are while those before them become rows."""
    folders = [None if lookup is None else _folder_to_list(address, lookup) for address, lookup in lookups]
    if sum(folder is not None for folder in folders) < 2:
        yield from ((*pair, None) for pair in lookups)
        return
    pool = ThreadPoolExecutor(LISTINGS, thread_name_prefix="list")
    waiting: deque[tuple[str, Lookup | None, FutureFiles | None]] = deque()
    try:
        for pair, folder in zip(lookups, folders, strict=True):
            waiting.append((*pair, None if folder is None else pool.submit(_below, folder, scope)))
            while waiting and (waiting[0][2] is None or len(waiting) > LISTINGS):
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(cancel_futures=True)


def _folder_to_list(address: str, lookup: Lookup) -> str | None:
    """With a slash at its end; None for what is one file, or none."""
    scheme, bucket, key = place_of(address)
    if lookup.entry is not None:
        return None
    if lookup.fault is None:
        return f"{address.rstrip('/')}/"
    if lookup.fault.kind == "not_found" and has_magic(key):
        return "/".join((f"{scheme}://{bucket}", *Glob(key.rstrip("/")).fixed, ""))
    return None


def _below(folder: str, scope: Scope) -> list[_File] | None:
    """In the order of a walk, files before folders and both by name, without markers of folders; None where there is
    nothing below a folder that has a name, not even its marker. folder: with a slash at its end."""
    by_folder = dict[str, list[_File]]()
    tuples = dict[str, tuple[str, ...]]()
    has_empty, is_there = False, not place_of(folder)[2]
    for entry in origin_of(folder, scope.settings).list(folder):
        scope.looked_at()
        is_there = True
        path, _, name = entry.address.removeprefix(folder).rpartition("/")
        if not entry.address.startswith(folder) or not name:
            continue  # the marker of the folder itself, or of one below it
        if path not in tuples:
            tuples[path] = tuple(path.split("/")) if path else ()
        by_folder.setdefault(path, []).append(_File(entry, tuples[path], name))
        has_empty = has_empty or not entry.size_bytes
    files = [
        file
        for path in sorted(by_folder, key=lambda path: tuples[path])
        for file in sorted(by_folder[path], key=lambda file: file.name)
    ]
    if has_empty:
        folders = {names[:depth] for names in tuples.values() for depth in range(1, len(names) + 1)}
        files = [file for file in files if file.entry.size_bytes != 0 or file.names not in folders]
    return files if is_there else None


def _walk(files: list[_File], scope: Scope, depth: int = 0) -> Iterator[_File]:
    """What of it a walk enters; the rest is counted: a folder once. depth: of the folder that is walked, among the
    names."""
    output = f"{scope.output.rstrip('/')}/" if scope.output else None
    passed: set[tuple[str, ...]] = set()
    for file in files:
        cuts = [(place, "hidden folder") for place, name in enumerate(file.names[:-1]) if name.startswith(".")]
        if output and file.entry.address.startswith(output):
            below = file.entry.address.removeprefix(output).count("/") + 1
            cuts.append((len(file.names) - below - 1, "the job's own output"))
        if len(file.names) - depth - 1 > DEEPEST:
            cuts.append((depth + DEEPEST, TOO_DEEP))
        if file.names[-1].startswith("."):
            cuts.append((len(file.names) - 1, "hidden file"))
        place, reason = min(((place, reason) for place, reason in cuts if place >= depth), default=(0, ""))
        if not reason:
            yield file
        elif (left_out := file.names[: place + 1]) not in passed:
            passed.add(left_out)
            scope.skipped[reason] += 1


def _matching(address: str, files: list[_File] | None, fault: InputError, scope: Scope) -> Iterator[Target]:
    """fault: of an address that nothing matches. files: below the names before the first with a sign of a glob."""
    key = place_of(address)[2]
    pattern, many = Glob(key), names_many(key)
    matches: list[_File] = []
    walked: dict[tuple[str, ...], list[_File]] = {}
    files = files or []
    for file in files:
        if pattern.matches(file.names):
            matches.append(file)
        elif not pattern.recursive and (depth := pattern.folder(file.names)) is not None:
            walked.setdefault(file.names[:depth], []).append(file)
    if not matches and not walked and not any(pattern.matches_folder(file.names) for file in files):
        yield Target(address, media_of_name(name_of(address)), fault=fault)
    places = sorted([*walked, *(file.names for file in matches)], key="/".join)
    by_names = {file.names: file for file in matches}
    chosen: list[_File] = []
    for names in places:
        if names in walked:
            chosen += _walk(walked[names], scope, depth=len(names))
        elif many:
            entry = by_names[names].entry
            yield Target(entry.address, None, entry.size_bytes, entry.version)
        else:
            chosen.append(by_names[names])
    yield from _recognized(chosen, scope)


def _recognized(files: Iterable[_File], scope: Scope) -> Iterator[Target]:
    """What decoders know; the rest is counted."""
    files = list(files)
    asked = [file for file in files if tells_nothing(file.name)]
    by_head: dict[str, tuple[str | None, str]] = {}
    if asked:
        with ThreadPoolExecutor(REQUESTS, thread_name_prefix="list") as pool:
            answers = pool.map(partial(_by_head, scope=scope), asked)
            by_head = {file.entry.address: answer for file, answer in zip(asked, answers, strict=True)}
    for file in files:
        entry = file.entry
        media, reason = by_head.get(entry.address) or recognized(file.name, bytes)
        if media is None:
            scope.skipped[reason] += 1
        else:
            yield Target(entry.address, media, entry.size_bytes, entry.version)


def _by_head(file: _File, scope: Scope) -> tuple[str | None, str]:
    return recognized(file.name, lambda: _head(file.entry, scope))


def _head(entry: Entry, scope: Scope) -> bytes:
    """Its first bytes; none of what cannot be read, which its row will say."""
    try:
        if entry.size_bytes == 0:
            return b""
        if entry.size_bytes is not None and entry.size_bytes > SMALL_BYTES:
            origin = origin_of(entry.address, scope.settings)
            return b"".join(origin.pieces(entry.address, entry.version, 0, HEAD_BYTES))
        with opened_source(entry.address, entry.version, scope.settings) as source:
            return source.head(HEAD_BYTES)
    except InputError:
        return b""

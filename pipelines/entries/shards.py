"""Tar shards in the layout of webdataset as inputs: each picture, document or video in one, with the texts beside it.

Members whose names agree up to the first dot of their last part are one sample, wherever they stand in the shard:
webdataset itself takes a sample for two where other members stand between. A member that decoders know by its name is
an input, `<shard>#<member>`; texts are columns, called as what follows the dot. Nothing else in a shard is opened,
whatever its name promises.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TypeAlias

import pyarrow as pa

from operators.media.formats import EPISODE, media_of_name
from operators.store.inputs.opened_input import opened_shard
from operators.store.inputs.tar_input import TarPlace, shard_of
from operators.store.inputs.tar_members import Damage, Member, ReadAt, read_members
from pipelines.entries.recognized import names_shard
from pipelines.entries.scope import Part, Scope, Target, short_hash
from pipelines.input_tables import PREFIX, RESERVED
from schemas.address import is_remote, name_of
from schemas.errors import InputError
from schemas.fetch import FetchSettings
from schemas.input_uri import text_of

# fmt: off
TEXTS = frozenset((
    "txt", "text", "transcript", "caption", "json", "jsn", "jsonl", "cls", "cls2", "class", "count", "index", "inx",
    "id", "url", "md", "html", "htm", "xml", "csv", "tsv", "yaml", "yml",
))
# fmt: on
"""Last suffixes of members that are columns."""
MOST_COLUMNS = 64
MOST_TEXT_BYTES = 1 << 20
MOST_SHARD_TEXT_BYTES = 256 << 20
_PACKED = re.compile(r".*\.(?:tar\.(?:gz|bz2|xz|zst|lz4|z|lzma)|tgz|tbz2?|txz|tzst)", re.IGNORECASE)
_COLUMN = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,63}")
_META = re.compile(r"__[^/]*__(?:$|/)")
_LONGEST_NAME = 2000
_ROWS = 4096
AT_ONCE = 8
"""Shards elsewhere that are read side by side."""


@dataclass
class _Sample:
    """texts: column -> text. fault: why none of its inputs can be asked about."""

    texts: dict[str, str] = field(default_factory=dict)
    fault: InputError | None = None
    has_media: bool = False


@dataclass
class _Contents:
    """Of a shard. version: of it. media: the members that are inputs, each with the key of its sample. skipped: reason
    -> number of members."""

    version: str
    media: list[tuple[Member, str]] = field(default_factory=list)
    samples: dict[str, _Sample] = field(default_factory=dict)
    columns: dict[str, None] = field(default_factory=dict)
    damage: Damage | None = None
    skipped: Counter[str] = field(default_factory=Counter)


def is_shard(target: Target) -> bool:
    """By its name: what it holds shows when it is read."""
    name = name_of(target.address)
    is_one = names_shard(name) or _PACKED.fullmatch(name[-9:]) is not None
    return is_one and target.fault is None and target.media != EPISODE


FutureContents: TypeAlias = "Future[_Contents]"


def read_ahead(targets: Iterable[Target], settings: FetchSettings) -> Iterator[tuple[Target, FutureContents | None]]:
    """The same targets; shards elsewhere are read by AT_ONCE while others become rows."""
    waiting: deque[tuple[Target, FutureContents | None]] = deque()
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="shard")
    try:
        for target in targets:
            is_far = is_remote(target.address) and is_shard(target)
            waiting.append((target, pool.submit(_read, target, settings) if is_far else None))
            while waiting and (waiting[0][1] is None or len(waiting) > AT_ONCE):
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(cancel_futures=True)


def shard_parts(
    target: Target, scope: Scope, *, taken: frozenset[str] = frozenset(), future: FutureContents | None = None
) -> Iterator[Part]:
    """taken: columns that are there already. Raises StoreLost."""
    try:
        contents = _read(target, scope.settings) if future is None else future.result()
    except InputError as error:
        yield Part([scope.again(replace(target, fault=error))])
        return
    scope.skipped.update(contents.skipped)
    if not contents.media and contents.damage is None:
        scope.skipped["shard without a picture, document or video"] += 1
    without = sum(not sample.has_media for sample in contents.samples.values())
    if without:
        scope.skipped["sample without a picture, document or video"] += without
    names = {column: _free(column, RESERVED | taken, contents.columns.keys()) for column in contents.columns}
    for start in range(0, len(contents.media), _ROWS):
        some = contents.media[start : start + _ROWS]
        rows = [
            scope.again(_target(target.address, member, contents.samples[key], contents.version))
            for member, key in some
        ]
        texts = [contents.samples[key].texts for _, key in some]
        columns = {name: pa.array([text.get(column) for text in texts], pa.string()) for column, name in names.items()}
        yield Part(rows, pa.table(columns) if columns else None)
    if contents.damage is not None:
        fault = InputError(contents.damage.kind, contents.damage.message)
        yield Part([scope.again(Target(target.address, None, fault=fault))])


def _free(column: str, taken: Set[str], columns: Set[str]) -> str:
    """A name that neither is taken nor another column of the shard has."""
    name = column
    while name in taken or (name != column and name in columns):
        name = PREFIX + name
    return name


def _read(target: Target, settings: FetchSettings) -> _Contents:
    """Raises InputError, StoreLost."""
    address = target.address
    if not names_shard(name_of(address)):
        raise InputError("unknown_type", "a packed tar is not read: its members cannot be reached; unpack it first")
    if shard_of(f"{address}#x") != (address, "x"):
        raise InputError("unknown_type", "members of a shard of such a name have no address; it should end in .tar")
    with opened_shard(address, settings) as (read_at, size_bytes, version):
        contents, text_bytes = _Contents(version), 0
        for member in read_members(read_at, size_bytes):
            if isinstance(member, Damage):
                contents.damage = member
            else:
                text_bytes += _take(member, contents, read_at)
            if text_bytes > MOST_SHARD_TEXT_BYTES:
                raise InputError("too_large", f"the texts in it have more than {MOST_SHARD_TEXT_BYTES >> 20} MB")
        return contents


def _take(member: Member, contents: _Contents, read_at: ReadAt) -> int:
    """Put a member where it belongs, or count it. Bytes of text that it adds."""
    folder, slash, name = member.name.rpartition("/")
    stem, dot, column = name.partition(".")
    column = column.lower()
    media = media_of_name(name) if stem and dot else None
    if member.type == "folder":
        return 0
    if not stem:
        contents.skipped["hidden file"] += 1
    elif _META.match(member.name):
        contents.skipped["metadata of a shard"] += 1
    elif media is not None:
        key = f"{folder}{slash}{stem}"
        contents.samples.setdefault(key, _Sample()).has_media = True
        contents.media.append((member, key))
    elif column.rpartition(".")[2] in TEXTS and member.fault() is None:
        return _text(member, f"{folder}{slash}{stem}", column, contents, read_at)
    elif member.type != "file":
        contents.skipped[f"{member.type} in a shard"] += 1
    else:
        suffix = text_of(PurePosixPath(name).suffix.lower()[:20]) or "without a suffix"
        contents.skipped[f"unknown type {suffix}"] += 1
    return 0


def _text(member: Member, key: str, column: str, contents: _Contents, read_at: ReadAt) -> int:
    if _COLUMN.fullmatch(column) is None or len(contents.columns.keys() | {column}) > MOST_COLUMNS:
        contents.skipped[f"text of a shard beyond {MOST_COLUMNS} columns"] += 1
        return 0
    contents.columns[column] = None
    if member.size_bytes > MOST_TEXT_BYTES:
        contents.skipped[f"text of a shard of more than {MOST_TEXT_BYTES >> 20} MB"] += 1
        return 0
    sample = contents.samples.setdefault(key, _Sample())
    text = ""
    try:
        if column in sample.texts:
            raise InputError("malformed", f"its sample has two members .{column}")
        text = read_at(member.offset, member.size_bytes).decode("utf-8-sig")
    except UnicodeDecodeError:
        sample.fault = sample.fault or InputError("malformed", f"the .{column} of its sample is no UTF-8")
    except InputError as error:
        sample.fault = sample.fault or error
    sample.texts.setdefault(column, text)
    return member.size_bytes if text else 0


def _target(shard: str, member: Member, sample: _Sample, version: str) -> Target:
    name, fault = text_of(member.name).replace("\0", "\ufffd"), member.fault() or sample.fault
    if len(name) > _LONGEST_NAME:
        name = f"{name[:100]}… ({len(name)} characters, sha256 {short_hash(name)})"
        fault = InputError("malformed", "its name is too long")
    place = TarPlace(version, member.offset, member.size_bytes)
    return Target(f"{shard}#{name}", media_of_name(member.name), member.size_bytes, str(place), fault=fault)

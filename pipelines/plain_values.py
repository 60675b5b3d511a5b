"""Read YAML and JSON that anybody may have written: measured before anything is built of it, and then plain values
alone (text, numbers, true, false, null, lists, mappings with text for keys). Knows nothing of specs.

Every fault is a SpecError, one sentence that begins with the place.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from schemas.errors import SpecError
from schemas.printable import control_character, one_line


@dataclass(frozen=True)
class Bounds:
    """size_bytes: of the text. nodes: values and keys, counted again wherever an alias stands for them. depth: of lists
    and mappings in each other. advice: for who has more."""

    size_bytes: int
    nodes: int
    depth: int
    advice: str = ""

    @property
    def too_large(self) -> str:
        return f"has more than {self.size_bytes} bytes, the most that is read of one{self.advice}"


SPEC = Bounds(1 << 20, 20_000, 64, "; a long list of inputs goes into a table (.csv)")
STORED = Bounds(16 << 20, 100_000, 80)
"""Of what we wrote ourselves, from a spec: with defaults spelled out."""
MOST_DIGITS = 100
_INTEGERS = range(-(1 << 63), 1 << 63)

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_PLAIN = {f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge")}
_NUMBERS = {f"{_TAG}int", f"{_TAG}float"}
_KINDS = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}


def read_file(path: Path, bounds: Bounds) -> bytes:
    """Raises FileNotFoundError; SpecError for what is no file, or too large."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # or a pipe that nobody writes would keep us
        try:
            mode = os.fstat(handle).st_mode
            if not stat.S_ISREG(mode):
                raise SpecError(f"{path} is a {_KINDS.get(stat.S_IFMT(mode), 'device')}, not a file")
            with os.fdopen(handle, "rb", closefd=False) as file:
                data = file.read(bounds.size_bytes + 1)
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        raise SpecError(f"{path} cannot be read: {error}") from error
    if len(data) > bounds.size_bytes:
        raise SpecError(f"{path} {bounds.too_large}")
    return data


def mapping_from_yaml(data: bytes, place: str, bounds: Bounds) -> dict[str, Any]:
    """Raises SpecError."""
    if len(data) > bounds.size_bytes:
        raise SpecError(f"{place} {bounds.too_large}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{place} cannot be read: it is not UTF-8 ({error.reason} at byte {error.start})") from error
    try:
        _measure(text, bounds)
        value = _value(text)
    except _Fault as fault:
        raise SpecError(f"{place}{fault}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{place} is not YAML: {_words(error)}") from error
    if value is None:
        raise SpecError(f"{place} is empty")
    if not isinstance(value, dict):
        raise SpecError(f"{place} holds {type(value).__name__}, not a mapping of keys")
    return value


def _words(error: yaml.YAMLError) -> str:
    return " ".join(str(error).replace(' in "<unicode string>",', " at").split())


def to_yaml(value: dict[str, Any]) -> bytes:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).encode()


def to_json(value: dict[str, Any]) -> bytes:
    """A path that is no UTF-8 keeps its bytes; keys stay in their order, which a spec's `output:` asks for."""
    return json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "surrogateescape")


def mapping_from_json(data: bytes, place: str) -> dict[str, Any]:
    """Raises SpecError."""
    if len(data) > STORED.size_bytes:
        raise SpecError(f"{place} {STORED.too_large}")
    try:
        value = json.loads(data.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{place} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SpecError(f"{place} holds {type(value).__name__}, not a mapping of keys")
    level: list[Any] = [value]
    for _ in range(STORED.depth):
        level = [inner for outer in level for inner in _inner(outer)]
    if level:
        raise SpecError(f"{place} is nested more than {STORED.depth} deep")
    return value


def _inner(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


class _Fault(Exception):
    """Ends a sentence that begins with the place."""

    def __init__(self, mark: Any, text: str) -> None:
        super().__init__(f", line {mark.line + 1}: {text}")


def _measure(text: str, bounds: Bounds) -> None:
    """Raises _Fault where the values would be too many or nested too deep, aliases followed; builds none of them."""
    of_anchor: dict[str, tuple[int, int]] = {}  # nodes and depth
    begun: list[list[Any]] = [["", 0, 0]]  # of every open collection its anchor, the nodes before it, depth so far
    nodes = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth = 0
        match event:
            case yaml.AliasEvent():
                if any(anchor == event.anchor for anchor, *_ in begun):
                    raise _Fault(event.start_mark, f"the alias *{event.anchor} stands within what it stands for")
                more, depth = of_anchor.get(
                    str(event.anchor), (1, 1)
                )  # one that is not there is refused by YAML itself
                nodes += more
            case yaml.CollectionStartEvent():
                begun.append([event.anchor, nodes, 0])
                nodes += 1
                depth = 1
            case yaml.CollectionEndEvent():
                anchor, before, inner = begun.pop()
                depth = inner + 1
                if anchor:
                    of_anchor[anchor] = nodes - before, depth
                begun[-1][2] = max(begun[-1][2], depth)
                continue
            case yaml.ScalarEvent():
                nodes += 1
                depth = 1
                if event.anchor:
                    of_anchor[event.anchor] = 1, 1
            case _:
                continue
        begun[-1][2] = max(begun[-1][2], depth)
        if len(begun) - 1 + depth > bounds.depth + 1:
            raise _Fault(event.start_mark, f"nested more than {bounds.depth} deep")
        if nodes > bounds.nodes:
            aliases = ", aliases followed" if of_anchor else ""
            raise _Fault(event.start_mark, f"more than {bounds.nodes} values{aliases}{bounds.advice}")


def _value(text: str) -> Any:
    loader = _LOADER(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _check(root, loader)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _check(root: yaml.Node, loader: yaml.SafeLoader) -> None:
    """Raises _Fault for what is no plain value, and for a key that stands twice: YAML would take the last one."""
    known: set[int] = set()
    left = [root]
    while left:
        node = left.pop()
        if id(node) in known:
            continue
        known.add(id(node))
        if node.tag not in _PLAIN:
            if node.tag == f"{_TAG}timestamp":
                raise _Fault(node.start_mark, f"{node.value} is a date to YAML; put it in quotes")
            raise _Fault(node.start_mark, f"the tag {one_line(node.tag[:80])} is none that is read")
        match node:
            case yaml.MappingNode():
                _check_keys(node)
                left += [part for pair in node.value for part in pair]
            case yaml.SequenceNode():
                left += node.value
            case yaml.ScalarNode():
                _check_scalar(node, loader)


def _check_keys(node: yaml.MappingNode) -> None:
    keys: set[str] = set()
    for key, _ in node.value:
        if key.tag == _MERGE:
            continue
        if key.tag != f"{_TAG}str":
            raise _Fault(key.start_mark, f"the key {one_line(str(key.value)[:80])!r} is no text; put it in quotes")
        if key.value in keys:
            raise _Fault(key.start_mark, f"the key {one_line(key.value[:80])!r} stands there twice")
        keys.add(key.value)


def _check_scalar(node: yaml.ScalarNode, loader: yaml.SafeLoader) -> None:
    if node.tag in _NUMBERS:
        if len(node.value) > MOST_DIGITS:
            raise _Fault(node.start_mark, f"a number of {len(node.value)} digits")
        try:
            number = loader.construct_object(node)
        except (ValueError, OverflowError) as error:
            raise _Fault(node.start_mark, f"{one_line(node.value)!r} is no number: {error}") from None
        if isinstance(number, int) and number not in _INTEGERS:
            raise _Fault(node.start_mark, f"{node.value} is beyond 64 bits")
        if isinstance(number, float) and not math.isfinite(number):
            raise _Fault(node.start_mark, f"{node.value} is not a finite number")
    elif (character := control_character(node.value)) is not None:
        raise _Fault(node.start_mark, f"a text holds the control character {character}")

"""What a child may say: bounds for a frame before it is read, and checks of its JSON after. Knows no message.

A check takes a value as JSON gives it and returns it in a form that Arrow can hold; it raises ValueError and nothing
else. They are plain functions and not models of a library: a child, whose start counts, imports this too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from operators.processes.isolation import LACKS as LACKS  # the words of a child that locks itself down

Check: TypeAlias = Callable[[Any], Any]

INT32 = (1 << 31) - 1
INT64 = (1 << 63) - 1


@dataclass(frozen=True)
class Bounds:
    """What one frame may weigh. json_bytes: of its head. values: most numbers, texts, lists and objects in that, which
    bounds what it takes once it is parsed. payload_bytes: of all payloads together. frame_s: seconds from its first
    byte to its last; None waits for the rest as long as it takes."""

    json_bytes: int = 1 << 16
    values: int = 1 << 10
    payloads: int = 0
    payload_bytes: int = 0
    fds: int = 0
    frame_s: float | None = 60.0


@dataclass(frozen=True)
class Messages:
    """The messages that may come. checks: of whole heads, by a key that tells which message it is; the first that the
    head has counts."""

    bounds: Bounds
    checks: Mapping[str, Check] = field(default_factory=dict)

    def checked(self, head: dict[str, Any]) -> dict[str, Any]:
        """Raises ValueError."""
        for key, check in self.checks.items():
            if key in head:
                checked: dict[str, Any] = check(head)
                return checked
        raise ValueError(f"a message of none of the kinds {', '.join(self.checks)}")


def values_in(json_text: str) -> int:
    """How many at most, told without parsing."""
    return json_text.count(",") + json_text.count("[") + json_text.count("{")


def fits(head: dict[str, Any], bounds: Bounds) -> bool:
    """For the side that sends: whether the other would read it."""
    text = json.dumps(head)
    return len(text) <= bounds.json_bytes and values_in(text) <= bounds.values


def integer(least: int = 0, most: int = INT32) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:  # a bool is an int to isinstance
            raise ValueError(f"no integer from {least} to {most}")
        return value

    return check


def number(least: float = -1e12, most: float = 1e12) -> Check:
    def check(value: Any) -> float:
        if type(value) not in (int, float) or not least <= value <= most:  # which NaN is not either
            raise ValueError(f"no number from {least:g} to {most:g}")
        return float(value)

    return check


def text(longest: int | None = None) -> Check:
    """A longer one is cut; a question mark for each lone surrogate."""

    def check(value: Any) -> str:
        if type(value) is not str:
            raise ValueError("no text")
        short: str = value[:longest]
        return short if short.isascii() else short.encode("utf-8", "replace").decode("utf-8")

    return check


def flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("neither true nor false")
    return value


def one_of(values: Collection[str]) -> Check:
    def check(value: Any) -> str:
        if type(value) is not str or value not in values:
            raise ValueError(f"none of {', '.join(values)}")
        return value

    return check


def maybe(inner: Check) -> Check:
    """Or null."""
    return lambda value: None if value is None else inner(value)


def list_of(inner: Check, most: int, least: int = 0) -> Check:
    def check(value: Any) -> list[Any]:
        if type(value) is not list or not least <= len(value) <= most:
            raise ValueError(f"no list of {least} to {most}")
        return [inner(item) for item in value]

    return check


def record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with all of the required keys, perhaps with the optional ones, and no others."""
    checks = {**required, **(optional or {})}

    def check(value: Any) -> dict[str, Any]:
        if type(value) is not dict or not required.keys() <= value.keys() <= checks.keys():
            raise ValueError(f"no object with the keys {', '.join(required)}")
        checked = {}
        for key, item in value.items():
            try:
                checked[key] = checks[key](item)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        return checked

    return check

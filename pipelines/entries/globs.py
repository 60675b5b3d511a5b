"""Patterns over the keys of a bucket: what `glob` of the standard library matches in a folder, without a folder."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Sequence

ANY_DEPTH = "**"


class Glob:
    """`*`, `?` and `[…]` within a name, `**` for folders however deep; none of them begins to match with a dot.

    fixed: the names before the first that has one of them. recursive: it has a `**`: folders that match are not
    entered, since what is in them matches by itself.
    """

    def __init__(self, key: str) -> None:
        names = key.split("/")
        self.fixed = names[: next(place for place, name in enumerate(names) if has_magic(name))]
        self.recursive = ANY_DEPTH in key
        self._patterns = [_Name(name) for name in names[len(self.fixed) :]]

    def matches(self, names: Sequence[str]) -> bool:
        """A file. names: of its folders and its name, below `fixed`."""
        last = len(self._patterns) - 1
        return last in self._reached(names[:-1]) and self._patterns[last].matches(names[-1])

    def folder(self, names: Sequence[str]) -> int | None:
        """How many of the folders that a file is in make up one that matches, for patterns that are not recursive."""
        depth = len(self._patterns)
        return depth if len(names) > depth and depth in self._reached(names[:depth]) else None

    def matches_folder(self, names: Sequence[str]) -> bool:
        """Whether a folder matches that a file is in."""
        return any(len(self._patterns) in self._reached(names[:depth]) for depth in range(len(names)))

    def _reached(self, names: Sequence[str]) -> set[int]:
        """How many of the patterns may be used up after these names."""
        places = self._passing_none({0})
        for name in names:
            places = self._passing_none({after for place in places for after in self._after(place, name)})
        return places

    def _passing_none(self, places: set[int]) -> set[int]:
        """`**` stands for no folder too."""
        for place in sorted(places):
            while place < len(self._patterns) and self._patterns[place].any_depth:
                place += 1
                places.add(place)
        return places

    def _after(self, place: int, name: str) -> Sequence[int]:
        if place == len(self._patterns) or not self._patterns[place].matches(name):
            return ()
        return (place,) if self._patterns[place].any_depth else (place + 1,)


class _Name:
    def __init__(self, pattern: str) -> None:
        self.any_depth = pattern == ANY_DEPTH
        self._literal = None if has_magic(pattern) else pattern
        self._hidden_too = pattern.startswith(".")
        self._expression = re.compile(fnmatch.translate(pattern))

    def matches(self, name: str) -> bool:
        if self._literal is not None:
            return name == self._literal
        if name.startswith(".") and not self._hidden_too:
            return False
        return self.any_depth or self._expression.match(name) is not None


def has_magic(text: str) -> bool:
    return glob.has_magic(text)

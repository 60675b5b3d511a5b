"""What a command is: a module whose docstring begins "`sightread NAME`: help", with two functions: `add(parser)` names
its arguments, `run(options)` does it and returns the exit code.

The module is imported when its command stands on the line, not before, so it may import what it likes and `--help`
still answers at once. Knows no command by name.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Command(argparse.ArgumentParser):
    """The parser of one command. module: by its full name."""

    def __init__(self, *, module: str, **options: Any) -> None:
        super().__init__(**{"formatter_class": _WithDefaults, **options})
        # before the command or behind it; here it has no default, which would undo the one before
        self.add_argument("-v", "--verbose", action="count", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        self._module = module
        self._loaded = self._mixes = False

    def load(self) -> None:
        """Import the module and take its arguments; once."""
        if not self._loaded:
            self._loaded = True
            module = importlib.import_module(self._module)
            module.add(self)
            # as many as there are, also where options stand between them
            self._mixes = any(action.nargs == "*" and not action.option_strings for action in self._actions)
            if run := getattr(module, "run", None):  # none where the module only has subcommands
                self.set_defaults(run=run, command=self)

    def words(self) -> list[str]:
        """Its options as they may be typed."""
        return [word for action in self._actions if action.help != argparse.SUPPRESS for word in action.option_strings]

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.load()
        if self._mixes:
            self._mixes = False  # it calls this one
            return self.parse_known_intermixed_args(args, namespace)
        return super().parse_known_args(args, namespace)


class _WithDefaults(argparse.HelpFormatter):
    """Says the number or word that an option is where it is not given, and its help does not say that itself."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text, default = action.help or "", action.default
        says = isinstance(default, (int, float, str)) and not isinstance(default, bool) and action.option_strings
        return (
            f"{text} (default: %(default)s)"
            if says and default != argparse.SUPPRESS and "default" not in text
            else text
        )


def add_commands(
    parser: argparse.ArgumentParser, modules: Sequence[str], metavar: str, *, required: bool = True
) -> None:
    """A subcommand for each module, in this order. A name that Python keeps for itself ends in an underscore there.
    required: whether one must stand on the line."""
    commands = parser.add_subparsers(required=required, metavar=metavar, parser_class=Command)
    for module in modules:
        sentence = help_of(module)
        commands.add_parser(
            module.rpartition(".")[2].rstrip("_"), module=module, help=sentence, description=f"{sentence}."
        )


def help_of(module: str) -> str:
    """The sentence in the first line of a module's docstring, read without importing the module."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    assert docstring is not None, module
    sentence: str = docstring.splitlines()[0].partition("`: ")[2].rstrip(".")
    assert sentence, f"{module}: a command's docstring begins `sightread NAME`: help"
    return sentence

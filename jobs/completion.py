"""Scripts that complete a command line, made from its parser: they know what `--help` says. Knows no command."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field

PROGRAM = "sightread"


@dataclass
class Words:
    """What may stand behind a command. commands: name -> help; options: every flag, with its help; choices: of a flag,
    or of what has none (then under "")."""

    commands: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    valued: set[str] = field(default_factory=set)
    choices: dict[str, list[str]] = field(default_factory=dict)


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """shell: of SHELLS."""
    return SHELLS[shell](dict(_words(parser, ())))


def _words(parser: argparse.ArgumentParser, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Words]]:
    """By the commands that lead there."""
    if load := getattr(parser, "load", None):  # its module is not imported yet
        load()
    words = Words()
    below: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            words.commands = {choice.dest: choice.help or "" for choice in action._choices_actions}
            below = dict(action.choices)
        elif action.help != argparse.SUPPRESS:
            for flag in action.option_strings:
                words.options[flag] = action.help or ""
                words.valued |= set() if action.nargs == 0 else {flag}
            if action.choices is not None:
                words.choices |= {flag: [*map(str, action.choices)] for flag in action.option_strings or ("",)}
    yield path, words
    for name, inner in below.items():
        yield from _words(inner, (*path, name))


def _bash(every: dict[tuple[str, ...], Words]) -> str:
    """Names of files, where nothing else is known."""
    steps = [f'      "{" ".join((*path, name))}"' for path, words in every.items() for name in words.commands]
    lines = [
        f"_{PROGRAM}() {{",
        '  local at word words="" line="" last="${COMP_WORDS[COMP_CWORD-1]}" now="${COMP_WORDS[COMP_CWORD]}"',
        "  for ((at = 1; at < COMP_CWORD; at++)); do",
        '    word="${line:+$line }${COMP_WORDS[at]}"',
        '    case "$word" in',
        "|\\\n".join(steps) + ') line="$word" ;;',
        "    esac",
        "  done",
        '  case "$line/$last/$now" in',
    ]
    for path, words in every.items():
        line = " ".join(path)
        for flag, choices in words.choices.items():
            if flag:
                lines.append(f'    "{line}/{flag}/"*) words="{" ".join(choices)}" ;;')
        files = [flag for flag in words.valued if flag not in words.choices]
        if files:
            lines.append("    " + "|".join(f'"{line}/{flag}/"*' for flag in sorted(files)) + ") return ;;")
        lines.append(f'    "{line}/"*"/-"*) words="{" ".join(words.options)}" ;;')
        if names := [*words.commands, *words.choices.get("", ())]:
            lines.append(f'    "{line}/"*) words="{" ".join(names)}" ;;')
    lines += ["  esac", '  COMPREPLY=($(compgen -W "$words" -- "$now"))', "}"]
    lines.append(f"complete -o default -F _{PROGRAM} {PROGRAM}")
    return "\n".join(lines) + "\n"


def _zsh(every: dict[tuple[str, ...], Words]) -> str:
    return "autoload -U +X compinit bashcompinit\ncompinit\nbashcompinit\n" + _bash(every)


def _fish(every: dict[tuple[str, ...], Words]) -> str:
    lines = []
    for path, words in every.items():
        seen = "; and ".join(f"__fish_seen_subcommand_from {name}" for name in path)
        others = f"not __fish_seen_subcommand_from {' '.join(words.commands)}" if words.commands else ""
        where = _quoted("; and ".join(filter(None, (seen, others))))
        start = f"complete -c {PROGRAM} -n {where}"
        lines += [f"{start} -f -a {name} -d {_quoted(about)}" for name, about in words.commands.items()]
        lines += [f"{start} -f -a {_quoted(' '.join(words.choices['']))}"] if "" in words.choices else []
        for flag, about in words.options.items():
            kind = "-l" if flag.startswith("--") else "-s"
            value = " -r" if flag in words.valued else ""
            value += f" -f -a {_quoted(' '.join(words.choices[flag]))}" if flag in words.choices else ""
            lines.append(f"{start} {kind} {flag.lstrip('-')}{value} -d {_quoted(about)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}

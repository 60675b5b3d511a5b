"""`sightread completion SHELL`: print what completes commands and options in a shell.

bash and zsh: eval "$(sightread completion bash)" in ~/.bashrc or ~/.zshrc; fish: sightread completion fish | source.
The script holds all words, so completing starts no Python.
"""

from __future__ import annotations

import argparse

from jobs.completion import SHELLS, script
from jobs.echo import echo


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=sorted(SHELLS), help="the one that will read it")


def run(options: argparse.Namespace) -> int:
    from jobs.cli import parser

    for line in script(options.shell, parser()).splitlines():
        echo(line)
    return 0

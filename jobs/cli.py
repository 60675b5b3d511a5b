"""The `sightread` command: finds the command on the line, hands over, and says how it ended. Every file of
jobs/commands/ is a command (see jobs/command.py). Knows none of them.

Exit codes: 0 done; 1 something broke or is incomplete; 2 the command line or the spec is wrong; 3 more rows
failed than limits.max_failed_fraction allows; 128 and its number when a signal ended it (130 for Ctrl-C).
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import logging
import os
import pkgutil
import select
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jobs.command import Command, add_commands
from jobs.logs import to_stderr
from operators.processes import ending
from schemas.checkout import ROOT
from schemas.errors import JobConflict, SightreadError, SpecError
from schemas.printable import one_line
from schemas.version import VERSION

FIRST = ("run", "plan", "try_", "show")
"""Of the commands, in `--help`; the others follow by name."""
LONGEST = 2000
"""Characters of the line that an error is."""

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """arguments: None are those of the process, which signals then end (operators/processes/ending.py)."""
    if arguments is None:
        _open_standard_streams()
        ending.listen()
        with contextlib.suppress(FileNotFoundError):  # a folder that somebody has removed
            here = os.getcwd()  # noqa: PTH109
            if here != str(ROOT):  # of `python -m`: what lies where the user stands is no module of ours
                sys.path[:2] = [place for place in sys.path[:2] if place not in ("", here)]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # letters that a terminal of another encoding lacks
    try:
        top = parser()
        options, unknown = top.parse_known_args(arguments)
        if unknown:
            command = getattr(options, "command", None)
            (command or top).error(one_line(_unknown(unknown, command)))
        if not hasattr(options, "run"):  # no command: whoever types that wants to know which there are
            top.print_help(sys.stderr)
            return 2
        return _exit_code(options)
    finally:
        ending.exit_if_told()


def _unknown(words: Sequence[str], command: Command | None) -> str:
    """What is wrong with words that no parser took. command: that stands on the line."""
    text, word = f"unrecognized arguments: {' '.join(words)}", words[0].partition("=")[0]
    if command is None:
        return f"{text}; options of a command stand behind it, as in `sightread tasks --json`"
    if word in command.words():
        return f"{text}; it stands behind the command: `{command.prog} {word}`"
    near = difflib.get_close_matches(word, command.words(), n=1)
    return f"{text}; " + (f"did you mean {near[0]!r}?" if near else f"`{command.prog} --help` says what it takes")


def _exit_code(options: argparse.Namespace) -> int:
    try:
        with to_stderr(options.verbose):
            code = int(options.run(options))
            sys.stdout.flush()
            return code
    except (SpecError, JobConflict) as error:
        return _ended(error, 2)
    except SightreadError as error:
        return _ended(error, 1)
    except ending.Ended:  # whoever told it has the word
        raise
    except KeyboardInterrupt:
        print("sightread: interrupted; the same command again goes on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        return 1
    except OSError as error:  # a disk or a folder that says no, wherever it was asked
        _log.debug("what said no", exc_info=True)
        try:
            sys.stdout.flush()
        except OSError:  # it was this one: a full disk
            _drop_stdout()
        return _ended(error, 1)


def _ended(error: Exception, code: int) -> int:
    """One line, whatever names and messages of others are in it."""
    text = one_line(str(error))
    shown = text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
    print(f"sightread: {shown}", file=sys.stderr)
    return code


def parser() -> argparse.ArgumentParser:
    """Of the whole command line. A subcommand's arguments are there once it has parsed, or after its `load`."""
    top = _Parser(prog="sightread", description="Documents, images and video in, typed Parquet out, read by Qwen3-VL.")
    top.add_argument("--version", action="version", version=f"sightread {VERSION}")
    top.add_argument("-v", "--verbose", action="count", default=0, help="log to stderr; -vv more of it")
    names = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).with_name("commands"))]))
    ordered = [*FIRST, *(name for name in names if name not in FIRST)]
    add_commands(top, [f"jobs.commands.{name}" for name in ordered], metavar="command", required=False)
    return top


def _open_standard_streams() -> None:
    """Those that are closed (`>&-`, some cron daemons) go nowhere. Left closed, the next file that is opened would have
    their number, and what is printed would land in it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


class _Parser(argparse.ArgumentParser):
    """Of the subcommands too."""

    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))  # arguments may be names that a shell found in a stranger's folder


def _nobody_reads() -> bool:
    """Whether stdout is what broke (`sightread … | head`), which is no fault. Then nothing more is written there."""
    try:
        place = sys.stdout.fileno()
    except OSError:  # it is no file
        return False
    poll = select.poll()
    poll.register(place, 0)
    gone = any(event & select.POLLERR for _, event in poll.poll(0))
    if gone:
        _drop_stdout()
    return gone


def _drop_stdout() -> None:
    """Python flushes once more as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())

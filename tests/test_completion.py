"""What a shell completes is what the parser takes."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from jobs.cli import main, parser
from jobs.commands.bench import BENCHES
from jobs.completion import SHELLS, _words, script

EVERY = dict(_words(parser(), ()))
COMPLETED = """source /dev/stdin
COMP_WORDS=(sightread "$@")
COMP_CWORD=$#
COMPREPLY=()
_sightread
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(*words: str) -> set[str]:
    """By bash, of the last word."""
    done = subprocess.run(
        ["bash", "-c", COMPLETED, "bash", *words],
        input=script("bash", parser()),
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return {*done.stdout.split()}


def test_bash_completes_commands_options_and_choices() -> None:
    assert completed("re") == {"reparse", "report", "retry"}
    assert completed("bench", "") == {*BENCHES}
    assert completed("-v", "show", "--r") == {"--rows"}
    assert completed("bench", "engine", "--dtype", "f") == {"float32"}
    assert completed("completion", "") == {*SHELLS}
    assert completed("run", "") == completed("run", "--limit", "1") == set(), "names of files"
    for path, words in EVERY.items():
        assert completed(*path, "-") == {*words.options}


@pytest.mark.parametrize("shell", SHELLS)
def test_every_script_has_every_word(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for path, words in EVERY.items():
        for word in (*path, *words.commands, *words.options):
            assert (word.lstrip("-") if shell == "fish" else word) in text
    if where := shutil.which(shell):  # as far as this machine has it
        subprocess.run([where, "-n"], input=text, text=True, check=True)

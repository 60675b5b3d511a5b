"""The command line: quick where nothing heavy is needed, one sentence where something is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.commands.bench import BENCHES
from operators.store.local import LocalStore
from pipelines.folder import JobFolder
from schemas.checkout import ROOT
from schemas.version import VERSION
from tests.support.world import World, write_image, write_pdf, write_recording


def test_tasks_are_listed_with_what_they_take_and_give(world: World) -> None:
    said = world.run("tasks")
    assert "page, image" in next(line for line in said.splitlines() if line.startswith("ocr "))
    assert "struct<text: string>" in said


def test_every_command_has_its_help_and_knows_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    files = {path.stem.rstrip("_") for path in (ROOT / "jobs" / "commands").glob("[!_]*.py")}
    assert main_exits("--help") == 0
    listed = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert listed[:4] == ["run", "plan", "try", "show"]
    assert set(listed) == files
    for words in (*((name,) for name in listed), *(("bench", name) for name in BENCHES)):
        assert main_exits(*words, "--help") == 0
        usage, sentence, *_ = capsys.readouterr().out.split("\n\n")
        assert usage.startswith(f"usage: sightread {' '.join(words)} [-h]")
        assert sentence.endswith(".")
    main_exits("show", "--help")
    assert "of each task at most (default: " in capsys.readouterr().out
    assert main_exits("--version") == 0
    assert capsys.readouterr().out == f"sightread {VERSION}\n"


def main_exits(*arguments: str) -> object:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


def test_a_reader_that_leaves_early_is_no_fault() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "tasks"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_streams_that_are_closed_are_no_fault(world: World) -> None:
    write_recording(world.recording, {"sample": "*", "task": "*", "reply": "text"})
    write_image(world.inputs / "a.png")
    command = f"{sys.executable} -m jobs.cli plan {world.spec_file}"
    for closed in ("<&- >&-", "<&- >&- 2>&-"):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{command} {closed}"], cwd=ROOT, env=world.environment, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_another_pipe_that_breaks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise BrokenPipeError("a child is gone")

    monkeypatch.setattr("jobs.commands.tasks.run", lambda options: broken())
    with pytest.raises(BrokenPipeError, match="a child is gone"):
        main(["tasks"])


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--json", "--json; options of a command stand behind it, as in `sightread tasks --json`"),
        ("--json tasks", "--json; it stands behind the command: `sightread tasks --json`"),
        ("run x.yaml --limt 3", "--limt 3; did you mean '--limit'?"),
        ("bench nano --frobnicate", "--frobnicate; `sightread bench nano --help` says what it takes"),
    ],
)
def test_a_word_too_many_is_answered_with_the_right_one(
    line: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_exits(*line.split()) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"unrecognized arguments: {sentence}")


@pytest.mark.parametrize("command", ["status", "retry", "compact", "show", "overlay", "markdown"])
def test_a_spec_is_no_output(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "job.yaml").write_text("name: job\n")
    assert main([command, str(tmp_path / "job.yaml")]) == 2
    assert "job.yaml is no output but a file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["show", "overlay"])
def test_a_job_that_nothing_was_answered_of_is_no_strange_folder(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    JobFolder(LocalStore(str(tmp_path))).claim()
    assert main([command, str(tmp_path)]) == 2
    assert "holds a job without an answer so far; `sightread status` says" in capsys.readouterr().err


def test_golden_says_what_may_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["golden", "nothing-there"]) == 2
    assert capsys.readouterr().err == (
        "sightread: there is no nothing-there: name a checkpoint folder, nano, or a job spec\n"
    )


def test_a_terminal_gets_lines_that_fit_and_a_pipe_whole_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tasks"]) == 0
    piped = capsys.readouterr().out.splitlines()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["tasks"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 40
    assert "".join("".join(shown).split()) == "".join("".join(piped).split())
    assert sum(not line.startswith(" ") for line in shown) == len(piped)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tasks": ["orc"]}, "there is no task 'orc'; did you mean 'ocr'?"),
        ({"tasks": ["OCR"]}, "there is no task 'OCR'; did you mean 'ocr'?"),
        (
            {"engine": {"model": "Qwen3-VL-2B"}},
            "'nano' that ships, and names of the hub have an owner, as Qwen/Qwen3-VL-2B",
        ),
        ({"engine": {"kind": "scripted", "recording": "/nowhere.jsonl"}}, "there is no file /nowhere.jsonl"),
        ({"engine": {"kind": "torch", "model": "/no/such/folder"}}, "/no/such/folder"),
        ({"outputs": "x"}, "unknown key 'outputs'; did you mean 'output'?"),
    ],
)
def test_a_wrong_spec_exits_2_with_one_sentence(world: World, change: dict[str, object], sentence: str) -> None:
    write_recording(world.recording)
    world.spec |= change
    said = world.run(code=2)
    assert sentence in said
    assert said.count("\n") == 1
    assert not world.output.exists()


def test_plan_shows_units_and_stages_and_writes_nothing(world: World) -> None:
    write_pdf(world.inputs / "a.pdf", pages=5)
    write_image(world.inputs / "b.png")
    (world.inputs / "c.pdf").write_bytes(b"")
    write_recording(world.recording)
    world.spec["tasks"] = ["caption"]
    said = world.run("plan", str(world.spec_file))
    assert "units    1 image, 6 page" in said
    assert "failing  1 empty_file" in said
    assert re.search(r"^         empty_file, as: \S*c\.pdf: ", said, re.MULTILINE)
    assert "rows     caption: 1" in said
    assert "rows     (no task takes a page): 6" in said
    assert "stage    infer: 1 actors" in said
    assert not world.output.exists()

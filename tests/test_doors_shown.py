"""Nothing that a model, a file, a name or a message says steers a terminal, is taken for markup, or forges a line of a
log: it is shown as an escape. Each place is tried on a terminal and in a pipe."""

from __future__ import annotations

import ast
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from jobs.cli import main
from jobs.commands import doctor, golden
from jobs.display import Display, console_for, show_summary
from jobs.logs import to_file, to_stderr
from operators.infer.engine_log import EngineLog
from operators.store.local import LocalStore
from pipelines.summary.audit import TaskAudit
from pipelines.summary.summary import Summary
from pipelines.summary.utilization import StageUse, UtilizationSummary
from schemas.checkout import ROOT
from schemas.finding import Finding
from schemas.printable import one_line, printable
from tests.support.stored import begin, put_rows
from tests.support.world import write_image, write_recording

EVIL = "a\x1b]0;owned\x07b\x1b[2Jc\x9b8md\u202ee\u2066f\x7fg\r\nh\x08[bold red]i[/] [/x] :smile:"
"""Sets a title, rings, clears, changes colors, turns text around, goes back, and opens and closes markup."""
NAME = EVIL.replace("/", "|")
STEERING = ("\x1b]", "\x1b[2J", "\x9b", "\x07", "\x08", "\x7f", "\u202e", "\u2066", "\udcff")


@pytest.fixture(params=["terminal", "pipe"])
def shown(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], str]:
    """shown(act): what comes out on stdout and stderr while it acts. Fails where it steers a terminal."""

    def shown(act: Callable[[], object]) -> str:
        reading, writing = os.openpty() if request.param == "terminal" else os.pipe()
        pieces: list[bytes] = []

        def read() -> None:
            try:
                while piece := os.read(reading, 65536):
                    pieces.append(piece)
            except OSError:  # the other end of a terminal is closed
                return

        reader = threading.Thread(target=read)
        reader.start()
        with monkeypatch.context() as patch, os.fdopen(writing, "w", encoding="utf-8") as stream:
            patch.setenv("TERM", "xterm-256color")
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            act()
        reader.join()
        os.close(reading)
        text = b"".join(pieces).decode().replace("\r\n", "\n")
        assert [escape for escape in STEERING if escape in text] == []
        return text

    return shown


def test_what_steers_is_escaped_and_what_reads_is_not() -> None:
    assert one_line(NAME).isprintable()
    assert printable("a\n\tb\r\nc") == "a\n\tb\nc"
    assert one_line("a\nb\tc\r") == r"a\nb\tc\r"
    assert one_line("\udcff\u2028\x85") == r"\udcff\u2028\x85"
    for text in ("مرحبا‎ שלום‏", "👩‍👩‍👧", "क्‍ष", "Grüße, 日本語 🙂", "C:\\x1b"):
        assert one_line(text) == printable(text) == text


def test_commands_print_text_in_two_ways_alone() -> None:
    """A console is passed no bare text, and `print` is for `echo`."""
    bare = []
    for path in sorted([*(ROOT / "jobs").glob("*.py"), *(ROOT / "jobs/commands").glob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="print" | "rule"), args=[ast.Constant() | ast.JoinedStr(), *_]):
                    bare.append(f"{path.name}:{node.lineno}")
                case ast.Call(func=ast.Name(id="print")) if path.name not in (
                    "cli.py",
                    "demo_media.py",
                    "echo.py",
                    "tasks.py",
                ):
                    bare.append(f"{path.name}:{node.lineno}")
    assert bare == []


def test_the_answers_of_a_model(tmp_path: Path, shown: Callable[[Callable[[], object]], str]) -> None:
    picture = write_image(tmp_path / "a.png")
    recording = write_recording(tmp_path / "r.jsonl", {"reply": EVIL})
    text = shown(lambda: main(["try", str(picture), "--recording", str(recording)]))
    assert r"a\x1b]0;owned\x07b" in text
    assert "[bold red]i[/] [/x] :smile:" in text


def test_names_of_files(tmp_path: Path, shown: Callable[[Callable[[], object]], str]) -> None:
    recording = write_recording(tmp_path / "r.jsonl", {"reply": "x"})
    for arguments in (
        ("try", f"{tmp_path}/{NAME}.png", "--recording", str(recording)),  # not there
        ("try", f"{tmp_path}/{NAME}.mp4", "--task", "gui_action", "--recording", str(recording)),
        ("run", f"{tmp_path}/{NAME}.yaml"),
        ("show", f"{tmp_path}/{NAME}"),
        ("reparse", f"{tmp_path}/{NAME}"),
        ("golden", f"{tmp_path}/{NAME}"),
    ):
        shown(lambda arguments=arguments: main(arguments))  # type: ignore[misc]


def test_arguments_that_are_none(shown: Callable[[Callable[[], object]], str]) -> None:
    def act() -> None:
        for arguments in (("show", "x", NAME), ("show", "x", "--rows", NAME), ("bench", NAME), (NAME,)):
            with pytest.raises(SystemExit):
                main(arguments)

    assert "unrecognized arguments: a\\x1b]0;owned" in shown(act)


def test_plan_and_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: Callable[[Callable[[], object]], str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path(f"in/x.{NAME}").touch()
    write_recording(Path("r.jsonl"), {"reply": "x"})
    spec = {
        "name": "\u202e[bold]", "inputs": ["in"], "tasks": ["ocr"], "output": "out[bold]\u202e",
        "engine": {"kind": "scripted", "recording": "r.jsonl"},
    }  # fmt: skip
    Path("spec.yaml").write_text(yaml.safe_dump(spec))
    text = shown(lambda: main(["plan", "spec.yaml"]))
    assert r"\u202e[bold] -> " in text
    assert "out[bold]" in text
    assert r"unknown type .a\x1b]0;owned" in text


def results_of(folder: Path) -> None:
    row = {
        "input_id": "0123", "input_uri": f"/in/{NAME}", "unit_index": 0, "request_index": 0, "page": 1,
        "start_s": None, "end_s": None, "media": "image", "width_px": 0,
    }  # fmt: skip
    failed = {"status": EVIL, "error": {"kind": EVIL, "message": EVIL}, "result": None, "unit_index": 1}
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("input_id", "input_uri", "media", "status")),
            *((name, pa.int32()) for name in ("unit_index", "request_index", "page", "width_px")),
            *((name, pa.float64()) for name in ("start_s", "end_s")),
            ("error", pa.struct([("kind", pa.string()), ("message", pa.string())])),
            ("result", pa.struct([("text", pa.string()), ("markdown", pa.string())])),
        ]
    )
    rows = [{**row, "status": "ok", "error": None, "result": {"text": EVIL, "markdown": EVIL}}, row | failed]
    for task in (NAME, "parse_document"):
        put_rows(LocalStore(str(folder)), task, pa.Table.from_pylist(rows, schema=schema))


def test_rows_of_a_job(tmp_path: Path, shown: Callable[[Callable[[], object]], str]) -> None:
    folder = tmp_path / NAME
    results_of(folder)
    begin(LocalStore(str(folder)), {task: {"decode": {NAME: EVIL}} for task in (NAME, "parse_document")}, {EVIL: NAME})
    text = shown(lambda: main(["show", str(folder)]))
    assert r"\x1b]0;owned" in text.replace("\n", "")
    shown(lambda: main(["overlay", str(folder)]))
    shown(lambda: main(["reparse", str(folder)]))


def test_addresses_for_other_programs_stay_as_they_are_in_a_pipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a\u202eb"
    results_of(folder)
    assert main(["markdown", str(folder)]) == 0
    assert Path(capsys.readouterr().out.splitlines()[0]).is_file()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["markdown", str(folder)]) == 0
    assert r"a\u202eb/markdown/" in capsys.readouterr().out


def test_progress_and_summary(shown: Callable[[Callable[[], object]], str]) -> None:
    summary = Summary(
        name=EVIL, output=f"/tmp/{NAME}", inputs=1, grown={}, skipped={}, unmatched={EVIL: 1}, complete=False,
        tasks={EVIL: TaskAudit(2, 2, 1, faults={EVIL: 1}, failed={EVIL: 1}, messages={EVIL: EVIL})},
        failed_fraction=0.5, doubtful_fraction=0.5, exit_code=1,
        uncommitted=[f"{EVIL}: {EVIL}"], code_checks={EVIL: 1},
        engine=UtilizationSummary(0.5, 1.0, 0.0, 2.0, 1, EVIL, [StageUse(EVIL, 2, 1.0, 3.0, 0.25)]),
    )  # fmt: skip
    receipt: dict[str, Any] = {"task": EVIL, "chunk_id": EVIL, "rows": 1, "output_tokens": 1, "message": EVIL}
    receipt |= {"engine": None, "doubtful": 1}
    failure = {"status": EVIL, "stage": EVIL, "kind": EVIL, "message": EVIL, "rows": 1}

    def act() -> None:
        display = Display(console_for())
        display.listed(1, {EVIL: 2})
        display.planned(4, 0, 1)
        display.starting(EVIL)
        display.receipt({**receipt, "outcome": "failed", "failures": []})
        display.receipt({**receipt, "outcome": "committed", "failures": [failure]})
        display.close()
        show_summary(summary, console_for())

    text = shown(act)
    assert text.count(":smile:") >= 8
    assert "[bold red]i[/] [/x]" in text


def test_doctor_and_golden(shown: Callable[[Callable[[], object]], str]) -> None:
    def act() -> None:
        doctor._show([Finding("fail", EVIL, EVIL, EVIL)], console_for())
        console_for().print(golden._table({golden.EXPECTATIONS[0]: [EVIL, EVIL]}))

    assert "[bold red]" in shown(act).replace("\n", " ")


def test_errors_and_logs(tmp_path: Path, shown: Callable[[Callable[[], object]], str]) -> None:
    def act() -> None:
        with to_stderr(2), to_file(tmp_path / "run.log"):
            log = logging.getLogger("pipelines.x")
            log.warning("of %s", NAME)
            try:
                raise ValueError(EVIL)
            except ValueError:
                log.exception("an error: %s", "a\nb")

    lines = shown(act).splitlines()
    assert lines[0].endswith(f"WARNING pipelines.x: of {one_line(NAME)}")
    assert lines[1].endswith(r"ERROR pipelines.x: an error: a\nb")
    logged = (tmp_path / "run.log").read_text()
    assert [escape for escape in STEERING if escape in logged] == []
    assert logged.splitlines()[:2] == lines[:2]

    log = EngineLog(tmp_path / "logs")
    log.note(EVIL)
    assert log.path.read_text().count("\n") == 1
    assert "\x1b" not in log.path.read_text()

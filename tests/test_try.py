"""`sightread try`: a few files, or the first of a spec's, answered on the terminal as they are answered; nothing is
written, and what is wrong is told before an engine is started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.cli import main
from jobs.commands.try_ import FIRST_UNITS
from jobs.load import load
from operators.processes.child import Limits, spawn
from operators.store.local import LocalStore
from pipelines import local
from pipelines.job import prepare
from pipelines.local import LocalRun
from pipelines.planning import list_job
from schemas.checkout import NANO, ROOT
from schemas.tables import results_schema
from tests.support.stored import begin, put_rows
from tests.support.world import World, write_image, write_pdf, write_recording

Try = Callable[..., str]
OK = {"sample": "*", "task": "*", "reply": "{task} of {sample} {unit}"}


@pytest.fixture
def tried(world: World, capsys: pytest.CaptureFixture[str]) -> Iterator[Try]:
    """What the command printed to stdout, and to stderr. It writes nothing into the folder."""

    def tried(*arguments: object, code: int = 0) -> str:
        before = sorted(world.folder.rglob("*"))
        ended = main(["try", *map(str, arguments)])
        text = "".join(capsys.readouterr())
        assert ended == code, text
        assert sorted(world.folder.rglob("*")) == before
        return text

    yield tried
    assert world.processes() == {}


def headings(text: str) -> list[str]:
    return [line.rstrip("─ ") for line in text.splitlines() if line.endswith("──")]


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Settings of the engines that were started."""
    started: list[Any] = []
    real = local.Infer
    monkeypatch.setattr(local, "Infer", lambda settings: (started.append(settings.engine), real(settings))[1])
    return started


def test_one_file_is_answered(world: World, tried: Try) -> None:
    document = write_pdf(world.folder / "a.pdf", pages=2)
    write_recording(world.recording, {"sample": "a.pdf", "task": "ocr", "reply": "[bold]Page {unit}[/bold]"})
    text = tried(document, "--recording", world.recording)
    assert sorted(heading.rpartition(",")[0] for heading in headings(text)) == ["a.pdf, page 1", "a.pdf, page 2"]
    assert "[bold]Page 1[/bold]" in text  # what a model wrote is shown, not obeyed


def test_nano_answers_for_a_spec_that_wants_a_gpu(
    world: World, tried: Try, engines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.machine.gpus", list)
    world.spec["engine"] = {"kind": "torch", "model": "Qwen/Qwen3-VL-8B-Instruct", "gpus_per_replica": 1}
    picture = write_image(world.folder / "a.png", "ticket")
    assert "ticket" in tried(world.spec_file, picture, "--task", "ocr", "--model", NANO).lower()
    assert [(engine.model, engine.device) for engine in engines] == [(str(NANO), "cpu")]
    world.spec["engine"]["model"] = str(NANO)
    assert "engine: it takes 1 GPUs and this machine has none" in tried(world.spec_file, picture, code=2)


def test_a_spec_is_asked_about_several_files(world: World, tried: Try) -> None:
    """Its tasks, its decode settings and its types of columns; its inputs are others and its output stays away."""
    write_recording(world.recording, OK)
    world.spec["inputs"] = ["/nowhere"]
    world.spec["types"] = {"width": "int"}
    folder = world.folder / "more"
    folder.mkdir()
    write_image(folder / "b.png")
    picture = write_image(world.folder / "a.png")
    text = tried(world.spec_file, picture, folder)
    assert sorted(headings(text)) == sorted(
        f"{name}, image, {task}, unsure" for name in ("a.png", "b.png") for task in ("ocr", "caption")
    )
    assert "caption of b.png 0" in text
    assert headings(tried(world.spec_file, "--task", "ocr", picture)) == ["a.png, image, unsure"]
    assert not world.output.exists()
    table = world.folder / "t.csv"
    table.write_text(f"path,width,name\n{picture},x,one\n{picture},3,two\n")
    write_recording(world.recording, {"sample": "*", "task": "*", "reply": "text"})
    text = tried(world.spec_file, table, "--task", "caption", "--prompt", "What is {name}?", code=1)
    assert "width" in text  # `x` is no int, as the spec has it
    assert headings(text).count("a.png, image, unsure") == 1


def test_a_spec_of_another_name_and_a_file_called_like_one(world: World, tried: Try) -> None:
    write_recording(world.recording, OK)
    picture = write_image(world.folder / "a.png")
    other = world.spec_file.rename(world.folder / "job.txt")
    assert "ocr of a.png 0" in tried("--spec", other, picture)
    notes = world.folder / "notes.yaml"
    notes.write_text("a: list of things\n")
    assert "unknown_type" in tried(notes, picture, "--recording", world.recording, code=1)
    assert "there is no job spec" in tried(world.folder / "gone.yml", picture, code=2)


def test_the_first_of_a_specs_own_inputs(world: World, tried: Try) -> None:
    write_recording(world.recording, OK)
    world.spec["tasks"] = ["caption"]
    for number in range(FIRST_UNITS + 4):
        write_image(world.inputs / f"{number}.png")
    text = tried(world.spec_file)
    assert len(headings(text)) == FIRST_UNITS
    assert f"these are the first {FIRST_UNITS}; --limit N asks about more" in text
    text = tried(world.spec_file, "--limit", "100")
    assert len(headings(text)) == FIRST_UNITS + 4
    assert "these are the first" not in text


def test_a_task_of_ones_own(world: World, tried: Try) -> None:
    """Of the spec's YAML, and of a module beside it."""
    write_recording(world.recording, {"sample": "*", "task": "invoice", "reply": '{"total": 12.5}'}, OK)
    invoice = {
        "name": "invoice",
        "prompt": "Read it.",
        "output": {"type": "object", "properties": {"total": {"type": "number"}}},
    }
    world.spec["tasks"] = [invoice, "beside:SHOUT"]
    imports = "from dataclasses import replace\nfrom pipelines.tasks.caption import TASK\n"
    (world.folder / "beside.py").write_text(f"{imports}SHOUT = replace(TASK, name='shout')\n")
    picture = write_image(world.folder / "a.png")
    text = tried(world.spec_file, picture)
    assert '{"total": 12.5}' in text
    assert "shout of a.png 0" in text


def test_what_a_row_says(world: World, tried: Try) -> None:
    """Its fault, and the sentence of its error with the reply that was none."""
    picture = write_image(world.folder / "a.jpg", "some words")
    write_recording(world.recording, {"sample": "a.jpg", "task": "caption", "reply": "Words."}, {"reply": "no boxes"})
    ask = (picture, "--task", "caption", "--recording", world.recording)
    assert "doubtful" not in tried(*ask)
    picture.write_bytes(picture.read_bytes()[: picture.stat().st_size * 2 // 3])
    assert "doubtful: truncated (its end is missing" in tried(*ask)
    write_recording(world.recording, {"sample": "*", "task": "solve_json", "reply": "ten"})
    task = {
        "name": "solve_json",
        "prompt": "How many?",
        "output": {"type": "object", "properties": {"n": {"type": "integer"}}},
    }
    world.spec["tasks"] = [task]
    text = tried(world.spec_file, picture, code=1)
    assert headings(text) == ["a.jpg, image, failed: invalid_output"]
    assert "unparsable: " in text
    assert "the reply was: ten" in text


def test_code_is_tried_out(world: World, tried: Try) -> None:
    """Here a program, which needs no browser."""
    write_recording(
        world.recording,
        {"sample": "*", "task": "code_chart", "reply": "```python\nimport matplotlib.pyplot as plt\nplt.show()\n```"},
    )
    picture = write_image(world.folder / "a.png")
    text = tried(picture, "--task", "code_chart", "--recording", world.recording)
    assert headings(text) == ["a.png, image, unsure"] * 2, "as it is answered, and once it was checked"
    assert "its code: read" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("gone.png",), "gone.png: No such file or directory"),
        (("a.png", "gone/*.png"), "gone/*.png: No such file or directory"),
        (("/dev/null",), "/dev/null: "),
        (("spec.yaml", "gone.png"), "gone.png: No such file or directory"),
        (("spec.yaml", "a.png", "--task", "text"), "spec.yaml: it has no task 'text'; it has caption, ocr"),
        (("spec.yaml", "a.png", "--prompt", "x"), "--prompt is for one task: name it with --task (ocr, caption)"),
        (("spec.yaml", "a.png", "--model", "x"), "engine.model: the scripted engine has no such key"),
        (("broken.yaml", "a.png"), "broken.yaml"),
        (("a.png", "--task", "orc"), "did you mean 'ocr'"),
        (("a.png", "--model", "/no/such"), "/no/such"),
        (("a.png", "--task", "solve", "--prompt", "{question}"), "give a column 'question'"),
        ((), "name a file to ask about, or a job spec"),
    ],
)
def test_what_is_wrong_is_said_before_an_engine_is_started(
    world: World,
    tried: Try,
    engines: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    sentence: str,
) -> None:
    write_recording(world.recording, OK)
    write_image(world.folder / "a.png")
    (world.folder / "broken.yaml").write_text("tasks: [ocr")
    assert world.spec_file.exists()
    monkeypatch.chdir(world.folder)
    text = tried(*arguments, code=2)
    assert sentence in text
    assert text.count("\n") == 1
    assert engines == []


def test_nothing_to_ask_is_told(world: World, tried: Try) -> None:
    write_recording(world.recording, OK)
    (world.inputs / "notes.docx").write_bytes(b"PK")
    text = tried(world.inputs, "--recording", world.recording, code=1)
    assert "is what ocr takes; left out: 1 " in text
    document = write_pdf(world.folder / "a.pdf", pages=1)
    text = tried(document, "--task", "events", "--recording", world.recording, code=1)
    assert "a.pdf is what events takes" in text


# as they come


def job_of(world: World, replies: list[dict[str, object]], **spec: object) -> tuple[LocalRun, pa.Table]:
    write_recording(world.recording, *replies)
    world.spec |= {"tasks": ["caption"], **spec}
    job = prepare(load(world.spec_file))
    inputs = list_job(job).inputs
    return LocalRun(job, inputs), inputs


def test_an_answer_comes_as_soon_as_it_is_there(world: World) -> None:
    for name in "abc":
        write_image(world.inputs / f"{name}.png")
    run, inputs = job_of(world, [{"sample": "a.png", "task": "*", "reply": "slow", "delay_s": 3}, OK])
    assert [Path(row["input_uri"]).name for row in run.rows()][-1] == "a.png"
    in_order = LocalRun(run._job, inputs, in_order=True)
    assert [Path(row["input_uri"]).name for row in in_order.rows()] == ["a.png", "b.png", "c.png"]


def test_a_limit_opens_no_more_than_it_needs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        write_image(world.inputs / f"{number:02}.png")
    run, inputs = job_of(world, [OK])
    probed: list[int] = []
    real = local.Probe.__call__
    monkeypatch.setattr(local.Probe, "__call__", lambda self, some: (probed.append(some.num_rows), real(self, some))[1])
    limited = LocalRun(run._job, inputs, limit=3)
    assert len(list(limited.rows())) == 3
    assert (limited.units, limited.limited) == (3, True)
    assert sum(probed) == local.PROBED_TOGETHER


def test_who_stops_listening_ends_the_children(world: World) -> None:
    for number in range(20):
        write_image(world.inputs / f"{number:02}.png")
    run, _ = job_of(world, [{"sample": "00.png", "task": "*", "reply": "first"}, {**OK, "delay_s": 60}])
    rows = run.rows()
    assert next(rows)["result"] == {"text": "first"}
    began = children()
    assert began
    rows.close()
    assert children() == []


def children() -> list[str]:
    listed = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True, check=False
    )
    return [line for line in listed.stdout.splitlines() if "-m operators." in line]


def test_a_sign_of_life_while_one_waits(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a pipe a line at intervals, on stderr."""
    monkeypatch.setattr("jobs.waiting._PLAIN_EVERY_S", 0.1)
    write_recording(world.recording, {**OK, "delay_s": 2})
    assert main(["try", str(write_image(world.folder / "a.png")), "--recording", str(world.recording)]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("the engine starts (")
    assert "starts" not in out


def test_nothing_heavy_is_imported(world: World) -> None:
    """By the process that asks: the engine has torch in its own."""
    write_recording(world.recording, OK)
    picture = write_image(world.folder / "a.png")
    code = (
        "import sys; from jobs.cli import main; "
        f"code = main(['try', {str(picture)!r}, '--recording', {str(world.recording)!r}]); "
        "print([name for name in ('ray', 'torch', 'duckdb', 'pandas') if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_show_says_the_same_of_a_row(world: World, tried: Try, capsys: pytest.CaptureFixture[str]) -> None:
    """Its fault with its answer, and the sentence of its error."""
    picture = write_image(world.inputs / "a.jpg", "some words")
    picture.write_bytes(picture.read_bytes()[: picture.stat().st_size * 2 // 3])
    (world.inputs / "b.jpg").write_bytes(b"")
    run, _ = job_of(world, [OK])
    rows = list(run.rows())
    (task,) = run._job.tasks
    store = LocalStore(str(world.folder / "out"))
    put_rows(store, "caption", pa.Table.from_pylist(rows, schema=results_schema(task.output.arrow_type, [])))
    begin(store, {"caption": {}})
    assert main(["show", store.address]) == 0
    shown = capsys.readouterr().out
    text = tried(world.inputs, "--task", "caption", "--recording", world.recording, code=1)
    for part in ("caption of a.jpg 0", "doubtful: truncated", "empty_file: the file is empty"):
        assert part in shown
        assert part in text


def test_an_engine_that_nobody_asks_any_more_ends_without_a_word() -> None:
    """Its supervisor closed before it said what to build."""
    printed: list[bytes] = []
    child = spawn("operators.infer.engine_child", limits=Limits(), name="the engine", printed=printed.append)
    child.channel.shutdown()
    assert child.wait(60)
    child.kill()
    assert b"".join(printed) == b""

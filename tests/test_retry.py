"""Rows asked again: those that were chosen, as often as they were chosen, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.load import parse, parse_stored_all
from operators.store.addresses import store_at
from operators.store.publisher import Publisher
from pipelines.first_rows import ENOUGH
from pipelines.folder import JobFolder
from pipelines.job import prepare
from pipelines.progress import Progress
from pipelines.retry import Choice, retry
from pipelines.run import Growth, run
from pipelines.stored_job import stored_jobs
from pipelines.summary.summary import Summary
from schemas.errors import JobConflict, SpecError
from tests.support.world import World, write_image, write_pdf, write_recording

OK = {"reply": '{"text": "of {sample}, unit {unit}"}'}
FAULT = {"fault": "error"}
BAD = {"reply": "no object"}


def task(name: str, **keys: Any) -> dict[str, Any]:
    output = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    return {"name": name, "units": ["page", "image"], "prompt": "What is it?", "output": output, **keys}


class Remarks(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def remark(self, text: str) -> None:
        self.lines.append(text)


class Small(World):
    """Whole jobs without Ray, here in this process: decoder and engine are children as ever."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked_log = folder / "asked.txt"
        self.remarks: list[str] = []
        self.spec |= {"tasks": [task("shows")], "decode": {"workers": 1}}

    def replies(self, *lines: dict[str, Any], path: Path | None = None) -> Path:
        """Whatever is asked is noted. once: the fault of a line is gone when the test says so (`mend`)."""
        return write_recording(path or self.recording, *({**line, "asked_log": str(self.asked_log)} for line in lines))

    def asked(self) -> int:
        """Requests since the last call."""
        count = len(self.asked_log.read_text().splitlines()) if self.asked_log.exists() else 0
        self.asked_log.unlink(missing_ok=True)
        return count

    def texts(self, *prompts: str | list[str], tasks: tuple[str, ...] = ("shows",)) -> None:
        """Inputs that no decoder is needed for: `prompts.parquet#0` and so on, with a shelf beside each."""
        rows = [{"prompt": prompt, "shelf": shelf} for shelf, prompt in enumerate(prompts)]
        pq.write_table(pa.Table.from_pylist(rows), self.folder / "prompts.parquet")
        self.spec["inputs"] = [str(self.folder / "prompts.parquet")]
        self.spec["tasks"] = [task(name, units=["text"], prompt="{prompt}") for name in tasks]

    def ask(self, **growth: Any) -> Summary:
        return run(prepare(parse(self.spec, "the spec")), growth=Growth(**growth))

    def again(self, engine: Any = None, **choice: Any) -> list[Summary]:
        folder = JobFolder(store_at(str(self.output)))
        jobs = stored_jobs(folder.rounds(), parse_stored_all(folder.specs(), "out"), str(self.output), engine)
        progress = Remarks()
        try:
            return retry(jobs, Choice(**choice), progress)
        finally:
            self.remarks = progress.lines


@pytest.fixture
def small(in_process: Path) -> Small:
    return Small(in_process)


def outcomes(rows: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    return [(row["status"], row["generation"], row["attempt"]) for row in rows]


def test_only_failed_rows_are_asked_again_by_kind_or_condition(small: Small, tmp_path: Path) -> None:
    write_pdf(small.inputs / "a.pdf", pages=4)
    write_image(small.inputs / "b.png")
    broken, mended = tmp_path / "broken", tmp_path / "mended"
    small.replies(
        OK,
        {"sample": "a.pdf", "unit": 2, "once": str(broken), **FAULT},  # the fault is there the first time
        {"sample": "b.png", "once": str(mended), **BAD},  # nothing is read until the test says so
    )
    small.ask()
    assert small.asked() == 5

    (summary,) = small.again(kinds=("engine_error",))
    assert small.asked() == 1
    assert outcomes(small.rows("shows")) == [("ok", 0, n) for n in (1, 1, 2, 1)] + [("invalid_output", 0, 1)]
    assert (summary.tasks["shows"].planned, summary.tasks["shows"].ok, summary.complete) == (5, 4, True)
    assert small.remarks == ["1 rows are asked for again"]

    small.again()
    assert small.asked() == 1
    assert outcomes(small.rows("shows"))[-1] == ("invalid_output", 0, 2)

    mended.touch()
    small.again(where="error.stage = 'parse' and not coalesce(verified.ok, false)")
    assert small.asked() == 1
    assert outcomes(small.rows("shows"))[-1] == ("ok", 0, 3)

    rounds = JobFolder(store_at(str(small.output))).rounds()
    assert [(round_.kind, round_.counts.get("rows")) for round_ in rounds[1:]] == [("retry", 1)] * 3
    assert small.again() == []
    assert small.remarks == ["no row is to be asked for again"]
    assert small.again(kinds=("timeout",)) == []
    assert len(JobFolder(store_at(str(small.output))).rounds()) == 4
    assert small.ask().new_rows == small.asked() == 0


def test_a_failure_never_takes_the_place_of_an_answer(small: Small, tmp_path: Path) -> None:
    small.texts("a")
    small.replies(OK)
    small.ask()
    small.asked()
    other = small.replies(FAULT, path=tmp_path / "other.jsonl")

    (summary,) = small.again(engine_of(other), where="length(text) > 3")

    assert small.asked() == 1
    assert outcomes(small.rows("shows")) == [("ok", 0, 1)]
    assert (summary.exit_code, summary.tasks["shows"].duplicate) == (0, 0)


def test_another_engine_answers_and_the_task_stays_what_it_was(small: Small, tmp_path: Path) -> None:
    small.texts("a", "b")
    small.replies(OK, {"sample": "prompts.parquet#1", **FAULT})
    small.ask()
    small.asked()
    other = small.replies({"reply": '{"text": "by another"}'}, path=tmp_path / "other.jsonl")

    small.again(engine_of(other))

    assert small.asked() == 1
    rows = small.rows("shows")
    assert [row["result"]["text"] for row in rows] == ["of prompts.parquet#0, unit 0", "by another"]
    assert rows[0]["spec_sha256"] != rows[1]["spec_sha256"]
    assert small.ask().new_rows == 0  # no conflict with the spec


def test_rows_that_fail_again_are_kept_however_many_fail_alike(small: Small) -> None:
    small.texts(*["a"] * (ENOUGH + 11))
    small.spec["limits"] = {"max_failed_fraction": 0.99}
    small.replies(BAD, {"sample": "prompts.parquet#0", **OK})
    small.ask()
    assert small.asked() == ENOUGH + 11

    (summary,) = small.again()

    assert small.asked() == ENOUGH + 10
    assert Counter(row["attempt"] for row in small.rows("shows")) == {1: 1, 2: ENOUGH + 10}
    assert (summary.exit_code, summary.complete) == (0, True)


def test_of_several_requests_of_a_unit_those_that_failed(small: Small, tmp_path: Path) -> None:
    small.texts(["one", "two", "three"], ["four", "five"])
    once = tmp_path / "once"
    small.replies(OK, {"request": 1, "once": str(once), **BAD})
    small.ask()
    assert small.asked() == 5
    once.touch()

    (summary,) = small.again(limit=1)
    assert small.asked() == 1
    (summary,) = small.again()
    assert small.asked() == 1
    rows = small.query(f"select * from '{small.output}/results/task=shows/*.parquet' order by shelf, request_index")
    assert [(row["shelf"], row["request_index"], row["status"], row["attempt"]) for row in rows] == [
        (0, 0, "ok", 1), (0, 1, "ok", 2), (0, 2, "ok", 1), (1, 0, "ok", 1), (1, 1, "ok", 2)
    ]  # fmt: skip
    assert (summary.tasks["shows"].planned, summary.complete) == (5, True)


def test_an_input_that_could_not_be_opened_is_opened_anew(small: Small) -> None:
    write_image(small.inputs / "a.png")
    later = small.inputs / "b.pdf"
    later.write_bytes(b"nothing yet")
    small.spec["tasks"] = [task("shows"), task("names")]
    small.spec["inputs"] = [str(small.inputs), str(small.inputs / "gone.png")]
    small.replies(OK)
    small.ask()
    small.asked()
    assert outcomes(small.rows("shows")) == [("ok", 0, 1), *[("unreadable_input", 0, 1)] * 2]
    write_pdf(later, pages=3)

    (summary,) = small.again(tasks=("shows",))

    assert small.asked() == 3
    assert outcomes(small.rows("shows")) == [("ok", 0, 1), *[("ok", 1, 1)] * 3, ("unreadable_input", 0, 1)]
    assert small.remarks[0].startswith("1 rows are of inputs that changed since they were listed, or could not be read")
    assert (summary.tasks["shows"].planned, summary.tasks["shows"].missing, summary.complete) == (5, 0, True)
    assert small.ask(new=False).new_rows == small.asked() == 0  # the other task has its row, and lacks nothing
    small.again(tasks=("names",))
    assert small.asked() == 3


@pytest.mark.parametrize("finished_by", ["run", "retry"])
def test_a_killed_retry_is_finished_once(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished_by: str
) -> None:
    write_pdf(small.inputs / "a.pdf", pages=3)
    (small.inputs / "b.pdf").write_bytes(b"nothing yet")
    once = tmp_path / "once"
    small.replies(OK, {"sample": "a.pdf", "unit": 0, **BAD, "once": str(once)})
    small.ask()
    small.asked()
    once.touch()
    write_pdf(small.inputs / "b.pdf", pages=2)
    with monkeypatch.context() as killed:
        killed.setattr("pipelines.retry.execute", _killed)
        with pytest.raises(KeyboardInterrupt):
            small.again()

    if finished_by == "run":
        assert small.ask(new=False).new_rows == 3
    else:
        small.again()
        assert small.remarks == ["2 rows are about to be asked for already"]
    assert small.asked() == 3
    assert {row["status"] for row in small.rows("shows")} == {"ok"}
    assert len(JobFolder(store_at(str(small.output))).rounds()) == 3
    assert small.again() == []


def test_a_killed_retry_of_several_tasks_is_finished_by_a_spec_with_one_of_them(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small.inputs / "a.png").write_bytes(b"nothing yet")
    small.spec["tasks"] = [task("shows"), task("names")]
    small.replies(OK)
    small.ask()
    write_image(small.inputs / "a.png")
    with monkeypatch.context() as killed:
        killed.setattr("pipelines.retry.execute", _killed)
        with pytest.raises(KeyboardInterrupt):
            small.again()
    small.spec["tasks"] = [task("shows")]

    small.ask(new=False)
    assert small.asked() == 1
    small.again()
    assert small.asked() == 1
    assert outcomes([*small.rows("shows"), *small.rows("names")]) == [("ok", 1, 1)] * 2
    assert len(JobFolder(store_at(str(small.output))).rounds()) == 2


def test_what_a_killed_retry_answered_is_not_asked_again(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the parts were put, and before the results show them."""
    write_pdf(small.inputs / "a.pdf", pages=3)
    small.replies(OK, {"sample": "a.pdf", "unit": 0, **BAD, "once": str(tmp_path / "once")})
    small.ask()
    (tmp_path / "once").touch()
    with monkeypatch.context() as killed:
        killed.setattr(Publisher, "publish_due", _killed)
        with pytest.raises(KeyboardInterrupt):
            small.again(where="unit_index < 2")
    assert small.rows("shows")[0]["status"] != "ok"
    small.asked()

    assert small.again() == []
    assert small.asked() == 0
    assert outcomes(small.rows("shows")) == [("ok", 0, 2), ("ok", 0, 2), ("ok", 0, 1)]


def test_what_a_retry_left_that_was_killed_before_its_round_misleads_nobody(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.texts("a")
    small.replies(OK, {"sample": "prompts.parquet#0", **BAD})
    small.ask()
    with monkeypatch.context() as killed:
        killed.setattr(JobFolder, "add_round", _killed)
        with pytest.raises(KeyboardInterrupt):
            small.again()
    small.asked()
    small.texts("a", "b")

    summary = small.ask()

    assert small.asked() == 1
    assert (summary.tasks["shows"].planned, summary.tasks["shows"].rows) == (2, 2)


def test_what_is_asked_anew_meanwhile_is_not_asked_by_a_killed_retry(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png"):
        write_image(small.inputs / name)
    once = tmp_path / "once"
    small.replies(OK, {"once": str(once), **BAD})
    small.ask()
    small.asked()
    once.touch()
    with monkeypatch.context() as killed:
        killed.setattr("pipelines.retry.execute", _killed)
        with pytest.raises(KeyboardInterrupt):
            small.again()
    write_image(small.inputs / "a.png", text="another")

    summary = small.ask(changed=True)

    assert small.asked() == 2
    assert outcomes(small.rows("shows")) == [("ok", 2, 1), ("ok", 0, 2)]
    assert (summary.tasks["shows"].planned, summary.tasks["shows"].rows, summary.complete) == (2, 2, True)
    assert small.again() == []


def test_tasks_that_failed_alike_are_decoded_for_once(small: Small, tmp_path: Path) -> None:
    small.texts("a", "b", tasks=("shows", "names"))
    once = tmp_path / "once"
    small.replies(
        OK, {"sample": "prompts.parquet#0", "once": str(once), **BAD}, {"task": "shows", "once": str(once), **BAD}
    )
    small.ask()
    small.asked()
    once.touch()

    small.again()

    assert small.asked() == 3
    rounds = JobFolder(store_at(str(small.output))).rounds()
    assert {(*round_.tasks, round_.counts["rows"]) for round_ in rounds[1:]} == {("names", "shows", 2), ("shows", 1)}


def test_each_task_is_asked_as_the_spec_that_defined_it_last_says(small: Small, tmp_path: Path) -> None:
    small.texts("a", tasks=("shows", "names"))
    once = tmp_path / "once"
    small.replies(OK, {"once": str(once), **BAD})
    small.ask()
    small.spec |= {"name": "second", "tasks": [task("names", units=["text"], prompt="Name it: {prompt}")]}
    small.ask(redo=("names",))
    small.asked()
    once.touch()
    small.output.rename(tmp_path / "moved")
    small.output = tmp_path / "moved"

    summaries = small.again()

    assert [[*summary.tasks] for summary in summaries] == [["shows"], ["names"]]
    assert small.asked() == 2
    assert [row["job"] for name in ("shows", "names") for row in small.rows(name)] == ["test", "second"]
    assert [outcomes(small.rows(name)) for name in ("shows", "names")] == [[("ok", 0, 2)], [("ok", 1, 2)]]


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"where": "nosuch = 1"}, 'condition cannot be asked of rows of shows: .*"nosuch" not found'),
    ({"where": "status = 'ok'; drop table x"}, "syntax error"),
    ({"where": "true) union select (1"}, "cannot be asked"),
    ({"where": "status in (select status from read_csv('/etc/passwd'))"}, "disabled by configuration"),
    ({"where": "exists (select 1 from rows)"}, "does not exist"),
    ({"where": "status::int = 1"}, "Could not convert string 'ok'"),
    ({"where": ""}, "cannot be asked"),
    ({"kinds": ("timeuot",)}, "--kind: there is no 'timeuot' here; did you mean 'timeout'"),
    ({"tasks": ("other",)}, "--task: there is no 'other' here; there are shows"),
]


def test_a_choice_that_cannot_be_made_is_one_sentence(begun: Small) -> None:
    for choice, sentence in IMPOSSIBLE:
        with pytest.raises(SpecError, match=sentence) as error:
            begun.again(**choice)
        assert "\n" not in str(error.value)
    assert begun.again(where="not verified.ok") == []
    assert begun.asked() == 0


@pytest.fixture
def begun(small: Small) -> Small:
    small.texts("a")
    small.replies(OK)
    small.ask()
    small.asked()
    return small


def test_a_run_that_was_stopped_while_it_planned_goes_on_first(begun: Small) -> None:
    JobFolder(store_at(str(begun.output))).add_round(
        replace(JobFolder(store_at(str(begun.output))).rounds()[0], number=1, kind="redo")
    )
    with pytest.raises(JobConflict, match="before it had looked into all inputs"):
        begun.again()


def engine_of(recording: Path) -> Any:
    spec = {"name": "x", "inputs": ["-"], "tasks": ["ocr"], "output": "-"}
    return parse({**spec, "engine": {"kind": "scripted", "recording": str(recording)}}, "other").engine


def _killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_the_command_asks_for_just_those_also_after_a_kill(world: World) -> None:
    asked_log, other = world.folder / "asked.txt", world.folder / "other.yaml"
    for number in range(6):
        write_image(world.inputs / f"{number}.png")
    ok = {**OK, "asked_log": str(asked_log)}
    write_recording(world.recording, ok, {**ok, "sample": "1.png", **FAULT}, {"sample": "2.png", "fault": "hang"})
    world.spec |= {"tasks": [task("shows")], "decode": {"workers": 1}}
    world.spec["engine"] |= {"stall_s": 1.0}
    assert "1 engine_error" in world.run()
    section = {"kind": "scripted", "recording": str(world.folder / "other.jsonl")}
    other.write_text(yaml.safe_dump({"engine": section}))
    write_recording(world.folder / "other.jsonl", {**ok, "delay_s": 30})
    asked_log.unlink()

    retry = world.start("retry", str(world.output), "--kind", "timeout", "--engine", str(other))
    world.wait_for(lambda: asked_log.exists())
    retry.kill()
    retry.wait()
    world.wait_for(lambda: not world.processes("Infer"))
    write_recording(world.folder / "other.jsonl", ok)
    printed = world.run("retry", str(world.output), "--kind", "timeout", "--engine", str(other))

    assert "1 rows are about to be asked for already" in printed
    assert len(asked_log.read_text().splitlines()) == 2  # by the retry that was killed, and by the one that finished it
    assert [(row["status"], row["attempt"]) for row in world.rows("shows")] == [
        ("ok", 1), ("engine_failed", 1), ("ok", 2), ("ok", 1), ("ok", 1), ("ok", 1)
    ]  # fmt: skip
    assert "no row is to be asked for again" in world.run("retry", str(world.output), "--kind", "timeout")
    refused = world.run("retry", str(world.output), "--where", "nosuch > 1", code=2)
    assert refused.count("\n") == 1
    assert (
        'sightread: the condition cannot be asked of rows of shows: Binder Error: Referenced column "nosuch"' in refused
    )
    world.nothing_left()

"""Tasks that do not ship, values for prompts, whole inputs, and reading again: all without Ray."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.demo_media import write_demo_media
from jobs.load import parse
from operators.checks.check_reply import check_reply
from operators.commit import Commit
from operators.infer.infer import Infer
from operators.infer.unit_request import UnitRequest
from operators.media.decode import Decode
from operators.media.full_input import LEAST_PAIR_TOKENS, frame_budget, page_tokens
from operators.media.probe import Probe
from operators.store.addresses import store_at
from operators.store.part_log import PartLog, PartName
from operators.store.view import View as StoredView
from pipelines import task_modules
from pipelines.catalogue import bind, find, identity
from pipelines.folder import JobFolder
from pipelines.job import Job, prepare
from pipelines.local import answer
from pipelines.planning import chunk_table, list_job
from pipelines.reparse import reparse
from schemas.errors import InvalidOutput, SpecError
from schemas.request import Completion, Picture
from schemas.spec import TaskSpec
from schemas.task import Unit, View
from tests.support.stored import begin
from tests.support.world import ROOT, write_image, write_pdf, write_recording

EXAMPLES = (ROOT / "docs/tasks.md").read_text(encoding="utf-8").split("## A task of your own")[1].split("\n## ")[0]


def spec_of(folder: Path, tasks: Any, inputs: Any, *replies: dict[str, Any], **sections: Any) -> dict[str, Any]:
    recording = write_recording(folder / "replies.jsonl", *replies)
    engine = {"kind": "scripted", "recording": str(recording), **sections.pop("engine", {})}
    return {
        "name": "own", "inputs": [str(path) for path in inputs], "tasks": tasks, "engine": engine,
        "output": str(folder / "out"), **sections,
    }  # fmt: skip


def rows_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return list(answer(prepare(parse(spec, "test"))))


def write_all(job: Job) -> None:
    """Answer a job of one chunk and commit it, without Ray."""
    probe, decode, ask = Probe(job.decode), Decode(job.decode), Infer(job.infer)
    try:
        Commit(job.output)(ask(decode(chunk_table(list_job(job).inputs, probe, job))))
    finally:
        for operator in (probe, decode, ask):
            operator.close()


def code(language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", EXAMPLES, re.DOTALL)
    assert isinstance(block, str)
    return block


def test_the_two_documented_ways_of_adding_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(EXAMPLES.strip().splitlines()) < 30
    (tmp_path / "colors.py").write_text(code("python"))
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("path,shop\na.png,Harbour Cafe\n")
    spec = spec_of(
        tmp_path,
        [*yaml.safe_load(code("yaml"))["tasks"], "colors:TASK"],
        [tmp_path / "list.csv"],
        {"sample": "*", "task": "receipt", "reply": 'The total:\n{"total": 7.5}'},
        {"sample": "*", "task": "color", "reply": "White."},
    )
    receipt, color = rows_of(spec)
    assert receipt["result"] == {"total": 7.5}
    assert json.loads(receipt["parameters"]) == {"shop": "Harbour Cafe"}
    assert receipt["verified"]["ok"]
    assert color["result"] == {"color": "white"}
    assert color["verified"]["ok"]


RECEIPT = {
    "name": "receipt",
    "prompt": "Read it.",
    "output": {
        "type": "object",
        "properties": {
            "total": {"type": "number"},
            "paid": {"type": ["boolean", "null"]},
            "items": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["total", "items"],
    },
}


@pytest.mark.parametrize(
    ("reply", "value", "cut"),
    [
        ('{"total": "1,234.50", "items": ["a"], "more": 1}', {"paid": None, "total": 1234.5, "items": ["a"]}, False),
        ('```json\n{"total": 1, "items": ["a", "b', {"paid": None, "total": 1, "items": ["a"]}, True),
        ("{'total': 1, 'items': [], 'paid': True,}", {"paid": True, "total": 1, "items": []}, False),
    ],
)
def test_an_inline_task_reads_what_can_be_read(reply: str, value: Any, cut: bool) -> None:
    task = bind(TaskSpec(**RECEIPT))
    assert task.constrained
    assert task.prompt.startswith("Read it.\n\nAnswer with JSON")
    parsed = task.parse(reply, None)
    assert (task.output.check(parsed.value), parsed.cut) == (value, cut)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({**RECEIPT, "name": "ocr"}, "is a task that ships"),
        ({**RECEIPT, "name": "../x"}, "cannot name a task"),
        ({**RECEIPT, "prompt": None}, "needs a `prompt:`"),
        ({"name": "receipt", "prompt": "Read it."}, "one of your own needs an `output:`"),
        ({**RECEIPT, "output": {"type": "string"}}, "say `type: object`"),
        ({**RECEIPT, "output": {"type": "object", "properties": {"a": {"type": "strin"}}}}, "not a JSON Schema"),
        ({**RECEIPT, "output": {"type": "object", "properties": {"a": {}}}}, "give one type"),
        ({"name": "ocr", "units": ["clip"]}, "only a task with an `output:`"),
        ({"name": "ocr", "parameters": {"query": "x"}}, "the prompt has no {query}; it takes none"),
        ({"name": "events", "zooms": 1}, "zooms: it is asked about no pages, pictures or screens"),
        (
            {"name": "no.such.module:TASK"},
            "No module named 'no'; it is looked for beside the spec, and where one stands",
        ),
        ({"name": "pipelines.tasks.ocr:parse"}, "is a function, not a schemas.task.Task"),
    ],
)
def test_a_wrong_task_gets_one_sentence(entry: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError, match=re.escape(sentence)):
        bind(TaskSpec(**entry))


def test_a_module_that_is_no_python_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_a_task.py").write_text("TASK = (")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("pipelines.task_modules._folders", [])
    with pytest.raises(SpecError, match=r"'half_a_task:TASK' cannot be imported: .*half_a_task.py, line 1"):
        bind(TaskSpec(name="half_a_task:TASK"))


def test_no_module_is_looked_for_where_one_stands_that_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("pipelines.task_modules._folders", [])
    assert bind(TaskSpec(name="pipelines.tasks.ocr:TASK")).name == "ocr"
    assert str(tmp_path) not in sys.path
    assert task_modules.folders() == []


def test_the_specs_sampling_stands_over_the_tasks_own() -> None:
    assert bind(TaskSpec(name="solve")).sampling.temperature == 1.0
    bound = bind(TaskSpec(name="solve", temperature=0.0, max_tokens=9)).sampling
    assert (bound.temperature, bound.top_k, bound.max_tokens) == (0.0, 20, 9)


def test_values_of_a_prompt() -> None:
    task = bind(TaskSpec(name="locate_moment", prompt="Find {query} on {day}, not {{this}} nor {1}."))
    assert task.required_parameters() == ("query", "day")
    assert task.requests({"query": "a dog", "day": 7, "other": 1}) == [{"query": "a dog", "day": 7}]
    assert task.requests({"query": ["a", None, "c"], "day": 7}) == [
        {"query": "a", "day": 7},
        None,
        {"query": "c", "day": 7},
    ]
    assert task.requests({"query": ["a", "b"], "day": ["x", "y", "z"]}) == [None]
    assert task.requests({"query": [], "day": 7}) == [None]
    assert task.requests({"query": " ", "day": 7}) == [None]
    numbers = task.requests({"query": [1.5, 2.5], "day": 7})  # a list of numbers is one value
    assert numbers == [{"query": [1.5, 2.5], "day": 7}]


def test_a_list_of_queries_is_a_row_each_and_braces_in_values_mean_nothing(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    table = pa.table({"path": ["a.png", "a.png"], "thing": pa.array([["a {thing}", "b", ""], None])})
    pq.write_table(table, tmp_path / "list.parquet")
    spec = spec_of(
        tmp_path,
        [{"name": "caption", "prompt": "Is there {thing}?"}],
        [tmp_path / "list.parquet"],
        {"sample": "*", "task": "caption", "reply": "answer {request}"},
    )
    rows = rows_of(spec)
    assert [(row["request_index"], row["status"], row["result"] and row["result"]["text"]) for row in rows] == [
        (0, "ok", "answer 0"),
        (1, "ok", "answer 1"),
        (2, "unreadable_input", None),
        (0, "unreadable_input", None),
    ]
    assert json.loads(rows[0]["parameters"]) == {"thing": "a {thing}"}
    assert rows[0]["thing"] == ["a {thing}", "b", ""]
    assert [row["error"] and row["error"]["kind"] for row in rows] == [None, None, "no_value", "no_value"]


def test_a_value_that_nobody_gives_is_refused_before_any_work(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    spec = spec_of(tmp_path, ["document_qa"], [tmp_path / "a.png"])
    with pytest.raises(SpecError, match=r"its prompt takes \{question\}: give a column 'question'"):
        rows_of(spec)


def test_budgets_of_whole_inputs() -> None:
    # 256K of context hold 350 pages at full size (docs/facts/qwen3-vl.md §2.6); 32K hold 35 pages, smaller
    assert page_tokens(350, 262_144) == 730
    assert page_tokens(35, 27_000) == 730
    assert page_tokens(100, 27_000) == 268  # 270 less the two marks of a picture
    assert page_tokens(2000, 27_000) == 64
    # two hours at 2 fps are 14400 frames: 2048 are looked at, and all of the context is used
    fps, tokens = frame_budget(7200, 2.0, 221_184 + 1024 * 9)
    assert fps == pytest.approx(2048 / 7200)
    assert tokens == 221_184
    # a short clip does not take more than 640 tokens a pair
    assert frame_budget(10, 2.0, 200_000) == (2.0, 10 * 640)
    fps, tokens = frame_budget(7200, 2.0, 27_000)
    assert tokens / (fps * 7200 / 2) >= LEAST_PAIR_TOKENS


def test_a_whole_document_and_a_whole_video_are_one_prompt_each(tmp_path: Path) -> None:
    media = tmp_path / "in"
    write_demo_media(media)
    write_pdf(media / "long.pdf", pages=40)
    (media / "bad.pdf").write_bytes(b"%PDF-1.4 nonsense")
    spec = spec_of(
        tmp_path,
        [
            {"name": "document_qa", "parameters": {"question": "What?"}, "max_tokens": 256},
            {"name": "video_qa", "parameters": {"question": "When?"}, "max_tokens": 256},
        ],
        [media],
        {"sample": "*", "task": "document_qa", "reply": "On pages 2-3 and [page 41]. Answer: 7"},
        {"sample": "*", "task": "video_qa", "reply": "At 00:05."},
        engine={"max_context": 6000},
    )
    rows = {Path(row["input_uri"]).name: row for row in rows_of(spec)}
    assert rows.keys() == {"lighthouse.pdf", "long.pdf", "bad.pdf", "clock.mp4"}
    assert (rows["bad.pdf"]["status"], rows["bad.pdf"]["unit_kind"]) == ("unreadable_input", "document")
    long = rows["long.pdf"]
    assert (long["page_count"], long["unit_index"], long["unit_count"]) == (40, 0, 1)
    assert long["result"]["pages"] == [2, 3, 41]
    assert long["verified"]["faults"] == ["no_page"]
    prompt = find("document_qa").prompt.replace("{question}", "What?")
    assert long["prompt_tokens"] == 40 + len(prompt.split())  # the fake counts a picture as one: no page is left out
    clock = rows["clock.mp4"]
    assert clock["result"]["spans"] == [{"start_s": 5.0, "end_s": 5.0}]
    assert clock["times_s"][0] == 0.0
    assert clock["times_s"][-1] > 11.0


def test_no_room_for_a_whole_document_is_said_before_any_work(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, ["document_qa"], [tmp_path], engine={"max_context": 4096})
    with pytest.raises(SpecError, match=r"engine.max_context: 4096 tokens leave no room"):
        prepare(parse(spec, "test"))


def test_raw_replies_are_read_again_without_engine_or_inputs(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")
    spec = spec_of(
        tmp_path,
        ["ocr_spotting"],
        [tmp_path / "a.png", tmp_path / "b.png"],
        {"sample": "a.png", "task": "*", "reply": '[{"bbox_2d": [0, 0, 999, 999], "text_content": "Sign"}'},
        {"sample": "b.png", "task": "*", "reply": "see above"},
    )
    job = prepare(parse(spec, "test"))
    store = store_at(job.output)
    begin(store, job.definitions, job.spec.model_dump(mode="json"))
    write_all(job)
    (part,) = (Path(job.output) / "results" / "task=ocr_spotting").glob("*.parquet")
    right = pq.read_table(part)
    assert [row["status"] for row in right.to_pylist()] == ["ok", "invalid_output"]
    assert right.to_pylist()[0]["verified"]["faults"] == ["cut"]
    chunk_id = right.to_pylist()[0]["chunk_id"]
    spoilt = [
        {**row, "status": "invalid_output", "result": None, "verified": {**row["verified"], "faults": []}}
        for row in right.to_pylist()
    ]
    log, view = PartLog(store), StoredView(store)
    log.revise(log.read(PartName("ocr_spotting", chunk_id)), pa.Table.from_pylist(spoilt, schema=right.schema))
    assert view.publish("ocr_spotting", 0)
    assert [row["status"] for row in pq.read_table(part).to_pylist()] == ["invalid_output"] * 2
    for path in (tmp_path / "replies.jsonl", tmp_path / "a.png", tmp_path / "b.png"):
        path.unlink()
    specs = {task: parse(spec, "the spec") for task, spec in JobFolder(store).specs().items()}
    part.unlink()  # as a run leaves it that is killed before it publishes
    (total,) = reparse(store, specs)
    assert (total.rows, total.changed) == (2, 1)  # the other cannot be read today either
    assert total.before == {"ok": 0, "unsure": 0, "doubtful": 0, "failed": 2}
    assert total.after == {"ok": 0, "unsure": 0, "doubtful": 1, "failed": 1}
    assert pq.read_table(part).to_pylist() == right.to_pylist()
    assert pq.read_schema(part).metadata[b"sightread"]
    (total,) = reparse(store, specs)
    assert total.changed == 0


def test_reasoning_is_kept_in_its_own_column_on_request_and_counted_always() -> None:
    view = View("image", 0, 64, 64)
    for asked in (False, True):
        task = bind(TaskSpec(name="caption", reasoning=asked))
        unit_request = UnitRequest(task, Unit(view, Picture(64, 64, b"")), {}, "r", {})
        conversation = unit_request.conversation
        assert conversation is not None
        (request,) = conversation.next()
        conversation.receive(
            request, Completion("A cat.", "stop", 1, 9, 0.1, reasoning="ears, \udce9", reasoning_tokens=6)
        )
        assert conversation.next() == ()
        row = unit_request.columns(None)
        assert (row["text"], row["output_tokens"], row["reasoning_tokens"]) == ("A cat.", 9, 6)
        assert row["reasoning"] == ("ears, ?" if asked else None)
    unmatched, keeping = (identity(bind(TaskSpec(name="caption", reasoning=asked))) for asked in (False, True))
    assert unmatched != keeping


def test_reasoning_that_the_engine_parted_from_the_answer_reaches_the_row() -> None:
    view = View("image", 0, 64, 64)
    for name, reasoning in (("solve", "six times seven"), ("caption", None)):
        task = find(name)
        unit_request = UnitRequest(task, Unit(view, Picture(64, 64, b"")), {}, "r", {})
        conversation = unit_request.conversation
        assert conversation is not None
        (request,) = conversation.next()
        conversation.receive(request, Completion("It is \\boxed{42}.", "stop", 1, 9, 0.1, reasoning="six times seven"))
        assert conversation.next() == ()
        row = unit_request.columns(None)
        assert row["status"] == "ok"
        assert row["result"].get("thinking") == reasoning
        assert ("six times seven" in row["text"]) == (reasoning is not None)
    assert find("solve").parse("<think>six times seven</think>\n\nIt is \\boxed{42}.", view)["answer"] == "42"


AMOUNT = {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}


def total_of(reply: str, **hint: str) -> Any:
    schema = {**AMOUNT, "properties": {"total": {"type": "number", **hint}}}
    task = bind(TaskSpec(name="receipt", prompt="Read the total.", output=schema, units=("page",)))
    assert "decimal" not in json.dumps(task.output.schema) + task.prompt  # engines know no such keyword
    parsed = task.parse(reply, View("page", 0, 10, 10))
    return parsed.value["total"]


@pytest.mark.parametrize(
    ("text", "hint", "number"),
    [
        ("295.00", {}, 295.0),
        ("295,00", {}, 295.0),
        ("1,295.00", {}, 1295.0),
        ("1.295,00", {}, 1295.0),
        ("1.295.000", {}, 1295000.0),
        ("1 295,50 €", {}, 1295.5),
        ("CHF 1'295.50", {}, 1295.5),
        ("-7", {}, -7.0),
        ("1e3", {}, 1000.0),
        # one mark before three digits may be either
        ("1,295", {}, 1295.0),
        ("1.295", {}, 1.295),
        ("1,295", {"decimal": ","}, 1.295),
        ("1.295", {"decimal": ","}, 1295.0),
        ("1,295", {"decimal": "."}, 1295.0),
        # what is none in that locale, or none at all
        ("295.00", {"decimal": ","}, "295.00"),
        ("1,295,00", {}, "1,295,00"),
        ("12.03.2024", {}, "12.03.2024"),
        ("about 7", {}, "about 7"),
    ],
)
def test_numbers_in_any_locale(text: str, hint: dict[str, str], number: Any) -> None:
    assert total_of(json.dumps({"total": text}), **hint) == number


def test_another_decimal_mark_is_refused() -> None:
    with pytest.raises(SpecError, match=r"receipt: output\.total: decimal: write"):
        total_of("{}", decimal="_")


@pytest.mark.parametrize(
    ("reply", "cut", "reason"),
    [
        ('{"total": ', False, "the reply is cut off before its JSON object ends"),
        ('{"tot', False, "the reply is cut off before its JSON object ends"),
        ('{"shop": "Harbor", "total"', False, "the reply is cut off; $: 'total' is a required property"),
        ('{"shop": "Harbor", "total"', True, "the reply ends at its max_tokens; $: 'total' is a required property"),
        ("There is no total.", False, "the reply holds no JSON object"),
    ],
)
def test_a_reply_that_is_cut_is_told_as_such(reply: str, cut: bool, reason: str) -> None:
    task = bind(TaskSpec(name="receipt", prompt="Read the total.", output=AMOUNT, units=("page",)))
    view = View("page", 0, 10, 10)
    try:
        parsed: Any = task.parse(reply, view)
    except InvalidOutput as error:
        parsed = error
    failure = check_reply(task, view, reply, parsed, cut=cut).failure
    assert failure is not None
    assert failure.message == reason


def test_a_key_that_may_be_absent_is_no_change(tmp_path: Path) -> None:
    """A Parquet struct has every field, so an absent one is null there."""
    write_image(tmp_path / "a.png")
    schema = {"type": "object", "properties": {"total": {"type": "number"}, "tip": {"type": "number"}}}
    task = {"name": "receipt", "prompt": "Read.", "output": schema}
    spec = spec_of(
        tmp_path, [task], [tmp_path / "a.png"], {"sample": "*", "task": "receipt", "reply": '{"total": 7.5}'}
    )
    job = prepare(parse(spec, "test"))
    store = store_at(job.output)
    begin(store, job.definitions, job.spec.model_dump(mode="json"))
    write_all(job)
    (total,) = reparse(store, {"receipt": job.spec})
    assert (total.rows, total.changed, total.after["unsure"]) == (1, 0, 1)

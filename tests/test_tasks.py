"""Every shipped spec of a task end to end: all their tasks in one job, through the real command, real Ray and real
Parquet, with the scripted engine. One job that all tests look at, because starting Ray is what takes the time; whatever
does not need it is tested elsewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars
import pytest
import yaml
from PIL import Image

from jobs.demo_media import write_demo_media
from jobs.load import load
from operators.code_check.render_page import missing
from pipelines.catalogue import bind, find, names
from schemas import tables
from schemas.output import Output
from schemas.task import Task, View
from tests.support.world import ROOT, World, opened, write_image, write_recording

# the job takes half a minute alone, minutes beside other work
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SPECS = ROOT / "jobs" / "specs"


def read_color(text: str, view: View) -> dict[str, Any]:
    return {"colour": text.strip().lower()}


OWN = Task(
    name="colour",
    summary="the colour of most of a picture",
    unit_kinds=("image",),
    prompt="Which colour is this?",
    output=Output({"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}),
    parse=read_color,
)

REPLIES: dict[str, str] = {
    "ocr": "Opening hours and prices",
    "ocr_spotting": '```json\n[{"bbox_2d": [0, 0, 999, 999], "text_content": "HARBOUR"}]\n```',
    "parse_document": '<body><h1 data-bbox="0 0 1000 100">Prices</h1><table><tr><td>7</td></tr></table></body>',
    "caption": "A  sign.",
    "caption_dense": "A sign.\n\nIt is white.",
    "caption_structured": '{"summary": "A sign.", "objects": [{"name": "sign", "description": "white"}]}',
    "events": '{"00:01.00 - 00:02.50": "a hand moves", "00:03.00 - 00:04.00": "it stops"}',
    "document_qa": "It says so on [page 2].\nAnswer: $7.50",
    "gui_elements": '[{"bbox_2d": [0, 0, 1000, 500], "role": "button", "text": "Go", "clickable": true}]',
    "gui_action": 'Action: "I pressed it"\n<tool_call>\n{"name": "computer_use", "arguments": '
    '{"action": "left_click", "coordinate": [500, 250]}}\n</tool_call>',
    "gui_episode": '<tool_call>\n{"name": "mobile_use", "arguments": {"action": "click", "coordinate": [999, 0]}}\n'
    "</tool_call>",
    "solve": "<think>4?</think>So \\boxed{4}.",
    "text": "Bonjour",
    "ground_2d": '[{"bbox_2d": [0, 500, 1000, 1000], "label": "car"}, }, {"point_2d": [500, 250], "label": "person"}]',
    "recognize": '```json\n[{"bbox_2d": [0, 0, 500, 500], "name_zh": "米饭", "name_en": "Rice"}]\n```',
    "ground_video": '[{"time": 1.0, "bbox_2d": [0, 0, 500, 500], "label": "a hand"}]',
    "ground_3d": '[{"bbox_3d": [0, 0, 4, 1, 1, 2, 0, 0, 0.5], "label": "crate"}]',
    "receipt": 'Here:\n```json\n{"shop": "Cafe", "total": "7.50", "items": [{"name": "roll"},]}\n```',
    "colour": "WHITE",
    "code_html": "```html\n<!DOCTYPE html>\n<html><body><h1>Opening hours</h1></body></html>\n```",
    "code_svg": '```svg\n<svg xmlns="http://www.w3.org/2000/svg"><circle r="9"/></svg>\n```',
    "code_drawio": '```xml\n<mxGraphModel><root><mxCell id="0"/><mxCell id="1" parent="7"/></root></mxGraphModel>\n```',
    "code_chart": "```python\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\n```",
}
MARKDOWN = "# Prices\n\n| 7 |\n| --- |"
ZOOM = (
    '<tool_call>\n{"name": "image_zoom_in_tool", "arguments": '
    '{"bbox_2d": [0, 0, 100, 100], "label": "it", "img_idx": 0}}\n</tool_call>'
)


ROWS = {
    # 3 pages, 3 pictures, 2 screens of an episode
    **dict.fromkeys(("ocr", "ocr_spotting", "parse_document", "receipt", "solve"), 8),
    **dict.fromkeys(("caption", "caption_dense", "caption_structured"), 6),  # 5 pictures, 1 clip
    **dict.fromkeys(("gui_elements", "gui_action"), 5),
    **dict.fromkeys(("events", "locate_moment", "document_qa", "gui_episode", "ground_video"), 1),
    "ground_2d": 16,  # boxes, and points
    **dict.fromkeys(("recognize", "ground_3d"), 5),
    "spatial": 10,  # two questions
    "video_qa": 2,  # two questions
    "text": 2,
    "colour": 5,
    "code_html": 9,
    **dict.fromkeys(("code_svg", "code_drawio", "code_chart"), 8),
}

Row = dict[str, Any]


def shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(SPECS.glob("*.yaml")) if path.stem != "demo"}


@dataclass(frozen=True)
class Job:
    """The one job, done."""

    world: World

    @cached_property
    def rows(self) -> dict[str, list[Row]]:
        """Of each task, by input, unit and request."""
        return {task: self.rows_of(task) for task in ROWS}

    def rows_of(self, task: str) -> list[Row]:
        return self.world.query(f"select * from '{self.parts_of(task)}' order by input_uri, unit_index, request_index")

    def parts_of(self, task: str) -> str:
        return f"{self.world.output}/results/task={task}/*.parquet"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    with opened(tmp_path_factory.mktemp("tasks")) as world:
        write_demo_media(world.inputs)
        moments = world.folder / "moments.csv"
        moments.write_text(
            "path,question,query,shelf\nin/clock.mp4,,a hand,7\nin/lighthouse.pdf,What is a ticket?,,8\n"
        )
        for number in (1, 2):
            (world.folder / "walk").mkdir(exist_ok=True)
            write_image(world.folder / "walk" / f"{number}.png", f"Step {number}")
        screens = world.folder / "screens.csv"
        box = '[{""bbox_px"": [0, 0, 9, 9]}]'
        screens.write_text(
            f'path,instruction,elements\nin/sign.png,Press it,"{box}"\nin/shapes.jpg,Press it,\n'
            "in/ticket.png,Press it,\nwalk,Walk on,\n"
        )
        prompts = world.folder / "prompts.csv"
        prompts.write_text("prompt,shelf\nSay hello in French.,9\n,10\n")
        entries = [entry for path in shipped().values() for entry in yaml.safe_load(path.read_text())["tasks"]]
        world.spec |= {
            "inputs": [str(moments), str(screens), str(prompts), str(world.inputs)],
            "types": {"shelf": "int"},
            "tasks": [*entries, "tests.test_tasks:OWN"],
            "decode": {"image_max_tokens": 256, "video_max_tokens": 512, "video_fps": 1},
        }
        write_recording(
            world.recording,
            *({"sample": "*", "task": task, "reply": reply} for task, reply in REPLIES.items()),
            {"sample": "*", "task": "spatial", "request": 0, "reply": "Answer: B"},
            {"sample": "*", "task": "spatial", "request": 1, "reply": '[{"point_2d": [500, 250], "label": "point_1"}]'},
            {"sample": "sign.png", "task": "gui_elements", "step": 0, "reply": ZOOM},
            {"sample": "*", "task": "locate_moment", "reply": "3.0 - 99.5 seconds"},
            {"sample": "*", "task": "video_qa", "request": 0, "reply": "A clock, from 00:00 to 00:11. Answer: a clock"},
            {"sample": "*", "task": "video_qa", "request": 1, "reply": "No, nobody is hurt."},
        )
        world.run(timeout_s=600)
        yield Job(world)


def test_every_task_has_a_spec_that_can_be_read() -> None:
    assert {*names(), "custom"} <= shipped().keys()
    for name, path in shipped().items():
        (task,) = (bind(entry) for entry in load(path).tasks)
        assert task.name == ("receipt" if name == "custom" else name)


def test_every_task_has_its_rows_counted() -> None:
    assert ROWS.keys() == {*names(), "receipt", "colour"}


@pytest.mark.parametrize("task", ROWS)
def test_each_unit_is_a_row_that_did_not_fail(job: Job, task: str) -> None:
    assert len(job.rows[task]) == ROWS[task]
    failed = [(row["input_uri"], row["error"]["kind"]) for row in job.rows[task] if row["status"] != "ok"]
    # a line of the table has no prompt
    assert failed == ([(f"{job.world.folder / 'prompts.csv'}#1", "no_value")] if task == "text" else [])


@pytest.mark.parametrize("task", ROWS)
def test_duckdb_and_polars_read_the_documented_columns_alike(job: Job, task: str) -> None:
    documented = tables.results_schema(find("ocr").output.arrow_type, []).names
    frame = polars.read_parquet(job.parts_of(task), hive_partitioning=False)
    described = job.world.query(f"describe select * from read_parquet('{job.parts_of(task)}', hive_partitioning=false)")
    columns = [row["column_name"] for row in described]
    assert columns == frame.columns
    assert [name for name in columns if name in documented] == documented
    assert {"question", "query", "instruction", "prompt", "shelf"} <= set(columns)
    # the result in the task's own type
    fields = {field.name for field in frame.schema["result"].fields}  # type: ignore[attr-defined]
    written_out = {"receipt": {"shop", "total", "items"}, "colour": {"colour"}}
    assert fields == (written_out.get(task) or set(find(task).output.schema["properties"]))


def test_the_job_is_complete_and_left_nothing_running(job: Job) -> None:
    audits = json.loads((job.world.output / "_job" / "summary.json").read_text())["tasks"]
    assert {task: (audit["rows"], audit["missing"], audit["duplicate"]) for task, audit in audits.items()} == {
        task: (count, 0, 0) for task, count in ROWS.items()
    }
    job.world.nothing_left()


# what each task makes of its reply


def test_ocr(job: Job) -> None:
    row = job.rows["ocr"][0]
    assert row["result"] == {"text": "Opening hours and prices", "script": "Latin", "lines": None}
    assert row["verified"]["faults"] == ["text_layer"]
    assert [attempt["note"] for attempt in row["attempts"]][:2] == ["", "enlarged"]


def test_ocr_spotting(job: Job) -> None:
    row = job.rows["ocr_spotting"][0]
    box_px = [0.0, 0.0, float(row["width_px"]), float(row["height_px"])]
    assert row["result"]["lines"] == [{"text": "HARBOUR", "bbox_px": box_px}]


def test_parse_document(job: Job) -> None:
    assert job.rows["parse_document"][0]["result"]["markdown"] == MARKDOWN


def test_caption(job: Job) -> None:
    assert job.rows["caption"][0]["result"] == {"text": "A sign."}
    assert job.rows["caption"][0]["verified"]["code_check"] is None


def test_caption_dense(job: Job) -> None:
    assert job.rows["caption_dense"][0]["result"] == {"text": "A sign.\n\nIt is white."}


def test_caption_structured(job: Job) -> None:
    objects = job.rows["caption_structured"][0]["result"]["objects"]
    assert objects == [{"name": "sign", "description": "white"}]


def test_events(job: Job) -> None:
    assert job.rows["events"][0]["result"]["events"][1] == {"start_s": 3.0, "end_s": 4.0, "text": "it stops"}


def test_locate_moment(job: Job) -> None:
    (row,) = job.rows["locate_moment"]
    assert row["result"] == {"start_s": 3.0, "end_s": 99.5}
    assert (row["verified"]["faults"], row["shelf"]) == (["span_outside"], 7)
    assert json.loads(row["parameters"]) == {"query": "a hand"}


def test_document_qa(job: Job) -> None:
    (row,) = job.rows["document_qa"]
    assert (row["unit_kind"], row["page_count"], row["shelf"]) == ("document", 3, 8)
    assert row["result"] == {"answer": REPLIES["document_qa"], "short_answer": "$7.50", "pages": [2]}
    assert row["verified"]["ok"]


def test_video_qa(job: Job) -> None:
    about, hurt = job.rows["video_qa"]
    assert (about["unit_kind"], about["request_index"], about["start_s"], about["end_s"]) == ("video", 0, 0.0, 12.0)
    assert len(about["times_s"]) == 12
    assert about["result"]["spans"] == [{"start_s": 0.0, "end_s": 11.0}]
    assert json.loads(hurt["parameters"]) == {"question": "Is anybody hurt, and when?"}
    assert hurt["verified"]["faults"] == ["not_cited"]


def test_gui_action(job: Job) -> None:
    rows = {Path(row["input_uri"]).name: row for row in job.rows["gui_action"]}
    sign = rows["sign.png"]
    assert sign["result"]["point_px"] == [sign["width_px"] / 2, sign["height_px"] / 4]
    assert (sign["result"]["action"], sign["result"]["description"]) == ("left_click", "I pressed it")
    assert (sign["verified"]["faults"], rows["ticket.png"]["verified"]["faults"]) == (["not_on_element"], [])


def test_gui_elements(job: Job) -> None:
    row = next(row for row in job.rows["gui_elements"] if Path(row["input_uri"]).name == "sign.png")
    assert row["result"]["elements"][0]["bbox_px"] == [0.0, 0.0, float(row["width_px"]), row["height_px"] / 2]
    assert [attempt["note"] for attempt in row["attempts"]] == ["", "zoom 0 0 64 36 px"]


def test_gui_episode(job: Job) -> None:
    (row,) = job.rows["gui_episode"]
    assert (row["unit_kind"], row["page_count"], Path(row["input_uri"]).name) == ("episode", 2, "walk")
    assert [step["action"]["point_px"] for step in row["result"]["steps"]] == [[320.0, 0.0]] * 2
    assert len(row["attempts"]) == 2


def test_solve(job: Job) -> None:
    assert job.rows["solve"][0]["result"]["answer"] == "4"


def test_text(job: Job) -> None:
    row = job.rows["text"][0]
    assert row["result"] == {"text": "Bonjour", "thinking": None}
    assert row["shelf"] == 9


def test_ground_2d(job: Job) -> None:
    boxes, points = job.rows["ground_2d"][:2]
    assert [json.loads(row["parameters"]) for row in (boxes, points)] == [
        {"phrases": ["person", "car"], "coordinates": kind} for kind in ("bbox", "point")
    ]
    width, height = boxes["width_px"], boxes["height_px"]
    assert boxes["result"]["objects"] == [
        {"label": "car", "bbox_px": [0, height / 2, width, height], "point_px": None, "attributes": []},
        {"label": "person", "bbox_px": None, "point_px": [width / 2, height / 4], "attributes": []},
    ]


def test_recognize(job: Job) -> None:
    objects = job.rows["recognize"][0]["result"]["objects"]
    assert objects[0]["names"] == [{"language": "zh", "name": "米饭"}, {"language": "en", "name": "Rice"}]


def test_ground_video(job: Job) -> None:
    (row,) = job.rows["ground_video"]
    assert row["result"]["boxes"] == [
        {"label": "a hand", "frame_index": 1, "time_s": row["times_s"][1],
         "bbox_px": [0, 0, row["width_px"] / 2, row["height_px"] / 2]},
    ]  # fmt: skip


def test_spatial(job: Job) -> None:
    chosen, free = job.rows["spatial"][:2]
    result = chosen["result"]
    assert (result["choice"], result["choice_text"], chosen["verified"]["ok"]) == ("B", "above", True)
    assert free["result"]["objects"][0]["point_px"] == [free["width_px"] / 2, free["height_px"] / 4]


def test_ground_3d(job: Job) -> None:
    row = job.rows["ground_3d"][0]
    camera = row["result"]["camera"]
    assert camera["source"] == "field_of_view"
    assert camera["fx_px"] == round(row["width_px"] / 2 / math.tan(math.radians(30)), 2)
    (box,) = row["result"]["boxes"]
    assert box["rotation_rad"] == [0, 0, math.pi / 2]
    # its nearest face at 3 m reaches half a metre to each side
    assert box["bbox_px"][0] == pytest.approx(camera["cx_px"] - camera["fx_px"] / 6)
    assert row["verified"]["ok"]


def test_receipt_a_task_written_out_in_the_spec(job: Job) -> None:
    items = [{"name": "roll", "price": None}]
    assert job.rows["receipt"][0]["result"] == {"shop": "Cafe", "total": 7.5, "items": items}


def test_colour_a_task_from_another_module(job: Job) -> None:
    assert job.rows["colour"][0]["result"] == {"colour": "white"}


def checks(job: Job, task: str) -> list[dict[str, Any]]:
    """What was seen of the code, once over all committed rows."""
    return [row["verified"]["code_check"] for row in job.rows[task]]


def test_code_chart(job: Job) -> None:
    assert job.rows["code_chart"][0]["result"] == {"code": "import matplotlib.pyplot as plt\nplt.plot([1, 2])\n"}
    assert {check["outcome"] for check in checks(job, "code_chart")} == {"read"}
    assert checks(job, "code_chart")[0]["imports"] == ["matplotlib.pyplot"]


def test_code_drawio(job: Job) -> None:
    assert {check["outcome"] for check in checks(job, "code_drawio")} == {"read"}
    assert checks(job, "code_drawio")[0]["unresolved"] == ["7"]
    assert job.rows["code_drawio"][0]["verified"]["faults"] == ["unresolved_id"]


@pytest.mark.parametrize("task", ["code_html", "code_svg"])
def test_code_html_and_svg(job: Job, task: str) -> None:
    pages = checks(job, task)
    if missing() is not None:
        assert {check["outcome"] for check in pages} == {"no_browser"}
        return
    assert {check["outcome"] for check in pages} == {"shown"}
    if task == "code_html":
        assert job.rows[task][0]["verified"]["ok"]
    assert len({check["screenshot"] for check in pages}) == len(pages) == ROWS[task]
    for check in pages:
        with Image.open(job.world.output / check["screenshot"]) as picture:
            assert picture.size == (check["width_px"], check["height_px"])
        assert 0 <= check["ssim"] <= 1
    if task == "code_html":  # the circle of the SVG has no words
        assert any(check["score"] is not None for check in pages)


# what the other commands make of it


def test_markdown(job: Job) -> None:
    paths = job.world.run("markdown", str(job.world.output)).splitlines()
    assert len(paths) == 5
    (document,) = (Path(path) for path in paths if "lighthouse" in path)
    assert document.read_text() == "\n\n".join([MARKDOWN] * 3) + "\n"


def test_overlay(job: Job) -> None:
    (drawn,) = job.world.run("overlay", str(job.world.output), "--task", "ground_video").splitlines()
    assert Path(drawn).name.startswith("clock-")
    assert drawn.endswith("-0-frame1.png")
    with Image.open(drawn) as picture:
        assert picture.size[0] >= 64


def test_the_same_command_again_does_nothing(job: Job) -> None:
    assert "nothing to do" in job.world.run()


def test_reparse_reads_the_raw_replies_again_without_an_engine(job: Job) -> None:
    away = job.world.recording.rename(job.world.folder / "away.jsonl")
    try:
        printed = job.world.run("reparse", str(job.world.output))
    finally:
        away.rename(job.world.recording)
    assert "receipt: 8 rows, 0 changed; ok 0, unsure 8, doubtful 0, failed 0\n" in printed
    assert {task: job.rows_of(task) for task in ROWS} == job.rows

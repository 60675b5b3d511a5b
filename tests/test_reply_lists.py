"""Lists of things in every form that a model was seen to write them in, or may, read right. The replies are of our own
making; a reader of one form reads it for all tasks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.read_replies import AROUND, KEYS, READS, checked

BOX, OTHER = [275.0, 227.0, 899.0, 688.0], [10.0, 20.0, 30.0, 40.0]


SPACE = [0.5, 0.25, 4.0, 1.0, 2.0, 3.0, 0.0, 0.0, 0.5]


B = "[275, 227, 899, 688]"


SMALL = "[10, 20, 30, 40]"


RIGHT: list[tuple[str, str, list[Any]]] = [
    # the key of the place
    *(
        ("ground_2d", f'```json\n[{{"{key}": {B}, "label": "mug"}}]\n```', [("mug", BOX)])
        for key in (
            "box",
            "bounding_box",
            "boundingBox",
            "Bounding Box",
            "bbox",
            "coordinates",
            "rect",
            "region",
            "xyxy",
        )
    ),
    # the key of the list
    *(
        (
            "ground_2d",
            f'{{"{key}": [{{"bbox_2d": {B}, "label": "mug"}}, {{"bbox_2d": {SMALL}, "label": "jug"}}]}}',
            [("mug", BOX), ("jug", OTHER)],
        )
        for key in ("objects", "detections", "results", "mugs and jugs", "bbox_2d", "data", "答案")
    ),
    (
        "ground_2d",
        f'{{"image": {{"width": 640, "height": 480}}, "count": 1, "objects": [{{"bbox": {B}, "label": "mug"}}]}}',
        [("mug", BOX)],
    ),
    # bare
    ("ground_2d", B, [(None, BOX)]),
    ("ground_2d", f"[{B}, {SMALL}]", [(None, BOX), (None, OTHER)]),
    ("ground_2d", f"The mug is here:\n```json\n{B}\n```", [(None, BOX)]),
    ("ground_2d", f'[["mug", {B}], ["jug", {SMALL}]]', [("mug", BOX), ("jug", OTHER)]),
    ("ground_2d", '[["mug", 275, 227, 899, 688], [10, 20, 30, 40, "jug"]]', [("mug", BOX), ("jug", OTHER)]),
    ("ground_2d", f'{{"mug": {B}, "jug": [{SMALL}, {B}]}}', [("mug", BOX), ("jug", OTHER), ("jug", BOX)]),
    ("ground_2d", f'{{"mug": {{"bbox_2d": {B}}}, "jug": [{{"box": {SMALL}}}]}}', [("mug", BOX), ("jug", OTHER)]),
    ("ground_2d", f'[{{"label": "mug", "bbox_2d": [{B}, {SMALL}]}}]', [("mug", BOX), ("mug", OTHER)]),
    ("ground_2d", f'[{{"label": "mug", "boxes": [{B}, {SMALL}]}}]', [("mug", BOX), ("mug", OTHER)]),
    (
        "ground_2d",
        f'{{"category": "mug", "instances": [{{"box": {B}}}, {{"box": {SMALL}}}]}}',
        [("mug", BOX), ("mug", OTHER)],
    ),
    ("ground_2d", f'{{"bboxes": [{B}], "labels": "mug"}}', [(None, BOX)]),
    # the form of the place
    ("ground_2d", '[{"bbox_2d": "275, 227, 899, 688", "label": "mug"}]', [("mug", BOX)]),
    ("ground_2d", f'[{{"bbox_2d": "{B}", "label": "mug"}}]', [("mug", BOX)]),
    ("ground_2d", '[{"bbox_2d": "(275,227),(899,688)", "label": "mug"}]', [("mug", BOX)]),
    ("ground_2d", '[{"bbox_2d": [[275, 227], [899, 688]], "label": "mug"}]', [("mug", BOX)]),
    ("ground_2d", '[{"bbox": {"x1": 275, "y1": 227, "x2": 899, "y2": 688}, "label": "mug"}]', [("mug", BOX)]),
    ("ground_2d", '[{"bbox": {"x": 275, "y": 227, "width": 624, "height": 461}, "label": "mug"}]', [("mug", BOX)]),
    ("ground_2d", '[{"label": "mug", "xmin": 275, "ymin": 227, "xmax": 899, "ymax": 688}]', [("mug", BOX)]),
    ("ground_2d", '{"label": "mug", "top_left": [275, 227], "bottom_right": [899, 688]}', [("mug", BOX)]),
    ("ground_2d", '[{"bbox_2d": [0.275, 0.227, 0.899, 0.688], "label": "mug"}]', [("mug", BOX)]),
    ("ground_2d", f'[{{"where": {B}, "label": "mug"}}]', [("mug", BOX)]),
    # points
    ("ground_2d", "[[500, 300], [20, 40]]", [(None, [500, 300]), (None, [20, 40])]),
    ("ground_2d", '[{"point": [500, 300], "label": "spout"}]', [("spout", [500, 300])]),
    ("ground_2d", '{"points": [[500, 300], [20, 40]]}', [(None, [500, 300]), (None, [20, 40])]),
    ("ground_2d", '[{"x": 500, "y": 300, "label": "spout"}]', [("spout", [500, 300])]),
    ("ground_2d", '[{"point_2d": {"x": 500, "y": 300}, "label": "spout"}]', [("spout", [500, 300])]),
    (
        "ground_2d",
        '<points x1="500" y1="300" x2="20" y2="40" alt="spout">spout</points>',
        [("spout", [500, 300]), ("spout", [20, 40])],
    ),
    # other notations
    ("ground_2d", "[{'bbox_2d': [275, 227, 899, 688], 'label': 'mug'}]", [("mug", BOX)]),
    ("ground_2d", "[('mug', (275, 227, 899, 688))]", [("mug", BOX)]),
    ("ground_2d", f"[{B}, {SMALL},]", [(None, BOX), (None, OTHER)]),
    ("ground_2d", json.dumps(f'[{{"bbox_2d": {B}, "label": "mug"}}]'), [("mug", BOX)]),
    (
        "ground_2d",
        f'{{"bbox_2d": {B}, "label": "mug"}}\n{{"bbox_2d": {SMALL}, "label": "jug"}}',
        [("mug", BOX), ("jug", OTHER)],
    ),
    ("ground_2d", "<ref>mug</ref><box>(275,227),(899,688)</box>", [("mug", BOX)]),
    (
        "ground_2d",
        "<|object_ref_start|>mug<|object_ref_end|><|box_start|>(275,227),(899,688)<|box_end|>",
        [("mug", BOX)],
    ),
    ("ground_2d", f"- **mug**: {B}\n- **jug**: {SMALL}", [("mug", BOX), ("jug", OTHER)]),
    ("ground_2d", f"The bounding box of the mug is {B}.", [(None, BOX)]),
    ("ground_2d", "1. mug: x1=275, y1=227, x2=899, y2=688", [("mug", BOX)]),
    ("ground_2d", f"| label | bbox_2d |\n|---|---|\n| mug | {B} |\n| jug | {SMALL} |", [("mug", BOX), ("jug", OTHER)]),
    (
        "ground_2d",
        "| Object | x1 | y1 | x2 | y2 |\n|---|---|---|---|---|\n| mug | 275 | 227 | 899 | 688 |",
        [("mug", BOX)],
    ),
    ("ground_2d", f'I cannot be sure, but here is my estimate:\n[{{"bbox_2d": {B}, "label": "mug"}}]', [("mug", BOX)]),
    ("ground_2d", f'There are no jugs, only a mug: [{{"bbox_2d": {B}, "label": "mug"}}]', [("mug", BOX)]),
    ("ground_2d", f'物体检测结果如下[1]：\n```json\n[{{"bbox_2d": {B}, "label": "杯子"}}]\n```', [("杯子", BOX)]),
    ("spatial", f"It is on the left [1].\n```json\n[{B}]\n```", [(None, BOX)]),
    ("spatial", "Between 2 and 4 [2, 4], I think.", []),
    # names and places apart
    ("ground_2d", f'{{"bboxes": [{B}, {SMALL}], "labels": ["mug", "jug"]}}', [("mug", BOX), ("jug", OTHER)]),
    ("ground_2d", f'{{"boxes": [{B}], "categories": ["mug"]}}', [("mug", BOX)]),
    ("ground_2d", f'{{"mug_1": {{"box": {B}}}, "mug_2": {{"box": {SMALL}}}}}', [("mug_1", BOX), ("mug_2", OTHER)]),
    ("ground_2d", f"{B} mug\n{SMALL} jug", [("mug", BOX), ("jug", OTHER)]),
    (
        "ground_2d",
        f"- label: mug\n  bbox_2d: {B}\n- label: jug\n  bbox_2d: {SMALL}",
        [("mug", BOX), ("jug", OTHER)],
    ),
    ("ground_2d", f"1. **Mug**\n   - Bbox: {B}\n2. **Jug**\n   - Bbox: {SMALL}", [("Mug", BOX), ("Jug", OTHER)]),
    ("ground_2d", f"bbox_2d={B}, label=mug", [("mug", BOX)]),
    ("ground_2d", f"Two of them. First mug: {B}. Second mug: {SMALL}.", [("First mug", BOX), ("Second mug", OTHER)]),
    ("ground_2d", f"图中有2个杯子，如下：\n- 杯子1：{B}\n- 杯子2：{SMALL}", [("杯子1", BOX), ("杯子2", OTHER)]),
    (
        "ground_2d",
        "<|object_ref_start|>the mug of the cook<|object_ref_end|><|box_start|>(275,227),(899,688)<|box_end|>",
        [("the mug of the cook", BOX)],
    ),
    ("ground_2d", f'[{{"label": "mug" "bbox_2d": {B}}}]', [("mug", BOX)]),
    ("ground_2d", "Mug — top-left (275, 227), bottom-right (899, 688)", [("Mug", BOX)]),
    ("ground_2d", "It is at `(275, 227)` to `(899, 688)`.", [(None, BOX)]),
    ("ground_2d", "| Object | Box |\n| --- | --- |\n| mug | x1: 275, y1: 227, x2: 899, y2: 688 |", [("mug", BOX)]),
    ("ground_2d", f"1) mug → {B}\n2) jug → {SMALL}", [("mug", BOX), ("jug", OTHER)]),
    ("ground_2d", f'{{"annotations": [{{"category_name": "mug", "bbox": {B}}}]}}', [("mug", BOX)]),
    ("ground_2d", '{"mug": "275, 227, 899, 688"}', [("mug", BOX)]),
    ("ground_2d", f"\\boxed{{{B}}}", [(None, BOX)]),
    ("ground_2d", "```xml\n<box>(275,227),(899,688)</box>\n```", [(None, BOX)]),
    ("ground_2d", "<bbox>275 227 899 688</bbox>", [(None, BOX)]),
    ("ground_2d", "500, 300", [(None, [500, 300])]),
    ("ground_2d", f'[{{"bbox_2d": {B}, "label": 7}}]', [("7", BOX)]),
    ("ground_2d", '[{"label": "mug", "extents": "[275,227][899,688]"}]', [("mug", BOX)]),
    # quotes that are not escaped
    ("ground_2d", f'[{{"bbox_2d": {B}, "label": "the "good" mug"}}]', [('the "good" mug', BOX)]),
    ("ground_2d", f'{{"label": "a 3" nail", "bbox_2d": {B}}}', [('a 3" nail', BOX)]),
    ("ocr_spotting", f'[{{"text_content": "the 5" pipe", "bbox_2d": {B}}}]', [('the 5" pipe', BOX)]),
    (
        "ocr_spotting",
        f'```json\n[{{"text": "Say "hi", please", "bbox": {B}}}, {{"text": "Bye", "bbox": {SMALL}}}]\n```',
        [('Say "hi", please', BOX), ("Bye", OTHER)],
    ),
    ("events", '[{"start": 1, "end": 5, "event": "He says "no" and goes."}]', [(1, 5, 'He says "no" and goes.')]),
    # lists side by side
    ("ground_2d", f'{{"bbox_2d": [{B}, {SMALL}], "label": ["mug", "jug"]}}', [("mug", BOX), ("jug", OTHER)]),
    ("ocr_spotting", f'{{"texts": ["Hello", "Bye"], "boxes": [{B}, {SMALL}]}}', [("Hello", BOX), ("Bye", OTHER)]),
    ("ground_2d", '{"points": [{"x": 500, "y": 300, "label": "spout"}]}', [("spout", [500, 300])]),
    (
        "events",
        '{"starts": [1, 6], "ends": [5, 9.5], "captions": ["A man walks.", "He sits."]}',
        [(1, 5, "A man walks."), (6, 9.5, "He sits.")],
    ),
    ("events", '{"timestamps": [1, 5], "sentences": ["A man walks."]}', [(1, 5, "A man walks.")]),
    # a role and what it says
    ("gui_elements", f'Link "Imprint": {B}', [("link", "Imprint", BOX)]),
    ("gui_elements", f'- "Send" button: {B}\n- Tab "All": {SMALL}', [("button", "Send", BOX), ("tab", "All", OTHER)]),
    ("gui_elements", f"**Send button**: {B}", [("button", "Send", BOX)]),
    ("gui_elements", f'{{"Image gallery": {B}}}', [("", "Image gallery", BOX)]),
    ("ocr_spotting", "<ref>Hello</ref><quad>(275,227),(899,227),(899,688),(275,688)</quad>", [("Hello", BOX)]),
    # in space
    ("ground_3d", f"[{SPACE}]", [(None, SPACE[:6])]),
    ("ground_3d", f"{SPACE}", [(None, SPACE[:6])]),
    ("ground_3d", f'{{"objects": [{{"box_3d": {SPACE}, "label": "desk"}}]}}', [("desk", SPACE[:6])]),
    ("ground_3d", f'{{"desk": {SPACE}}}', [("desk", SPACE[:6])]),
    ("ground_3d", f'[["desk", {SPACE}]]', [("desk", SPACE[:6])]),
    (
        "ground_3d",
        '[{"center": [0.5, 0.25, 4.0], "size": [1, 2, 3], "rotation": [0, 0, 0.5], "label": "desk"}]',
        [("desk", SPACE[:6])],
    ),
    (
        "ground_3d",
        (
            '[{"label": "desk", "bbox_3d": {"x_center": 0.5, "y_center": 0.25, "z_center": 4, "x_size": 1, '
            '"y_size": 2, "z_size": 3, "roll": 0, "pitch": 0, "yaw": 0.5}}]'
        ),
        [("desk", SPACE[:6])],
    ),
    (
        "ground_3d",
        (
            '[{"label": "desk", "center": {"x": 0.5, "y": 0.25, "z": 4}, "dimensions": {"width": 1, "height": 2, '
            '"depth": 3}, "rotation": {"roll": 0, "pitch": 0, "yaw": 0.5}}]'
        ),
        [("desk", SPACE[:6])],
    ),
    # in time
    ("ground_video", f'{{"detections": [{{"time": 2.0, "box": {B}, "label": "cat"}}]}}', [("cat", 2, BOX)]),
    (
        "ground_video",
        f'[{{"time": 2.0, "objects": [{{"bbox_2d": {B}, "label": "cat"}}, {{"bbox_2d": {SMALL}, "label": "dog"}}]}}]',
        [("cat", 2, BOX), ("dog", 2, OTHER)],
    ),
    ("ground_video", f'{{"2.0": {B}, "3.0": {SMALL}}}', [(None, 2, BOX), (None, 3, OTHER)]),
    ("ground_video", f"[[2.0, {B}], [3.0, {SMALL}]]", [(None, 2, BOX), (None, 3, OTHER)]),
    ("ground_video", f'{{"cat": [{{"time": "00:02", "bbox_2d": {B}}}]}}', [("cat", 2, BOX)]),
    ("ground_video", f"<2.0 seconds> {B}\n<3.0 seconds> {SMALL}", [(None, 2, BOX), (None, 3, OTHER)]),
    ("ground_video", f"2.0s: {B}\n3.0s: {SMALL}", [(None, 2, BOX), (None, 3, OTHER)]),
    # lines of text
    (
        "ocr_spotting",
        f"{B} All of the harbor is closed today\n{SMALL} 12",
        [("All of the harbor is closed today", BOX), ("12", OTHER)],
    ),
    ("ocr_spotting", f'- "Hello" at {B}', [("Hello", BOX)]),
    ("ocr_spotting", f"Line 1: Hello {B}\nLine 2: Bye {SMALL}", [("Hello", BOX), ("Bye", OTHER)]),
    ("ocr_spotting", f'Text: "Hello" Bounding box: {B}', [("Hello", BOX)]),
    ("ocr_spotting", f'[{{"bbox_2d": {B}, "text_content": 34}}]', [("34", BOX)]),
    ("ocr_spotting", f'[["Hello", {B}]]', [("Hello", BOX)]),
    ("ocr_spotting", f'{{"Hello": {B}}}', [("Hello", BOX)]),
    ("ocr_spotting", f'{{"lines": [{{"text": "Hello", "box": {B}}}]}}', [("Hello", BOX)]),
    (
        "ocr_spotting",
        '[{"text": "Hello", "points": [[275, 227], [899, 230], [899, 688], [275, 680]]}]',
        [("Hello", BOX)],
    ),
    (
        "ocr_spotting",
        '[{"text_content": "Hello", "bbox_2d": [275, 227, 899, 227, 899, 688, 275, 688]}]',
        [("Hello", BOX)],
    ),
    (
        "ocr_spotting",
        '[{"transcription": "Hello", "quad": [275, 227, 899, 227, 899, 688, 275, 688]}]',
        [("Hello", BOX)],
    ),
    ("ocr_spotting", f"| text | bbox |\n|---|---|\n| Hello | {B} |", [("Hello", BOX)]),
    # elements of a screen
    (
        "gui_elements",
        f'{{"label": "toolbar", "children": [{{"role": "button", "text": "Go", "box": {B}}}]}}',
        [("button", "Go", BOX)],
    ),
    (
        "gui_elements",
        (
            f'[{{"role": "bar", "text": "", "bbox": {B}, '
            f'"children": [{{"role": "button", "text": "Go", "bbox": {SMALL}}}]}}]'
        ),
        [("bar", None, BOX), ("button", "Go", OTHER)],
    ),
    ("gui_elements", f'{{"Save": {B}}}', [("", "Save", BOX)]),
    ("gui_elements", f'{{"buttons": [{{"text": "Go", "bounding_box": {B}}}]}}', [("", "Go", BOX)]),
    ("gui_elements", f'[{{"element": "button", "label": "Log in", "bounds": {B}}}]', [("button", "Log in", BOX)]),
    ("gui_elements", f'[{{"label": "Log in", "bbox": {B}}}]', [("", "Log in", BOX)]),
    ("gui_elements", f'[{{"role": "button", "text": 7, "bbox": {B}}}]', [("button", "7", BOX)]),
    # names
    ("recognize", f'[{{"bbox_2d": {B}, "Chinese name": "猫", "English Name": "cat"}}]', [(["猫", "cat"], BOX)]),
    ("recognize", f'{{"bbox_2d": {B}, "Chinese": "猫", "English": "cat"}}', [(["猫", "cat"], BOX)]),
    ("recognize", f'[{{"bbox_2d": {B}, "name": "cat", "name_zh": "猫"}}]', [(["猫", "cat"], BOX)]),
    ("recognize", f'[{{"bbox_2d": {B}, "中文名": "猫", "英文名称": "cat"}}]', [(["猫", "cat"], BOX)]),
    (
        "recognize",
        f'{{"objects": [{{"name_zh": "猫", "name_en": "cat", "bounding_box": {B}}}]}}',
        [(["猫", "cat"], BOX)],
    ),
    ("recognize", '["cat", "dog"]', [(["cat"], None), (["dog"], None)]),
    ("recognize", '{"objects": ["cat", "dog"]}', [(["cat"], None), (["dog"], None)]),
    ("recognize", '{"name": "cat", "location": "on a mat"}', [(["cat"], None)]),
    ("recognize", f'{{"cat": {B}}}', [(["cat"], BOX)]),
    ("recognize", f'[["cat", {B}]]', [(["cat"], BOX)]),
    ("events", '{"events": [{"start": 1, "end": "00:05", "description": "A man walks."}]}', [(1, 5, "A man walks.")]),
    (
        "events",
        '[{"timestamp": {"start": "00:01", "end": "00:05"}, "event": "A man walks."}]',
        [(1, 5, "A man walks.")],
    ),
    (
        "events",
        '[["00:01", "00:05", "A man walks."], [6, 9.5, "He sits."]]',
        [(1, 5, "A man walks."), (6, 9.5, "He sits.")],
    ),
    ("events", '[[[1, 5], "A man walks."]]', [(1, 5, "A man walks.")]),
    ("events", '{"segments": [{"time": [1, 5], "caption": "A man walks."}]}', [(1, 5, "A man walks.")]),
    (
        "events",
        "**00:01–00:05** A man walks.\n**00:06–00:09.50** He sits.",
        [(1, 5, "A man walks."), (6, 9.5, "He sits.")],
    ),
    (
        "events",
        "- **00:01 - 00:05**: A man walks.\n- **00:06 - 00:09.5:** He sits.",
        [(1, 5, "A man walks."), (6, 9.5, "He sits.")],
    ),
    ("events", "[00:01 - 00:05] A man walks.", [(1, 5, "A man walks.")]),
    ("events", "From 1 s to 5 s: A man walks.", [(1, 5, "A man walks.")]),
    (
        "events",
        "| Start | End | Event |\n|---|---|---|\n| 00:01 | 00:05 | A man walks. |\n| 00:06 | 00:09.5 | He sits. |",
        [(1, 5, "A man walks."), (6, 9.5, "He sits.")],
    ),
    ("events", "| Time | Description |\n|:--|:--|\n| 00:01 - 00:05 | A man walks. |", [(1, 5, "A man walks.")]),
    ("events", "00:01 A man walks.\n00:06 He sits.", [(1, 1, "A man walks."), (6, 6, "He sits.")]),
    ("events", "1秒到5秒：一个人走路。", [(1, 5, "一个人走路。")]),
    ("events", "start: 00:01, end: 00:05, description: A man walks.", [(1, 5, "A man walks.")]),
    (
        "events",
        (
            "### Event 1: Walking\n- **Start:** 00:01\n- **End:** 00:05\n- **Description:** A man walks.\n\n"
            "### Event 2: Sitting\n- **Start:** 00:06\n- **End:** 00:09.5\n- **Description:** He sits."
        ),
        [(1, 5, "A man walks."), (6, 9.5, "He sits.")],
    ),
    (
        "events",
        "Event 1 (00:01 - 00:05): A man walks.\nEvent 2 (00:06 - 00:09.5): He sits.",
        [(1, 5, "A man walks."), (6, 9.5, "He sits.")],
    ),
    (
        "events",
        "**Event 1**: 00:01 - 00:05\nA man walks.\n\n**Event 2**: 00:06 - 00:09.5\nHe sits.",
        [(1, 5, "A man walks."), (6, 9.5, "He sits.")],
    ),
    (
        "events",
        "| # | Time range | What happens |\n|---|---|---|\n| 1 | 0:01-0:05 | A man walks. |",
        [(1, 5, "A man walks.")],
    ),
    ("events", "事件1：00:01-00:05，一个人走路。", [(1, 5, "一个人走路。")]),
    (
        "events",
        "From 0:01 to 0:05, a man walks. From 0:06 to 0:09.5, he sits.",
        [(1, 5, "a man walks."), (6, 9.5, "he sits.")],
    ),
    ("events", "1,0 bis 5,5 Sekunden: Ein Mann geht.", [(1, 5.5, "Ein Mann geht.")]),
    (
        "events",
        "1 - 5 seconds, A man walks. 6 - 9.5 seconds, He sits.",
        [(1, 5, "A man walks."), (6, 9.5, "He sits.")],
    ),
    (
        "events",
        "Event 1: A man walks.\nStart: 00:01\nEnd: 00:05\n\nEvent 2: He sits.\nStart: 00:06\nEnd: 00:09.5",
        [(1, 5, "A man walks."), (6, 9.5, "He sits.")],
    ),
    ("events", "- [1.0s, 5.0s] A man walks.", [(1, 5, "A man walks.")]),
    ("events", "Walking (00:01 - 00:05): A man crosses.", [(1, 5, "Walking: A man crosses.")]),
    ("events", '[{"event": "A man walks.", "start_time": 1, "duration": 4}]', [(1, 5, "A man walks.")]),
]


@pytest.mark.parametrize(("task", "reply", "wanted"), RIGHT)
def test_things_are_read_in_every_form(task: str, reply: str, wanted: list[Any]) -> None:
    row = checked(task, reply)
    assert row.failure is None
    assert READS[task](row.result) == wanted
    assert row.verified["dropped"] == 0


def put_under(value: Any, keys: list[str]) -> Any:
    for key in keys:
        value = {key: value} if key else [value]
    return value


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 400), st.integers(401, 999), st.integers(401, 999)),
        min_size=1,
        max_size=4,
    ),
    st.lists(KEYS, max_size=3),
    st.sampled_from(AROUND),
    st.sampled_from(("bbox_2d", "box", "bounding_box", None)),
)
def test_boxes_are_read_under_any_keys(
    boxes: list[tuple[int, ...]], keys: list[str], around: str, key: str | None
) -> None:
    things: list[Any] = [list(box) if key is None else {key: list(box), "label": "mug"} for box in boxes]
    row = checked("ground_2d", around.replace("{}", json.dumps(put_under(things, keys), ensure_ascii=False)))
    if row.failure is None:
        assert [thing["bbox_px"] for thing in row.result["objects"]] == [list(box) for box in boxes]

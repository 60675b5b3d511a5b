"""What an answer settles on: final answers, choices, times, pages and actions, in the many ways that models say them,
and refusals, which are none. The replies are of our own making."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.checks.check_reply import check_reply
from operators.checks.refusals import declines
from pipelines.catalogue import find
from pipelines.replies.choices import choice_of, options_in
from pipelines.replies.citations import cited_pages
from pipelines.replies.gui_actions import read_action
from pipelines.replies.moments import read_moment
from pipelines.replies.thinking import final_answer
from pipelines.replies.times import spans_in
from schemas.errors import InvalidOutput
from schemas.task import View
from tests.test_reply_lists import checked

FINAL: list[tuple[str, str | None]] = [
    ("The answer is: **12**.", "12"),
    ("The answer is 36. To find 15% of 240, multiply 240 by 0.15.", "36"),
    ("**Final Answer**: **No**, the speaker does not smile.", "No, the speaker does not smile"),
    ("The result is positive because both are negative.", None),
    ("So \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
    ("2 + 2.\n\n**Final Answer:** 4", "4"),
    ("**Final Answer**\n\n$12$", "12"),
    ("### Answer\n42 apples", "42 apples"),
    ("<answer>12</answer>", "12"),
    ('{"answer": "C"}', "C"),
    ("#### 72", "72"),
    ("答案：36。", "36"),
    ("因此答案是 **B**。", "B"),
    ("Answer: St. Louis", "St. Louis"),
    ("The answer is St. Louis. It lies on the river.", "St. Louis"),
    ("Thus, the answer is $\\frac{3}{4}$.", "\\frac{3}{4}"),
    ("Answer: \\( x = 2 \\)", "x = 2"),
    ("\\boxed{\\text{No}}", "No"),
    ("Answer: $7.50", "$7.50"),
    ("It says so on [page 2].\nAnswer: $7.50", "$7.50"),
    ("A clock, from 00:00 to 00:11. Answer: a clock", "a clock"),
    ("[09:00 - 09:05] Answer: red", "red"),
    ("Answer: 3.14", "3.14"),
    ("The correct answer is B because it is far.", "B"),
    ("**Answer: 5**", "5"),
    ("Answer:\n12", "12"),
    ("It rains.", None),
    ("The answer is not given in the document.", "not given in the document"),
    ("Therefore, the final answer is **7 cm**.", "7 cm"),
    ("**答案：** 42", "42"),
    ("Result: 12", "12"),
    ("The final result is 42.", "42"),
    ("- **Answer:** Yes. The sign says so.", "Yes"),
    ("Answer: U.S. Army", "U.S. Army"),
    ("Answer: 12 kg.", "12 kg"),
    ("最终答案：12", "12"),
    ("**Final Answer:** $\\boxed{12}$", "12"),
    ("The answer to the question is 5.", "5"),
    ("Final answer: The total is 11 tables.", "The total is 11 tables"),
    ("Short answer: Yes", "Yes"),
    ("The answer is:\n\n42", "42"),
    ("Answer — 12", "12"),
    ("Answer: B.", "B"),
    ("The answer is **No.**", "No"),
    ("The answer is No. It rains.", "No"),
    ("The answer is B. The others are near.", "B"),
    ("The answer is B. Franklin.", "B. Franklin"),
    ("Answer: vitamin C.", "vitamin C"),
    ("Answer: a; b; c.", "a; b; c"),
    ("Answer: Washington D.C.", "Washington D.C."),
    ("Answer: 7 p.m.", "7 p.m."),
    ("Answer: Harbor Ltd.", "Harbor Ltd."),
    ("Answer: 4711 [page 3]", "4711"),
    ("Answer: 30 kg (p. 4).", "30 kg"),
    ("Answer: ropes [pages 2, 3] [page 4]", "ropes"),
    ("Answer: The buoy is red. [00:12 - 00:15]", "The buoy is red"),
    ("答案：是的 [第2页]", "是的"),
    ("Answer: the point (2, 3)", "the point (2, 3)"),
    ("Answer: x = [1, 2]", "x = [1, 2]"),
    ("Answer: they won (3:2)", "they won (3:2)"),
    ("Answer: [00:12 - 00:15]", "[00:12 - 00:15]"),
    ("The answer is therefore 5.", "5"),
    ("Hence, the required answer is 12.", "12"),
    ("Answer is 5", "5"),
    ("So the correct option is D.", "D"),
    ("答：5个。", "5个"),
]


@pytest.mark.parametrize(("reply", "wanted"), FINAL)
def test_final_answers(reply: str, wanted: str | None) -> None:
    assert final_answer(reply) == wanted


SAID = (
    "The answer is {}.",
    "Answer: {}",
    "**Final Answer:** **{}**",
    "So it follows.\n\n\\boxed{{{}}}",
    "<answer>{}</answer>",
    "Thus, the final answer is: **{}**.",
    '{{"answer": "{}"}}',
    "答案是 {}。",
    "### Final Answer\n\n{}",
    "The answer is {}. Let me check it.",
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SAID),
    st.integers(-9999, 9999).map(str) | st.sampled_from(("No", "12.5 cm", "a red car", "Paris", "三")),
)
def test_a_final_answer_comes_back_without_its_marks(said: str, answer: str) -> None:
    assert final_answer(f"Let me see.\n\n{said.format(answer)}") == answer


QUESTION = "Which object is farthest?\nAnswer options:\nA.chair\nB.plant\nC.window\nD.tv stand."
CHOICES: list[tuple[str, str | None]] = [
    ("C", "C"),
    ("**B.** plant", "B"),
    ("The answer is a plant.", "B"),
    ("tv stand", "D"),
    ("The chair is near.\nAnswer: C", "C"),
    ("So \\boxed{D}", "D"),
    ("I would say option (b).", "B"),
    ("A chair is nearer than the plant.", None),
    ("E", None),
    ("The correct option is C, not A.", "C"),
    ("Answer: c", "C"),
    ("\\boxed{\\text{C}}", "C"),
    ("<answer>C</answer>", "C"),
    ('{"answer": "C"}', "C"),
    ("A. chair is closer, so it is C. window", "C"),
    ("c", "C"),
    ("(c)", "C"),
    ("C. window", "C"),
    ("C) window", "C"),
    ("**C**", "C"),
    ("The answer is (C).", "C"),
    ("Option C is correct.", "C"),
    ("C is the correct answer.", "C"),
    ("答案是C", "C"),
    ("选C", "C"),
    ("答案：C", "C"),
    ("选项 C", "C"),
    ("I choose C.", "C"),
    ("Therefore, C.", "C"),
    ("The window is farthest.", "C"),
    ("It is the window, not the chair.", "C"),
    ("$\\boxed{C}$", "C"),
    ("\\boxed{C. window}", "C"),
    ('```json\n{"choice": "C"}\n```', "C"),
    ("Answer: C. window", "C"),
    ("The correct answer is option C: window.", "C"),
    ("**Answer:** **C**", "C"),
    ("A is wrong. B is wrong. D is wrong.\n\nC", "C"),
    ("Both A and C", None),
    ("The answer is A or C.", None),
    ("C, since it is behind.", "C"),
    ("The best answer is **C. window**.", "C"),
    ("Ｃ", "C"),
    ("A: chair 1 m\nB: plant 2 m\nC: window 5 m\nD: tv stand 3 m\nSo the farthest is C.", "C"),
    ("The answer is window", "C"),
    ("Final Answer: (C) window", "C"),
    ("C: window", "C"),
    ("Answer is C", "C"),
    ("I think it's C", "C"),
    ("[C]", "C"),
    ("'C'", "C"),
    ("The farthest object is the window (C).", "C"),
    ("The farthest is option C, because options A and B are near.", "C"),
    ("A", "A"),
    ("The correct choice is C", "C"),
    ("选择C。", "C"),
    ("故选 C", "C"),
    ("It's not A, it's C.", "C"),
    ("Option A is incorrect. Option C is correct.", "C"),
    ("The right answer: C", "C"),
    ("I'd go with C.", "C"),
    ("C – window", "C"),
    ("The window", "C"),
    ("C选项", "C"),
    ("应为 C 项。", "C"),
]


@pytest.mark.parametrize(("reply", "wanted"), CHOICES)
def test_choices(reply: str, wanted: str | None) -> None:
    assert choice_of(reply, options_in(QUESTION)) == wanted


TAKEN = (
    *SAID,
    "{}",
    "({})",
    "**{}**",
    "The correct option is {}.",
    "Option {} is correct.",
    "选{}",
    "I choose {}.",
    "The right choice is ({}).",
    "It is not easy to say.\n\nAnswer: {}",
    "{}.",
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(TAKEN), st.sampled_from("ABCD"))
def test_a_letter_that_is_taken_is_read(said: str, letter: str) -> None:
    assert choice_of(said.format(letter), options_in(QUESTION)) == letter


PAGES: list[tuple[str, list[int]]] = [
    ("Pages 2/3", [2, 3]),
    ("pages: 2, 3", [2, 3]),
    ("第3-5页", [3, 4, 5]),
    ("[page 7 (image 7)]", [7]),
    ("page 7 (image 6)", [7]),
    ("page 9 (image 24), page 7 (image 6)", [7, 25]),
    ("page 2/35", [2]),
    ("pp. 3–5", [3, 4, 5]),
    ("Page 3 of 35", [3]),
    ("pages 2, 3 and 5", [2, 3, 5]),
    ("第3页和第5页", [3, 5]),
    ("第3、5页", [3, 5]),
    ("第三页", [3]),
    ("第十二页", [12]),
    ('"pages": [2, 3]', [2, 3]),
    ("page #4", [4]),
    ("page number 4", [4]),
    ("pages 2 through 4", [2, 3, 4]),
    ("page(s) 3", [3]),
    ("[page 2], [page 3]", [2, 3]),
    ("[Page 3, 5]", [3, 5]),
    ("On pages 2-3 and [page 41]. Answer: 7", [2, 3, 41]),
    ("第 3 页至第 5 页", [3, 5]),
    ("no pages", []),
    ("p. 12", [12]),
    ("page 3 & 4", [3, 4]),
    ("Page 9 (image 25)", [25]),
    ("pages 10, 12–14, and 16", [10, 12, 13, 14, 16]),
    ("[page 0 (image 0)]", [1]),
    ("a page 1 and 3 apples", [1, 3]),
    ("[Pages 2 and 3]", [2, 3]),
    ("第3至5页", [3, 4, 5]),
    ("As shown on pages [2] and [3]", [2, 3]),
    ("pages [2], [3] and page [5]", [2, 3, 5]),
    ("pages 2–3 (images 5–6)", [5, 6]),
    ("Image 2 shows it.", [2]),
    ("Figure 7 on page 2; image 4 of it", [2]),
]


@pytest.mark.parametrize(("reply", "wanted"), PAGES)
def test_pages(reply: str, wanted: list[int]) -> None:
    assert cited_pages(reply) == wanted


SPANS: list[tuple[str, list[tuple[float, float]]]] = [
    ("At 00:12, then [01:00 - 01:03.5]; 3 to 4 people, 20 - 25 s.", [(12, 12), (60, 63.5), (20, 25)]),
    ("He holds an iPhone 15s.", []),
    ("The 1990s were good.", []),
    ("It is a 60 second video.", []),
    ("lasts for 15 seconds", []),
    ("At 15s he sits.", [(15, 15)]),
    ("between 12 and 15 seconds", [(12, 15)]),
    ("12 秒到 15 秒", [(12, 15)]),
    ("at 1 minute 5 seconds", [(65, 65)]),
    ("1分12秒", [(72, 72)]),
    ("from 1m05s to 1m12s", [(65, 72)]),
    ("in the 80s", []),
    ("the 15s mark", [(15, 15)]),
    ("[00:05 - 00:09] a red car", [(5, 9)]),
    ("00:00:12,500 --> 00:00:15,000", [(12.5, 15)]),
    ("around 12.5s", [(12.5, 12.5)]),
    ("12s-15s", [(12, 15)]),
    ("the 1990s to 2000s", []),
    ("every 5 seconds", []),
    ("He runs for 10 to 15 seconds.", []),
    ("No, nobody is hurt.", []),
    ("A clock, from 00:00 to 00:11. Answer: a clock", [(0, 11)]),
    ("第12秒", [(12, 12)]),
    ("(0:05)", [(5, 5)]),
    ("a 3-4 minute clip", []),
    ("2 minutes", [(120, 120)]),
    ("a 12-second pause", []),
    ("at **00:12**", [(12, 12)]),
]
CITED_TIMES: list[tuple[str, list[tuple[float, float]]]] = [
    ("The clock shows 10:45 [00:12 - 00:13].\nAnswer: 10:45", [(12, 13)]),
    ("He waits for 15 seconds [00:12-00:27]. Answer: 15 seconds", [(12, 27)]),
    ("They lead 3:02 [01:00].\nAnswer: 3:02", [(60, 60)]),
    ("He sits at 00:12.\nAnswer: he sits", [(12, 12)]),
    ("He sits [see below] at 00:12.\nAnswer: he sits", [(12, 12)]),
    ("He leaves [1m05s].\nAnswer: he leaves", [(65, 65)]),
]


@pytest.mark.parametrize(("reply", "wanted"), SPANS)
def test_times_in_prose(reply: str, wanted: list[tuple[float, float]]) -> None:
    assert spans_in(reply) == wanted


@pytest.mark.parametrize(("reply", "wanted"), CITED_TIMES)
def test_times_that_an_answer_cites(reply: str, wanted: list[tuple[float, float]]) -> None:
    row = checked("video_qa", reply)
    assert [(span["start_s"], span["end_s"]) for span in row.result["spans"]] == wanted


MOMENTS: list[tuple[str, tuple[float, float] | None]] = [
    ("It does not occur in the 60 second video.", None),
    ("[12.0, 15.5]", (12, 15.5)),
    ("start_time: 12, end_time: 15", (12, 15)),
    ("12 秒到 15 秒", (12, 15)),
    ("12.3 - 24.5 seconds", (12.3, 24.5)),
    ("It happens from 00:12 to 00:24.5.", (12, 24.5)),
    ('```json\n{"start_time": "00:01:02", "end_time": 70.5}\n```', (62, 70.5)),
    ("<12.0 seconds> - <14.5 seconds>", (12, 14.5)),
    ("At 00:07.", (7, 7)),
    ("The content does not occur in the video.", None),
    ("12.5", (12.5, 12.5)),
    ("12.5 seconds", (12.5, 12.5)),
    ("12.5, 15", (12.5, 15)),
    ("3.0 - 99.5 seconds", (3, 99.5)),
    ("[[12.0, 15.5]]", (12, 15.5)),
    ("The man does not appear until 00:12.", (12, 12)),
    ("Start: 12s\nEnd: 15s", (12, 15)),
    ("It starts at 12 s and ends at 15 s.", (12, 15)),
    ("between 12 and 15 seconds", (12, 15)),
    ("从12秒开始，到15秒结束", (12, 15)),
    ("第12秒到第15秒", (12, 15)),
    ("None", None),
    ("[]", None),
    ("{}", None),
    ("[-1, -1]", None),
    ('{"start": null, "end": null}', None),
    ('{"timestamp": 12.5}', (12.5, 12.5)),
    ('[{"start": 1, "end": 2}, {"start": 5, "end": 6}]', (1, 2)),
    ("It never happens.", None),
    ("There is no such scene between 00:00 and 01:00.", None),
    ("该内容未出现在视频中。", None),
    ("**00:05–00:12** A man walks.", (5, 12)),
    ("00:05–00:12", (5, 12)),
    ("The event occurs at 12.0 seconds in the video.", (12, 12)),
    ("12.0s - 15.5s", (12, 15.5)),
    ('{"timestamp": "12.0 - 15.5"}', (12, 15.5)),
    ('{"answer": [12, 15]}', (12, 15)),
    ("12-15", (12, 15)),
    ("from 12 to 15", (12, 15)),
    ("The described content occurs from 12.0 to 15.5.", (12, 15.5)),
    ("It occurs at 12.5.", (12.5, 12.5)),
    ("timestamp: 12.5", (12.5, 12.5)),
    ("The person opens the door from 3.2 seconds to 7.8 seconds.", (3.2, 7.8)),
    ("It happens at the 15 second mark.", (15, 15)),
    ("It occurs at **12.5** seconds.", (12.5, 12.5)),
    ("`12.5` to `15` seconds", (12.5, 15)),
    ("Between the 12-second and 15-second marks.", (12, 15)),
    ("From the 12th second to the 15th second.", (12, 15)),
    ("The timestamp is 12.", (12, 12)),
    ("It goes from second 12 to second 15.", (12, 15)),
    ("It occurs at 12.5 seconds, and again at 45 seconds.", (12.5, 12.5)),
    ("She opens it at 00:12 and closes it at 00:15.", (12, 15)),
    ("The query does not match anything in the video, which lasts 60 seconds.", None),
    ('{"start": 12, "duration": 3}', (12, 15)),
]


@pytest.mark.parametrize(("reply", "wanted"), MOMENTS)
def test_moments(reply: str, wanted: tuple[float, float] | None) -> None:
    assert read_moment(reply) == wanted


@pytest.mark.parametrize(
    "reply",
    ["The event happens 2-3 times.", "He wears an iPhone 15s.", "A man walks.", "I'm sorry, I can't watch videos."],
)
def test_what_names_no_time_is_no_moment(reply: str) -> None:
    with pytest.raises(InvalidOutput):
        read_moment(reply)


HAPPENS = (
    "{0} - {1} seconds",
    "It happens from {0} to {1} seconds.",
    "[{0}, {1}]",
    '{{"start": {0}, "end": {1}}}',
    "start_time: {0}, end_time: {1}",
    "{0} 秒到 {1} 秒",
    "{0}s–{1}s",
    "Start: {0}s\nEnd: {1}s",
    "between {0} and {1} seconds",
    "<{0} seconds> - <{1} seconds>",
    "The answer is {0}s - {1}s, in a clip of 60 seconds.",
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(HAPPENS), st.integers(0, 300), st.integers(301, 600))
def test_a_moment_is_read_in_every_form(said: str, start: int, end: int) -> None:
    assert read_moment(said.format(start / 10, end / 10)) == (start / 10, end / 10)


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


XML = (
    "<tool_call>\n<function=computer_use>\n<parameter=action>\nleft_click\n</parameter>\n<parameter=coordinate>\n"
    "[500, 300]\n</parameter>\n</function>\n</tool_call>"
)
ACTIONS: list[tuple[str, str, dict[str, Any]]] = [
    (call("computer_use", action="left_click", x=500, y=300), "computer_use", {"point_px": [500, 300]}),
    (call("computer_use", action="left_click", coordinate="[500, 300]"), "computer_use", {"point_px": [500, 300]}),
    (
        call("computer_use", action="left_click", coordinate={"x": 500, "y": 300}),
        "computer_use",
        {"point_px": [500, 300]},
    ),
    (call("computer_use", action="left_click", coordinate="(500,300)"), "computer_use", {"point_px": [500, 300]}),
    (call("computer_use", action="key", text="ctrl+c"), "computer_use", {"keys": ["ctrl", "c"], "text": None}),
    (call("mobile_use", action="key", keys=["volume_up"]), "mobile_use", {"text": "volume_up"}),
    (XML, "computer_use", {"action": "left_click", "point_px": [500, 300]}),
    (
        'Thought: go.\nAction: "click it"\n' + XML,
        "computer_use",
        {"point_px": [500, 300], "thought": "go.", "description": "click it"},
    ),
    (
        "<tool_call><function=computer_use><parameter=action>type</parameter><parameter=text>12</parameter></function></tool_call>",
        "computer_use",
        {"text": "12"},
    ),
    (
        (
            "<function=mobile_use><parameter=action>swipe</parameter>"
            "<parameter=coordinate>[1, 2]</parameter><parameter=coordinate2>[3, 4]"
        ),
        "mobile_use",
        {"action": "swipe"},
    ),
    (call("left_click", coordinate=[500, 300]), "computer_use", {"action": "left_click", "point_px": [500, 300]}),
    (call("computer_use", action="click", coordinate=[500, 300]), "computer_use", {"action": "left_click"}),
    (
        (
            '{"type":"function","function":{"name":"computer_use",'
            '"arguments":"{\\"action\\": \\"left_click\\", \\"coordinate\\": [500, 300]}"}}'
        ),
        "computer_use",
        {"action": "left_click", "point_px": [500, 300]},
    ),
    (call("computer_use", action="left_click", coordinate=[0.5, 0.3]), "computer_use", {"point_px": [500, 300]}),
    (
        call("mobile_use", action="swipe", x=0, y=999, x2=999, y2=0),
        "mobile_use",
        {"point_px": [0, 1000], "end_point_px": [1000, 0]},
    ),
    (
        call("mobile_use", action="tap", coordinate=[999, 999]),
        "mobile_use",
        {"action": "click", "point_px": [1000, 1000]},
    ),
    (call("computer_use", action="left_click"), "computer_use", {"point_px": None}),
    ('{"action": "left_click", "coordinate": [500, 300]}', "computer_use", {"point_px": [500, 300]}),
    (
        '{"name": "computer_use", "action": "left_click", "coordinate": [500, 300]}',
        "computer_use",
        {"point_px": [500, 300]},
    ),
    (
        "Thought: go.\nAction: click(start_box='<|box_start|>(500,300)<|box_end|>')",
        "computer_use",
        {"action": "left_click", "point_px": [500, 300], "thought": "go."},
    ),
    ("```python\npyautogui.click(x=500, y=300)\n```", "computer_use", {"point_px": [500, 300], "thought": None}),
    ("pyautogui.doubleClick(500, 300)", "computer_use", {"action": "double_click", "point_px": [500, 300]}),
    ("pyautogui.hotkey('ctrl', 'shift', 's')", "computer_use", {"action": "key", "keys": ["ctrl", "shift", "s"]}),
    ("hotkey(key='ctrl s')", "computer_use", {"keys": ["ctrl", "s"]}),
    ("type(content='it\\'s (so)\\n')", "computer_use", {"action": "type", "text": "it's (so)\n"}),
    ("drag(start_box='(1,2)', end_box='(3,4)')", "computer_use", {"point_px": [1, 2], "end_point_px": [3, 4]}),
    ('computer_use(action="left_click", coordinate=[500, 300])', "computer_use", {"point_px": [500, 300]}),
    ("finished(content='all of it')", "computer_use", {"action": "terminate", "status": "success"}),
    ("open_app(app_name='Maps')", "mobile_use", {"action": "open", "text": "Maps"}),
]


@pytest.mark.parametrize("reply", ["I will click (500, 300) to go on.", "print('click')", "Type (hello).", "click"])
def test_prose_is_no_action(reply: str) -> None:
    with pytest.raises(InvalidOutput):
        read_action(reply, "computer_use", 1000, 1000)


@pytest.mark.parametrize(("reply", "tool", "wanted"), ACTIONS)
def test_actions(reply: str, tool: str, wanted: dict[str, Any]) -> None:
    parsed = read_action(reply, tool, 1000, 1000)
    assert {key: parsed.value[key] for key in wanted} == {
        key: pytest.approx(value) if key.endswith("_px") and value else value for key, value in wanted.items()
    }
    assert parsed.dropped == 0


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.sampled_from(
        (
            '"coordinate": [{0}, {1}]',
            '"x": {0}, "y": {1}',
            '"coordinate": "[{0}, {1}]"',
            '"coordinate": "({0},{1})"',
            '"point": [{0}, {1}]',
            '"coordinate": {{"x": {0}, "y": {1}}}',
            '"position": "{0} {1}"',
        )
    ),
    st.sampled_from(
        (
            "<tool_call>{}</tool_call>",
            "{}",
            "```json\n{}\n```",
            'Thought: so.\nAction: "go"\n<tool_call>\n{}\n</tool_call>',
        )
    ),
)
def test_a_click_has_its_point_in_every_form(x: int, y: int, point: str, around: str) -> None:
    arguments = f'{{"name": "computer_use", "arguments": {{"action": "left_click", {point.format(x, y)}}}}}'
    parsed = read_action(around.replace("{}", arguments), "computer_use", 1000, 1000)
    assert parsed.value["point_px"] == [x, y]


REFUSALS = (
    "I am sorry, but I cannot help with that.",
    "I'm sorry, I can't read this.",
    "I’m sorry, but I can’t assist with that request.",
    "As an AI language model, I cannot view images.",
    "The image is too blurry to read.",
    "抱歉，我无法识别这张图片。",
    "I don't have the ability to see or process images directly.",
    "I am not able to view or analyze the picture.",
)
ANSWERS = (
    "Sorry, we're closed.",
    "\"I'm sorry, I can't help with that.\" — HAL",
    "HAL: I'm sorry, Dave. I can't do that.",
    "A sign says \"I'm sorry, I can't help with that.\"",
    "I'm sorry I cannot come to your party.",
    "I'm sorry, I can't read the small print, but the heading says: OPENING HOURS",
    "We cannot accept cards.",
    "Please read the instructions before use.",
    "Please upload your documents here",
    "A form asks users to please upload their picture.",
    "I can't help but notice the red boat in the harbor.",
    "I'm sorry, I can't help you with that, said the clerk.",
    "The document does not say who wrote it.",
)


@pytest.mark.parametrize(
    "task", ["ocr", "parse_document", "caption", "caption_dense", "text", "document_qa", "video_qa", "solve", "spatial"]
)
@pytest.mark.parametrize("reply", REFUSALS)
def test_a_refusal_is_no_answer(task: str, reply: str) -> None:
    assert "refused" in checked(task, reply).verified["faults"]
    assert "refused" in checked(task, f"<think>Can I?</think>{reply}").verified["faults"]


@pytest.mark.parametrize("reply", ANSWERS)
def test_words_of_regret_are_no_refusal(reply: str) -> None:
    assert not declines(reply)
    assert "refused" not in checked("caption", reply).verified["faults"]


def test_a_page_that_says_so_is_read() -> None:
    says = "I'm sorry, I can't help with that."
    page = find("ocr")
    for layer, refused in ((f"Customer: hello\n{says}", False), ("Opening hours", True), (None, True)):
        view = View("page", 0, 100, 100, text_layer=layer)
        assert (
            "refused" in check_reply(page, view, says, page.parse(says, view), cut=False).verified["faults"]
        ) is refused
    assert "refused" not in checked("parse_document", f'<p data-bbox="0 0 9 9">{says}</p>').verified["faults"]


def test_refusals_of_typed_tasks_fail_with_their_fault() -> None:
    for task in ("locate_moment", "gui_action", "caption_structured"):
        row = checked(task, "I'm sorry, but I can't help with that.")
        assert "refused" in row.verified["faults"], task
        assert row.failure is not None
        assert row.failure.kind == "refused"


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("There is no text in the image.", ""),
        ("No text found.", ""),
        ("The image does not contain any readable text.", ""),
        ("This picture contains no text.", ""),
        ("No visible text is present in this image.", ""),
        ("图片中没有文字。", ""),
        ("No text messages while driving", "No text messages while driving"),
        ("NO PARKING", "NO PARKING"),
        ("There is no text in the image. The image shows a cat on a mat.", ""),
        ("There is no discernible text in this picture; it shows a harbor.", ""),
        ("No text messages. It is the law.", "No text messages. It is the law."),
        ("There is no text in the image, said the sign.", "There is no text in the image, said the sign."),
    ],
)
def test_the_sentence_that_there_is_no_text_is_no_text(reply: str, text: str) -> None:
    assert checked("ocr", reply).result["text"] == text


@pytest.mark.parametrize(
    "reply",
    [
        "**Transcribed text:**\n\nOpening hours\nMon-Fri",
        "The image contains the following text:\n\nOpening hours\nMon-Fri",
        "```\nOpening hours\nMon-Fri\n```\nLet me know if you need anything else!",
        "Here is the text of the page:\n```text\nOpening hours\nMon-Fri\n```\n\nNote: the last line is faint.",
        "图片中的文字如下：\n\nOpening hours\nMon-Fri",
    ],
)
def test_what_is_said_around_a_text_is_none_of_it(reply: str) -> None:
    assert checked("ocr", reply).result["text"] == "Opening hours\nMon-Fri"


@pytest.mark.parametrize(
    "text", ["The text of the law:\nNo parking", "```\nx = 1\n```\nThen press Enter.", "Transcript\nA: hello"]
)
def test_a_page_keeps_its_words(text: str) -> None:
    assert checked("ocr", text).result["text"] == text


@pytest.mark.parametrize(
    "reply",
    [
        "To provide 3D boxes I would need the camera's intrinsics, which are not available.",
        "The depth of the scene is not known, so there is no way to tell.",
    ],
)
def test_what_would_be_needed_is_no_empty_list(reply: str) -> None:
    row = checked("ground_3d", reply)
    assert row.failure is not None
    assert row.failure.kind == "refused"

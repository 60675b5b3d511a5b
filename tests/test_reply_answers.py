"""What an answer settles on: final answers and choices, in the many ways that models say them. The replies are of our
own making."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.replies.choices import choice_of, options_in
from pipelines.replies.thinking import final_answer

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

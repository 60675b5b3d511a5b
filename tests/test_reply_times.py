"""Times, spans and moments, in the many ways that models say them; and numbers that are no times. The replies are of
our own making."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.replies.moments import read_moment
from pipelines.replies.times import spans_in
from schemas.errors import InvalidOutput
from tests.support.read_replies import checked

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

"""Times, spans and moments, in the many ways that models say them; and numbers that are no times. The replies are of
our own making."""

from __future__ import annotations

import json
from collections.abc import Callable

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
    ("12,5 Sekunden", (12.5, 12.5)),
    ("Von 3,5 bis 12 Sekunden.", (3.5, 12)),
    ("1,500 seconds", (1500, 1500)),
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


def clock(time_s: int) -> str:
    return f"{time_s // 60:02}:{time_s % 60:02}"


def long_clock(time_s: int) -> str:
    return f"{time_s // 3600}:{time_s % 3600 // 60:02}:{time_s % 60:02}"


def in_words(time_s: int) -> str:
    return f"{time_s // 60} min {time_s % 60} s"


CLOCKS: tuple[Callable[[int], str], ...] = (
    *(clock, long_clock, lambda time_s: f"{clock(time_s)}.0", lambda time_s: f"0{long_clock(time_s)}.000"),
    *(lambda time_s: f"{time_s} s", lambda time_s: f"{time_s}s", lambda time_s: f"{time_s}.0 seconds"),
    *(lambda time_s: f"{time_s} sec", lambda time_s: f"{time_s} Sekunden", lambda time_s: f"{time_s}秒"),
    *(
        lambda time_s: f"<{time_s}.0 seconds>",
        lambda time_s: f"**{clock(time_s)}**",
        lambda time_s: f"{time_s},0 Sekunden",
    ),
    *(
        in_words,
        lambda time_s: f"{time_s // 60} minutes {time_s % 60} seconds",
        lambda time_s: f"{time_s // 60}m{time_s % 60:02}s",
    ),
    *(
        lambda time_s: f"{time_s // 60}分{time_s % 60}秒",
        lambda time_s: f"{time_s // 60} Minuten und {time_s % 60} Sekunden",
    ),
)
THROUGH = (
    *("{} - {}", "{}–{}", "{} to {}", "from {} to {}", "between {} and {}", "[{} - {}]", "({} – {})", "{} → {}"),
    *(
        "von {} bis {}",
        "zwischen {} und {}",
        "从{}到{}",
        "{}至{}",
        "{} until {}",
        "{} ~ {}",
        "It goes on from {} through {}.",
    ),
)
BOTH_IN_SECONDS = (
    *(
        "{}-{} s",
        "{} to {} seconds",
        "{}–{}s",
        "{} bis {} Sekunden",
        "{}到{}秒",
        "第{}秒到第{}秒",
        "between {} and {} seconds",
    ),
    *(
        "from the {}th second to the {}th second",
        "from second {} to second {}",
        "{}.0 - {}.0 sec",
        "von {},0 bis {},0 Sekunden",
    ),
)
AT = (
    *(
        "At {}.",
        "It happens at {}",
        "[{}]",
        "around {}",
        "The moment is {}.",
        "Bei {} ist es so weit.",
        "at about {}, he sits",
    ),
    *("({})", "在{}"),
)
ASIDE = (
    "{}",
    "Of 12 people, 3 walk: {}",
    "{}\nAnswer: 4711 boats",
    "In 2019 it cost $12.50. {}",
    "The iPhone 15 is seen. {}",
)
TIMES_S = st.integers(61, 900)  # 1870s may be years
SPAN_S = st.tuples(TIMES_S, st.integers(1, 90)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CLOCKS), st.sampled_from(THROUGH), SPAN_S, st.sampled_from(ASIDE))
def test_a_span_is_read_in_every_form(
    written: Callable[[int], str], through: str, span: tuple[int, int], aside: str
) -> None:
    said = through.format(*map(written, span))
    assert spans_in(aside.format(said)) == [span]
    assert read_moment(said) == span


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(BOTH_IN_SECONDS), SPAN_S, st.sampled_from(ASIDE))
def test_a_span_of_which_only_the_end_has_its_unit_is_read(through: str, span: tuple[int, int], aside: str) -> None:
    assert spans_in(aside.format(through.format(*span))) == [span]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(CLOCKS), st.sampled_from(AT), TIMES_S, st.sampled_from(ASIDE))
def test_a_time_is_read_in_every_form(written: Callable[[int], str], at: str, time_s: int, aside: str) -> None:
    assert spans_in(aside.format(at.format(written(time_s)))) == [(time_s, time_s)]


KEYS = (
    *(("start", "end"), ("start_time", "end_time"), ("startTime", "endTime"), ("Start", "End"), ("begin", "end")),
    *(
        ("start_s", "end_s"),
        ("Start Time", "End Time"),
        ("开始时间", "结束时间"),
        ("from", "to"),
        ("start_sec", "end_sec"),
    ),
)
VALUES: tuple[Callable[[int], object], ...] = (int, float, clock, long_clock, str, lambda time_s: f"{time_s}.0s")
SPANNED = ("timestamp", "timestamps", "time", "span", "segment", "interval", "Time Range", "moment", "time_interval")
TEXTS = st.sampled_from(("A man walks.", "two dogs bark at 12 cats", "一个人走路。", "he says: no"))
EVENTS_S = st.lists(SPAN_S, min_size=1, max_size=4)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(KEYS), st.sampled_from(SPANNED), st.sampled_from(VALUES), SPAN_S)
def test_a_span_in_json_is_read_under_any_keys(
    keys: tuple[str, str], spanned: str, value: Callable[[int], object], span: tuple[int, int]
) -> None:
    ends = dict(zip(keys, map(value, span), strict=True))
    for said in (
        ends,
        [ends],
        {"moment": ends},
        {spanned: list(map(value, span))},
        {spanned: [list(map(value, span))]},
    ):
        assert read_moment(json.dumps(said, ensure_ascii=False)) == span


def happened(reply: str) -> list[tuple[tuple[float, float], str]]:
    row = checked("events", reply)
    assert row.failure is None, row.failure
    assert row.verified["dropped"] == 0
    return [((event["start_s"], event["end_s"]), event["text"]) for event in row.result["events"]]


@settings(max_examples=150, deadline=None)
@given(EVENTS_S, TEXTS, st.sampled_from(KEYS), st.sampled_from(SPANNED[:5]), st.sampled_from(VALUES))
def test_events_in_json_are_read_under_any_keys(
    spans: list[tuple[int, int]], text: str, keys: tuple[str, str], spanned: str, value: Callable[[int], object]
) -> None:
    wanted = [(span, f"{text} {place}") for place, span in enumerate(spans)]
    ends = [{keys[0]: value(start), keys[1]: value(end), "description": said} for (start, end), said in wanted]
    lists = [{spanned: [value(start), value(end)], "sentence": said} for (start, end), said in wanted]
    beside = {
        "timestamps": [[value(start), value(end)] for start, end in spans],
        "sentences": [said for _, said in wanted],
    }
    apart = {f"{keys[0]}s": [value(start) for start, _ in spans], f"{keys[1]}s": [value(end) for _, end in spans]}
    for said in (ends, {"events": ends}, lists, beside, {"v_1": {"duration": 99.5, **beside}}):
        assert happened(json.dumps(said, ensure_ascii=False)) == wanted
    if keys[0] == "start":
        assert happened(json.dumps({**apart, "captions": beside["sentences"]}, ensure_ascii=False)) == wanted


LINES = (
    *("{0} - {1}: {2}", "[{0} - {1}] {2}", "- **{0} – {1}**: {2}", "{0} to {1}: {2}", "From {0} to {1}: {2}"),
    *(
        "* {2} ({0} - {1})",
        "| {0} | {1} | {2} |",
        "| {0} - {1} | {2} |",
        "**Event** ({0} - {1}): {2}",
        "von {0} bis {1}: {2}",
    ),
)


@settings(max_examples=150, deadline=None)
@given(EVENTS_S, st.sampled_from(LINES), st.sampled_from(CLOCKS[:8]), st.sampled_from(("A man walks", "two dogs bark")))
def test_events_in_lines_and_tables_are_read(
    spans: list[tuple[int, int]], line: str, written: Callable[[int], str], text: str
) -> None:
    lines = [line.format(*map(written, span), text) for span in spans]
    if line.startswith("|"):
        columns = "| Start | End | Event |" if line.count("|") == 4 else "| Time | Event |"
        lines = [columns, "|---" * (columns.count("|") - 1) + "|", *lines]
    assert happened("\n".join(lines)) == [(span, text) for span in spans]


NO_TIMES = (
    *(
        "In {} it began.",
        "the {}s",
        "${}",
        "{} dollars",
        "{}-{} people",
        "an iPhone {}s",
        "for {} seconds",
        "{}%",
        "page {}",
    ),
    *("a {} second video", "It lasts {} seconds", "{} km/h", "every {} s", "room {}", "{} fps", "{} frames", "RTX {}"),
    *("für {} Sekunden", "es dauert {} Sekunden", "alle {} Sekunden", "持续{}秒", "a {}-minute film", "for {} minutes"),
    *(
        "{} minutes long",
        "5:{} p.m.",
        "10:45 Uhr",
        "the second {} people",
        "{} out of {}",
        "€{}-{}",
        "{} to {} dollars",
    ),
)
YEARS = (
    "from {} to {}",
    "It shows the town from {} to {}.",
    "between {} and {}",
    "at {}",
    "In {}.",
    "{} to {} in the city",
)


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.sampled_from(NO_TIMES), st.integers(10, 59))
    | st.tuples(st.sampled_from(YEARS), st.integers(1900, 2098))
)
def test_numbers_of_other_things_are_no_times(said: tuple[str, int]) -> None:
    form, number = said
    assert spans_in(form.format(number, number + 1)) == []
    with pytest.raises(InvalidOutput):
        read_moment(form.format(number, number + 1))

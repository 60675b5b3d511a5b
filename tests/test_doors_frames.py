"""A child that sends anything costs its parent one typed failure: no other exception, no memory, no time, no worker."""

from __future__ import annotations

import gc
import json
import logging
import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.commands import overlay
from model.engines.scripted_kind import Settings
from operators.code_check import code_checker
from operators.code_check.code_check_wire import OUTCOMES, answers
from operators.code_check.code_checker import CodeChecker
from operators.code_check.row_check import RowCheck
from operators.infer import engine_log, supervisor
from operators.infer.engine_wire import ENGINE_MESSAGES, pack_answer
from operators.infer.supervisor import Supervisor
from operators.media import sandbox
from operators.media.decoder_wire import DECODED, MOST_UNITS, PROBED, check_units, pack_unit, pack_units
from operators.media.opened import pictures
from operators.media.sandbox import Sandbox
from operators.overlay import Mark
from operators.processes.channel import Channel, Frame
from operators.processes.child import Child, Limits, spawn
from operators.processes.messages import Messages
from operators.processes.output import KEPT_BYTES
from operators.store.addresses import store_at
from operators.units import Planned
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import FAILURE_KINDS, ChildDied, EngineError, Failure
from schemas.request import Completion, Message, Request
from schemas.unit import Locator
from tests.support.world import write_image, write_recording

SMALL = DecodeSettings(image_max_px=1 << 18, video_max_px=1 << 18, memory_mb=256, timeout_s=2.0)
CHANNELS: dict[str, Messages] = {
    "probe": PROBED,
    "decode": DECODED,
    "code_check": answers(320),
    "engine": ENGINE_MESSAGES,
}
MOST_MB = 64


class Grown:
    """mb: by how much the memory of this process was above what it was, at its highest, since it was made."""

    def __init__(self) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts from now on
        self._before = _status_mb("VmRSS")

    @property
    def mb(self) -> float:
        return _status_mb("VmHWM") - self._before


def _status_mb(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:"))


def fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def hostile(monkeypatch: pytest.MonkeyPatch, role: str, does: str = "", seed: int = 0, mb: int = 8) -> Iterator[None]:
    """Every child that is started meanwhile is one; what raises in a thread raises here."""
    raised: list[Any] = []
    variables = {"HOSTILE_AS": role, "HOSTILE_DOES": does, "HOSTILE_SEED": str(seed), "HOSTILE_MB": str(mb)}

    def start(_: str, *, name: str, printed: Any = None, **__: Any) -> Child:
        return spawn("tests.support.hostile_child", limits=Limits(), name=name, printed=printed, variables=variables)

    with monkeypatch.context() as patch:
        for room in (sandbox, code_checker, supervisor):
            patch.setattr(room, "spawn", start)
        patch.setattr(threading, "excepthook", raised.append)
        patch.setattr(sandbox, "START_S", SMALL.timeout_s)
        yield
    assert not raised, raised


# what each of the four doors gives back: a word for the outcome; typed, or the test fails


def probe(path: Path) -> str:
    box = Sandbox(SMALL)
    try:
        answer = box.probe(str(path), "image")
    finally:
        box.close()
    pa.Table.from_pylist(
        [{"media": answer["media"], **unit} for unit in answer.get("units", [])], schema=tables.PLANNED_UNITS
    )
    if "error" not in answer:
        return "ok"
    pa.array([answer["error"]], tables.FAILURE)
    assert answer["error"]["kind"] in FAILURE_KINDS
    return str(answer["error"]["kind"])


def decode(path: Path) -> str:
    box = Sandbox(SMALL)
    try:
        (batch,) = box.decode(str(path), "image", [Locator()])
    finally:
        box.close()
    assert batch.schema.equals(tables.DECODED)
    batch.validate(full=True)
    row = batch.to_pylist()[0]
    if row["error"] is None:
        (picture,) = pictures(batch.column("pictures")[0])
        assert picture.width_px * picture.height_px <= 2 << 20
        assert bytes(picture.data) is not None  # all of it can be read
        return "ok"
    assert row["error"]["kind"] in FAILURE_KINDS
    return str(row["error"]["kind"])


def code_check(_: Path) -> str:
    checker = CodeChecker(deadline_s=SMALL.timeout_s)
    try:
        checked = checker.check("html", "<p>", 320, 240)
    finally:
        checker.close()
    assert checked.columns["outcome"] in OUTCOMES
    pa.array([checked.columns], tables.CODE_CHECK)
    assert (checked.picture is not None) == (checked.columns["outcome"] == "shown")
    return str(checked.columns["outcome"])


def engine(path: Path) -> str:
    recording = write_recording(path.parent / "replies.jsonl", {"task": "ocr", "reply": "x"})
    asked = Supervisor(
        Settings(recording=str(recording), slots=2),
        stall_s=SMALL.timeout_s,
        load_s=SMALL.timeout_s,
        logs=path.parent / "logs",
    )
    try:
        request = Request("r0", (Message("user", ("read",)),), deadline_s=1.0)
        reply: Completion | Failure = asked.ask(request).result(60)
    except EngineError as error:  # it was known by then
        reply = Failure("infer", error.kind, str(error))
    finally:
        asked.close()
    if isinstance(reply, Completion):
        pa.array([reply.text])
        pa.array([reply.prompt_tokens, reply.output_tokens], pa.int64())
        return "ok"
    pa.array([vars(reply)], tables.FAILURE)
    return reply.kind


DOORS: dict[str, Callable[[Path], str]] = {
    "probe": probe,
    "decode": decode,
    "code_check": code_check,
    "engine": engine,
}
_warm: set[str] = set()


def warm(role: str, picture: Path) -> None:
    """With a child that behaves: what is imported late counts to nobody."""
    if role not in _warm:
        DOORS[role](picture)
        _warm.add(role)


MOST_CHILDREN = {"probe": 2, "decode": 2, "code_check": 1, "engine": 6}
"""Started for one row, each with its own deadline."""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return write_image(tmp_path / "a.png")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("role", DOORS)
def test_whatever_a_child_sends_the_answer_is_typed_and_in_time(
    role: str,
    picture: Path,
    monkeypatch: pytest.MonkeyPatch,
    amount: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    warm(role, picture)
    grown, outcomes, slowest_s, threads = Grown(), Counter[str](), 0.0, threading.active_count()
    for seed in range(amount(8, 500)):
        started = time.monotonic()
        with hostile(monkeypatch, role, seed=seed):
            outcomes[DOORS[role](picture)] += 1
        slowest_s = max(slowest_s, time.monotonic() - started)
    limit_s = MOST_CHILDREN[role] * (SMALL.timeout_s + 1)
    figure(
        f"{role}: {outcomes.total()} hostile children, {dict(outcomes)}; memory up by {grown.mb:.0f} MB, "
        f"slowest {slowest_s:.1f} s of {limit_s:g} s"
    )
    assert grown.mb < MOST_MB
    assert slowest_s < limit_s
    deadline = time.monotonic() + 5
    while threading.active_count() > threads + 1 and time.monotonic() < deadline:  # one starts children
        time.sleep(0.05)
    assert threading.active_count() <= threads + 1


@pytest.mark.parametrize(
    "does", ["announces", "nests", "sends_no_object", "fills", "babbles", "floods_fds", "breaks_off"]
)
@pytest.mark.parametrize("role", ["probe", "decode", "code_check"])
def test_what_is_no_answer_is_a_crash_of_the_child_and_costs_nothing(
    role: str, does: str, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm(role, picture)
    grown, open_before = Grown(), fds()
    with hostile(monkeypatch, role, does):
        outcome = DOORS[role](picture)
    # what comes beside an answer that is whole is for nobody
    assert outcome in (("ok", "shown", "crashed") if does == "floods_fds" else ("crashed", "timeout"))
    assert grown.mb < MOST_MB
    assert fds() == open_before


@pytest.mark.parametrize("role", DOORS)
def test_a_byte_every_half_second_is_not_waited_for(role: str, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.monotonic()
    with hostile(monkeypatch, role, "dribbles"):
        outcome = DOORS[role](picture)
    assert outcome in ("timeout", "engine_error")
    assert time.monotonic() - started < (3 if role == "engine" else 1) * (SMALL.timeout_s + 1)


def test_descriptors_that_others_left_lying_are_waited_for(picture: Path) -> None:
    """Of all processes of a user the kernel lets so many lie unread in sockets; a decoder may not send another then."""
    ours, theirs = socket.socketpair()
    for _ in range(8):
        socket.send_fds(ours, [b"x"], [ours.fileno()] * 100)
    box = Sandbox(DecodeSettings())
    left = threading.Timer(1.5, lambda: (ours.close(), theirs.close()))
    left.start()
    (batch,) = box.decode(str(picture), "image", [Locator()])
    box.close()
    left.join()
    assert batch.to_pylist()[0]["error"] is None


@pytest.mark.parametrize("role", ["probe", "decode"])
def test_a_decoder_that_makes_progress_for_ever_is_believed_for_a_while(
    role: str, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "LONGEST", 2)
    open_before = fds()
    for does, outcome in (("beats", "timeout"), ("races", "crashed")):
        began_s = time.monotonic()
        with hostile(monkeypatch, role, does):
            assert DOORS[role](picture) == outcome
        assert time.monotonic() - began_s < 3 * SMALL.timeout_s + 1
    assert fds() == open_before


@pytest.mark.parametrize("does", ["sends_open_memory", "sends_strange_fd", "changes_memory"])
def test_memory_that_can_change_is_never_mapped(does: str, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(4):
        with hostile(monkeypatch, "decode", does, seed=seed):
            box = Sandbox(SMALL)
            (batch,) = box.decode(str(picture), "image", [Locator()])
            time.sleep(0.1)  # what it does to the memory now, it does under our eyes
            row = batch.to_pylist()[0]
            box.close()
        if does == "changes_memory":
            assert row["pictures"][0]["data"] == bytes(100)
        else:
            assert "the decoder sent nonsense" in row["error"]["message"]


@pytest.mark.parametrize("role", DOORS)
def test_what_a_child_prints_costs_nothing(
    role: str,
    picture: Path,
    monkeypatch: pytest.MonkeyPatch,
    amount: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    monkeypatch.setattr(engine_log, "LARGEST_BYTES", 1 << 20)
    warm(role, picture)
    mb = amount(20, 2048)
    with hostile(monkeypatch, role, "prints", mb=mb):
        started, grown = time.monotonic(), Grown()
        outcome = DOORS[role](picture)
    figure(
        f"{role}: {mb} MB printed, {outcome} after {time.monotonic() - started:.1f} s, {grown.mb:.0f} MB more memory"
    )
    assert grown.mb < MOST_MB
    if role == "engine":
        logs = list((picture.parent / "logs").iterdir())
        assert sum(log.stat().st_size for log in logs) <= 1 << 20
        assert 1 <= len(logs) <= 2


def test_the_end_of_what_a_child_printed_is_logged_when_it_dies(
    picture: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "operators.processes.child")
    with hostile(monkeypatch, "probe", "leaves_another"):
        assert probe(picture) == "timeout"  # the other holds the channel, too
    (record,) = caplog.records
    assert record.getMessage() == (
        "the decoder gave no sign of progress within 2 s (decode.timeout_s); it had printed:\nI am still here"
    )


def test_what_is_kept_of_what_a_child_prints_is_its_end_without_what_orders_a_terminal() -> None:
    with _child("prints", mb=2) as child:
        child.send({"order": 1}, deadline=time.monotonic() + 20)
        child.receive(answers(320), time.monotonic() + 20)
        child.kill()
        tail = child._output.tail()
    assert 60_000 < len(tail) <= KEPT_BYTES
    assert tail.endswith("\ufffd[2Jnot for a terminal")


@contextmanager
def _child(does: str, mb: int = 8) -> Iterator[Child]:
    variables = {"HOSTILE_AS": "code_check", "HOSTILE_DOES": does, "HOSTILE_SEED": "1", "HOSTILE_MB": str(mb)}
    child = spawn("tests.support.hostile_child", limits=Limits(), name="it", variables=variables)
    try:
        yield child
    finally:
        child.kill()


def test_a_child_that_reads_nothing_is_not_waited_for() -> None:
    started = time.monotonic()
    with _child("hangs") as child, pytest.raises(ChildDied) as death:
        child.send({}, [bytes(8 << 20)], deadline=time.monotonic() + 2)
    assert death.value.kind == "timeout"
    assert time.monotonic() - started < 3


def test_who_holds_the_pipe_of_a_child_that_is_gone_holds_nobody_up() -> None:
    open_before = fds()
    started = time.monotonic()
    with _child("leaves_another") as child:
        child.send({}, deadline=time.monotonic() + 20)
        assert child.wait(10)
    assert time.monotonic() - started < 5
    assert fds() == open_before


def test_what_was_sent_unasked_is_not_taken_for_the_answer_about_another_file(
    picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hostile(monkeypatch, "probe", "floods"):
        box = Sandbox(SMALL)
        assert box.probe(str(picture), "image")["units"][0]["decoded_bytes"] == 6144
        first = box.child_pid
        time.sleep(0.2)
        box.probe(str(picture), "image")
        assert box.child_pid != first
        box.close()


def test_an_engine_that_makes_progress_for_ever_is_believed_for_a_while(
    picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hostile(monkeypatch, "engine", "beats"):
        assert engine(picture) == "timeout"


def test_a_picture_that_is_none_is_not_shown_and_ends_nothing(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {
        "input_uri": str(picture), "media": "image", "unit_kind": "image", "page": None, "start_s": None, "end_s": None,
        "input_id": "a", "unit_index": 0, "request_index": 0, "width_px": 64, "height_px": 32,
    }  # fmt: skip
    with hostile(monkeypatch, "decode", "answers"):
        check = RowCheck(SMALL)
        assert check._original(row) is None
        check.close()
        box = Sandbox(SMALL)
        marks = [Mark("a", (0, 0, 1, 1), None, None, 0)]
        (drawing,) = overlay._draw(box, store_at(str(picture.parent / "out")), "overlay", row, marks)
        box.close()
    assert drawing.failed
    assert "zstd" in drawing.text


def test_a_text_that_is_too_long_for_a_frame_is_a_failure_of_its_request() -> None:
    for reply in ("a" * (9 << 20), "," * 400_000, "\U0001f600" * (1 << 20)):
        answer = pack_answer("r", Completion(reply, "stop", 1, 1, 0.1))
        assert answer["failure"]["kind"] == "too_long"
    assert "completion" in pack_answer("r", Completion("é," * 100_000, "stop", 1, 1, 0.1))


def test_a_reason_that_is_too_long_for_a_frame_is_cut() -> None:
    head = pack_answer("r", Failure("infer", "engine_error", "," * (9 << 20)))
    assert len(json.dumps(head)) < ENGINE_MESSAGES.bounds.json_bytes
    assert ENGINE_MESSAGES.checked(head) == head


def test_a_child_takes_whatever_its_parent_has_to_say() -> None:
    """A request whose text no model takes is the engine's to refuse."""
    ours, theirs = map(Channel, socket.socketpair())
    with closing(ours), closing(theirs):
        text = "a" * (65 << 20)
        sending = threading.Thread(target=ours.send, args=({"ask": text},))
        sending.start()
        frame = theirs.recv()
        sending.join()
    assert frame is not None
    assert frame.head == {"ask": text}


def test_what_a_decoder_may_honestly_send_fits_its_messages() -> None:
    pages = pack_units("document", [Planned(page=number, decoded_bytes=1 << 30) for number in range(1, MOST_UNITS + 1)])
    clips = [Planned(start_s=number / 3, end_s=(number + 1) / 3, decoded_bytes=1 << 30) for number in range(50_000)]
    for head, media in ((pages, "document"), (pack_units("video", clips), "video")):
        assert head is not None
        assert len(check_units(media, PROBED.checked(json.loads(json.dumps(head)))["units"])) >= 50_000
    assert pack_units("document", [Planned(page=1)] * (MOST_UNITS + 1)) is None
    unit = {"width_px": 9, "height_px": 9, "times_s": (), "blank": None, "decode_s": 0.1, "line_images": None}
    unit |= {"damaged_frames": None, "input_notes": ()}
    for text, fits in (("\U0001f600" * 200_000, True), ("," * 200_000, True), ("," * 400_000, False)):
        row = {**unit, "text_layer": text, "full_res": None, "pictures": []}
        assert (pack_unit(row) is not None) == fits


# the reading itself

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
_keys = st.sampled_from(
    ["media", "units", "error", "unit", "decode_s", "outcome", "message", "alive", "answer", "completion", "failure",
     "ready", "fatal", "last_error", "page", "kind", "text"]
)  # fmt: skip
_heads = st.dictionaries(_keys, st.dictionaries(_keys, _values, max_size=4) | _values, max_size=4)


def received(messages: Messages, sent: bytes) -> Frame | str | None:
    """What comes of it; how the child died."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    try:
        theirs.setblocking(False)
        theirs.send(sent)
        theirs.close()
        return channel.receive(messages, time.monotonic() + 5)
    except ChildDied as death:
        return death.kind
    finally:
        channel.close()


@settings(deadline=None)
@given(st.sampled_from(sorted(CHANNELS)), _heads | _values, st.lists(st.binary(max_size=20), max_size=3))
def test_any_json_is_a_message_or_a_child_that_died(role: str, head: Any, payloads: list[bytes]) -> None:
    text = json.dumps(head).encode()
    body = b"".join(struct.pack("!Q", len(payload)) + payload for payload in payloads)
    frame = received(CHANNELS[role], struct.pack("!II", len(text), len(payloads)) + text + body)
    if isinstance(frame, Frame):
        pa.array([json.dumps(frame.head, ensure_ascii=False)])  # no lone surrogates


@settings(deadline=None)
@given(st.sampled_from(sorted(CHANNELS)), st.binary(max_size=200))
def test_any_bytes_are_the_end_or_a_child_that_died(role: str, sent: bytes) -> None:
    assert not isinstance(received(CHANNELS[role], sent), Frame)


def test_what_fits_the_bounds_takes_no_more_memory_than_they_mean() -> None:
    """The dearest JSON for its size: objects, and texts that are wide in memory."""
    for name, messages in CHANNELS.items():
        bounds = messages.bounds
        keys = b",".join(b'"%06x":{}' % number for number in range(bounds.values // 2 - 10))
        wide = b'"\\ud83d\\ude00' + b"x" * (bounds.json_bytes - 100) + b'"'
        for text in (b'{"units":{%b}}' % keys[: bounds.json_bytes - 100].rpartition(b",")[0], b'{"units":%b}' % wide):
            grown = Grown()
            ours, theirs = socket.socketpair()
            sending = threading.Thread(target=partial(_send_all, theirs, struct.pack("!II", len(text), 0) + text))
            sending.start()
            channel = Channel(ours)
            with pytest.raises(ChildDied):
                channel.receive(messages, time.monotonic() + 20)
            channel.close()
            sending.join()
            assert grown.mb < MOST_MB + len(text) / (1 << 20), name  # the sender's copy is ours here


def _send_all(sock: socket.socket, data: bytes) -> None:
    with sock:
        try:
            sock.sendall(data)
        except OSError:
            os.sched_yield()

"""The `vllm` engine over the real vLLM (its build for CPUs) and the shipped checkpoint: token for token what the
embedded engine answers, and no request lost whatever dies.

Needs the interpreter of an environment that has vLLM in SIGHTREAD_VLLM_PYTHON: scripts/setup-vllm makes one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.engines.torch_engine import TorchEngine
from model.engines.vllm_kind import Settings
from operators.infer.supervisor import Supervisor
from operators.processes import orphan_reaper
from schemas.checkout import NANO as CHECKPOINT
from schemas.errors import Failure
from schemas.request import Clip, Completion, Message, Picture, Request, Sampling
from tests.support.tiny import noise_picture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.timeout(1100),
    pytest.mark.skipif("SIGHTREAD_VLLM_PYTHON" not in os.environ, reason="SIGHTREAD_VLLM_PYTHON names no interpreter"),
]

CONTEXT = 1024
SETTINGS = Settings(model=str(CHECKPOINT), dtype="float32", max_context=CONTEXT)
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "maxLength": 12}, "sure": {"type": "boolean"}},
    "required": ["label", "sure"],
    "additionalProperties": False,
}
KINDS: dict[str, Callable[[int], tuple[str | Picture | Clip, ...]]] = {
    "text": lambda n: (f"{chr(97 + n) * (n + 1)} is {37 * n * n}, who said {chr(65 + n)}?",),
    "image": lambda n: (noise_picture(32 * (1 + n % 3), 32 * (2 + n % 5), n), "Describe this image in short."),
    "video": lambda n: (clip(n), "Describe this video in short."),
    "all at once": lambda n: ("First", noise_picture(32, 64, n), "then", clip(n), "and", noise_picture(64, 32, 9 + n)),
    "schema": lambda n: (noise_picture(64, 64, 50 + n), "What is it?"),
}


def clip(number: int) -> Clip:
    """Of two to five frames, at times that no constant rate gives."""
    frames = tuple(noise_picture(64, 64, 100 * number + frame) for frame in range(2 + number % 4))
    return Clip(frames, tuple(0.37 * frame * (1 + number % 3) for frame in range(len(frames))))


def request(kind: str, number: int, **sampling: Any) -> Request:
    return Request(
        f"{kind}/{number}",
        (Message("user", KINDS[kind](number)),),
        Sampling(**{"max_tokens": 40, **sampling}),
        deadline_s=300,
        schema=SCHEMA if kind == "schema" else None,
    )


@pytest.fixture(scope="module")
def supervisor() -> Iterator[Supervisor]:
    begun = Supervisor(replace(SETTINGS, slots=16), stall_s=20)
    yield begun
    begun.close()


def answers(supervisor: Supervisor, requests: list[Request]) -> list[Completion | Failure]:
    return [future.result(300) for future in [supervisor.ask(each) for each in requests]]


def said(answer: Completion | Failure) -> tuple[Any, ...]:
    assert isinstance(answer, Completion), answer
    return answer.text, answer.finish_reason, answer.prompt_tokens, answer.output_tokens


def test_both_engines_answer_alike_token_for_token(supervisor: Supervisor) -> None:
    requests = [request(kind, number) for kind in KINDS for number in range(16)]

    async def embedded() -> list[Completion]:
        engine = TorchEngine(CHECKPOINT, dtype="float32", slots=16, max_context=CONTEXT)
        try:
            return await asyncio.gather(*map(engine.generate, requests))
        finally:
            await engine.close()

    ours = asyncio.run(embedded())
    theirs = answers(supervisor, requests)
    for start, kind in enumerate(KINDS):
        of_kind = slice(16 * start, 16 * start + 16)
        assert [said(each) for each in theirs[of_kind]] == [said(each) for each in ours[of_kind]], kind
        assert len({each.text for each in ours[of_kind]}) > 8, f"{kind}: replies that are all alike prove nothing"


def test_one_request_that_cannot_be_answered_disturbs_no_other(supervisor: Supervisor) -> None:
    seeded = request("image", 6, temperature=1.0, top_p=0.9, top_k=20, presence_penalty=1.5, seed=7)
    torn = replace(noise_picture(), data=b"no picture")
    found = answers(
        supervisor,
        [
            replace(request("text", 0), messages=(Message("user", ("a" * CONTEXT,)),)),
            replace(request("text", 1), messages=(Message("user", (torn, "?")),)),
            replace(request("text", 2, max_tokens=900, temperature=1.0), deadline_s=0.01),
            replace(request("text", 3), schema={"type": "string", "pattern": "(["}),
            request("text", 4, max_tokens=3),
            request("text", 5),
            seeded,
            replace(seeded, request_id="again"),
        ],
    )
    kinds = [each.kind if isinstance(each, Failure) else "" for each in found]
    assert kinds == ["too_long", "engine_error", "deadline", "engine_error", "", "", "", ""]
    assert said(found[4])[1:] == ("length", found[4].prompt_tokens, 3)  # type: ignore[union-attr]
    assert said(found[6]) == said(found[7]), "a seed repeats"
    whole = said(found[5])[0]
    (cut,) = answers(supervisor, [request("text", 5, stop=(whole[3:5],))])
    assert said(cut)[:2] == (whole[: whole.index(whole[3:5])], "stop")
    assert supervisor.stats.deaths == 0


def test_a_seed_says_the_same_when_its_prompt_is_read_in_parts(supervisor: Supervisor) -> None:
    def long(number: int) -> Request:
        asked = request("text", number, temperature=1.0, seed=number, max_tokens=8)
        return replace(asked, messages=(Message("user", (chr(97 + number) * 900,)),))

    crowd = answers(supervisor, [long(number) for number in range(16)])  # three steps and a half of prompt
    alone = [said(answers(supervisor, [replace(long(number), request_id="alone")])[0]) for number in (3, 8, 15)]
    assert alone == [said(crowd[number]) for number in (3, 8, 15)]
    assert supervisor.stats.deaths == 0


def family(supervisor: Supervisor) -> list[int]:
    """The engine child's own processes: vLLM's core and its worker."""
    child = supervisor.child_pid
    assert child is not None
    return sorted(
        pid
        for pid, _ in orphan_reaper.descendants([child], orphan_reaper.processes())
        if "orphan_reaper" not in _line(pid)
    )


def _line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")


@pytest.mark.parametrize("how", ["the core is killed", "the core hangs", "the child is killed"])
def test_whatever_dies_every_request_is_answered_and_none_twice(supervisor: Supervisor, how: str) -> None:
    before = replace(supervisor.stats)
    futures: list[Future[Completion | Failure]] = [
        supervisor.ask(request("image", number, max_tokens=300, temperature=1.0)) for number in range(80)
    ]
    wait_for(lambda: any(future.done() for future in futures))
    done = sum(future.done() for future in futures)
    victims = [supervisor.child_pid] if how == "the child is killed" else family(supervisor)
    for pid in victims:
        os.kill(pid or 0, signal.SIGSTOP if how == "the core hangs" else signal.SIGKILL)
    assert all(isinstance(future.result(300), Completion) for future in futures)
    stats = supervisor.stats
    assert stats.deaths - before.deaths == 1
    assert stats.answered - before.answered == 80
    assert 0 < stats.asked_again - before.asked_again <= 80 - done
    wait_for(lambda: not [pid for pid in victims if pid and Path(f"/proc/{pid}").exists()])


def test_a_request_that_kills_the_core_every_time_is_one_typed_failure() -> None:
    options = {"logits_processors": ["tests.support.killers:Killer"]}
    supervisor = Supervisor(replace(SETTINGS, slots=1, options=options))
    try:
        poison = replace(request("text", 0), messages=(Message("user", ("some POISON",)),))
        found = answers(supervisor, [request("text", 1), poison, request("text", 2), request("text", 3)])
        assert [type(each) for each in found] == [Completion, Failure, Completion, Completion]
        assert isinstance(found[1], Failure)
        assert (found[1].kind, found[1].attempts) == ("crashed", 2)
        assert "lost a process of its own over this request" in found[1].message
        assert supervisor.stats.deaths == 2
    finally:
        supervisor.close()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"gpu_memory_utilisation": 0.5}, "did you mean 'gpu_memory_utilization'"), ({"kv_cache_dtype": "int3"}, "int3")],
)
def test_an_option_that_vllm_does_not_have_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    supervisor = Supervisor(replace(SETTINGS, slots=1, options=options))
    try:
        (answer,) = answers(supervisor, [request("text", 0)])
        assert isinstance(answer, Failure)
        assert sentence in answer.message
        assert "\n" not in answer.message
    finally:
        supervisor.close()


def wait_for(what: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)

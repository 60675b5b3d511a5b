"""The embedded engine on a tiny random checkpoint: what it writes must not depend on who it shares its batch with."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest
import torch

from model.engines.runner import Runner
from model.engines.torch_engine import TorchEngine, free_bytes
from model.network.checkpoint import load
from model.network.kv_blocks import BLOCK_TOKENS
from model.network.kv_cache import BlockCache
from model.network.positions import positions
from model.network.qwen3vl import Qwen3VL, Visual
from model.prompts.chat import Chat
from schemas.errors import EngineError
from schemas.request import Clip, Completion, Message, Picture, Request, Sampling
from tests.support.tiny import noise_picture, tiny_checkpoint, user


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[TorchEngine]:
    engine = TorchEngine(folder, slots=3)
    yield engine
    asyncio.run(engine.close())


MIXED: list[tuple[Message, ...]] = [
    user("One."),
    user(noise_picture(), "What is this?"),
    user(noise_picture(96, 64, 1), noise_picture(32, 32, 2), "And these two, of different sizes?"),
    user("A longer question that has no picture at all, and goes on for a while: " + "why? " * 30),
    user(noise_picture(64, 64, 3)),
    user("Two."),
    user(noise_picture(32, 256, 4), "Read."),
]


def ask(engine: TorchEngine, *requests: Request) -> list[Completion]:
    async def all_of_them() -> list[Completion]:
        return list(await asyncio.gather(*map(engine.generate, requests)))

    return asyncio.run(all_of_them())


def request(messages: tuple[Message, ...], *, max_tokens: int = 24, **sampling: object) -> Request:
    return Request("r", messages, Sampling(max_tokens=max_tokens, **sampling))  # type: ignore[arg-type]


def slow_greedy(folder: Path, messages: tuple[Message, ...], count: int) -> tuple[str, int]:
    """Text and tokens by the plainest loop: the whole sequence anew for every token, no cache."""
    chat, network = Chat(folder), load(folder)
    prompt = chat.encode(messages)
    visual, grids = None, [grid for _, grid in prompt.visuals]
    if prompt.visuals:
        visual = network.vision(torch.cat([patches for patches, _ in prompt.visuals]), torch.tensor(grids))
    places, delta = positions(prompt.input_ids, grids, (chat.image_id, chat.video_id))
    made: list[int] = []
    with torch.inference_mode():
        while len(made) < count:
            new = torch.arange(len(made)) + len(prompt.input_ids) + delta
            ids = torch.tensor([prompt.input_ids + made])
            every = torch.cat([places, new.expand(3, -1)], 1)
            logits = network.logits(network(ids, every[:, None], visual)[:, -1])
            made.append(int(logits.argmax()))
            if made[-1] in chat.stop_ids:
                return chat.decode(made[:-1]), len(made)
    return chat.decode(made), len(made)


@pytest.mark.parametrize("which", range(len(MIXED)))
def test_greedy_text_is_that_of_the_plain_loop(engine: TorchEngine, folder: Path, which: int) -> None:
    (answer,) = ask(engine, request(MIXED[which], max_tokens=64))
    text, tokens = slow_greedy(folder, MIXED[which], 64)
    assert (answer.text, answer.output_tokens) == (text, tokens)
    assert answer.finish_reason == ("length" if tokens == 64 else "stop")
    assert answer.prompt_tokens == len(Chat(folder).encode(MIXED[which]).input_ids)


def test_replies_do_not_depend_on_the_batch_or_on_order(engine: TorchEngine) -> None:
    """Seven requests on three slots, in two orders, against each alone."""
    requests = [request(messages, max_tokens=9 + 5 * i) for i, messages in enumerate(MIXED)]
    alone = [ask(engine, each)[0].text for each in requests]
    assert len(set(alone)) == len(alone), "replies that are all alike would prove nothing"
    assert [each.text for each in ask(engine, *requests)] == alone
    assert [each.text for each in ask(engine, *reversed(requests))] == alone[::-1]


def test_sixty_four_mixed_requests_in_any_order(folder: Path, engine: TorchEngine) -> None:
    """Text, pictures and clips, packed into small prefill steps, against each alone."""
    random = Random(5)
    requests = []
    for i in range(64):
        parts: list[str | Picture | Clip] = ["why? " * random.randint(1, 12) + str(i)]
        if i % 4:
            parts.insert(0, noise_picture(32 * random.randint(1, 3), 32 * random.randint(1, 3), i))
        if i % 8 == 3:
            frames = tuple(noise_picture(32, 64, 100 * i + n) for n in range(random.randint(1, 5)))
            parts.insert(0, Clip(frames, tuple(n / 2 for n in range(len(frames)))))
        requests.append(request(user(*parts), max_tokens=random.randint(1, 24)))
    alone = [ask(engine, each)[0].text for each in requests]
    assert len(set(alone)) > 50, "replies that are all alike would prove nothing"
    for seed, tokens in ((1, 100), (2, 33)):
        order = Random(seed).sample(range(64), 64)
        small = TorchEngine(folder, slots=10, prefill_tokens=tokens)
        answers = ask(small, *(requests[i] for i in order))
        asyncio.run(small.close())
        assert [answer.text for answer in answers] == [alone[i] for i in order]


def test_tasks_about_one_unit_share_its_encoding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three questions about a clip and one about a picture: each frame goes through the tower once, a batch at most
    as large as it is told."""
    seen: list[int] = []
    plain = Qwen3VL.vision

    def counted(network: Qwen3VL, patches: torch.Tensor, grid: torch.Tensor) -> Visual:
        seen.append(len(patches))
        return plain(network, patches, grid)

    monkeypatch.setattr(Qwen3VL, "vision", counted)
    monkeypatch.setattr("model.engines.encoder_cache.BATCH_PATCHES", 20)
    clip = Clip(tuple(noise_picture(32, 64, n) for n in range(6)), tuple(n / 2 for n in range(6)))
    engine = TorchEngine(folder, slots=4)
    ask(engine, *(request(user(clip, text)) for text in ("What?", "Who?", "Where?")))
    ask(engine, request(user(noise_picture(64, 64, 9), "What?")), request(user(clip, "When?")))
    asyncio.run(engine.close())
    # 3 frame pairs of 8 patches, and a picture of 16
    assert sum(seen) == 3 * 8 + 16
    assert max(seen) <= 20


def test_the_cache_stays_within_its_budget_and_refuses_what_never_fits(folder: Path) -> None:
    engine = TorchEngine(folder, slots=8, cache_tokens=600, prefill_tokens=64)

    async def run() -> list[Completion | BaseException]:
        calls = [engine.generate(request(user("why? " * n), max_tokens=40)) for n in (5, 700, 20, 8, 60, 10, 30)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await engine.close()
        return outcomes

    refused = [each for each in asyncio.run(run()) if not isinstance(each, Completion)]
    assert [each.kind for each in refused if isinstance(each, EngineError)] == ["too_long"]
    keys, _ = engine._runner.cache.layer(0)
    assert (len(keys) - 1) * BLOCK_TOKENS <= 600  # one more is nobody's
    assert engine._runner.cache.host.free == len(keys) - 1  # and nobody has kept any


def test_who_waits_for_room_in_the_cache_writes_what_it_writes_alone(
    folder: Path, engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long answers, greedy and sampled, in a cache that holds some of them: those that came last are parked."""
    monkeypatch.setattr("model.engines.scheduler.ANSWER_SHARE", 0.0)
    requests = [
        request(user("why? " * (20 + 9 * i)), max_tokens=300, presence_penalty=0.5, temperature=0.8 * (i % 2), seed=i)
        for i in range(5)
    ]
    alone = [ask(engine, each)[0] for each in requests]
    parked: list[int] = []
    plain = BlockCache.park

    def counted(cache: BlockCache, slot: int) -> None:
        parked.append(slot)
        plain(cache, slot)

    monkeypatch.setattr(BlockCache, "park", counted)
    small = TorchEngine(folder, slots=5, cache_tokens=6 * BLOCK_TOKENS)
    together = ask(small, *requests)
    asyncio.run(small.close())
    assert [each.text for each in together] == [each.text for each in alone]
    assert max(each.output_tokens for each in together) > BLOCK_TOKENS
    assert parked


def test_rows_decode_between_the_chunks_of_a_long_prompt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def note(name: str) -> None:
        plain = getattr(Runner, name)

        def step(runner: Runner, argument: object) -> object:
            steps.append(name)
            return plain(runner, argument)

        monkeypatch.setattr(Runner, name, step)

    note("prefill")
    note("decode")
    engine = TorchEngine(folder, slots=2, prefill_tokens=64)

    async def one_behind_the_other() -> list[Completion]:
        first = asyncio.create_task(engine.generate(request(MIXED[0], max_tokens=150, presence_penalty=0.1)))
        while "decode" not in steps:
            await asyncio.sleep(0.001)
        return list(await asyncio.gather(first, engine.generate(request(user("why? " * 300), max_tokens=2))))

    answers = asyncio.run(one_behind_the_other())
    asyncio.run(engine.close())
    assert answers[1].prompt_tokens > 10 * 64
    first = steps.index("decode")
    assert max(len(run) for run in "".join(step[0] for step in steps[first:]).split("d")) == 1


def test_engines_that_share_a_memory_share_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.engines.torch_engine.free_bytes", lambda device: 12_000_000)
    for sharers, budget in ((1, 6_000_000), (3, 2_000_000)):
        engine = TorchEngine(folder, sharers=sharers)
        size = engine._config.text.kv_bytes(4)
        asyncio.run(engine.close())
        assert 0 <= budget - engine._scheduler.cache_tokens * size < BLOCK_TOKENS * size


def test_free_memory_is_the_machines_and_the_containers(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemFree:  1000 kB\nMemAvailable:    8000 kB\n")
    assert free_bytes("cpu", tmp_path) == 8000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("5000000\n")
    (group / "memory.stat").write_text("anon 3000000\ninactive_file 1500000\nactive_file 500000\n")
    for limit, free in (("max", 8000 * 1024), ("7000000", 3_500_000), ("3000000", 0), ("99000000", 8000 * 1024)):
        (group / "memory.max").write_text(f"{limit}\n")
        assert free_bytes("cpu", tmp_path) == free


def test_fresh_memory_that_holds_nan_reaches_no_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = torch.empty

    def dirty(*arguments: Any, **options: Any) -> torch.Tensor:
        fresh = plain(*arguments, **options)
        return fresh.fill_(torch.nan) if fresh.is_floating_point() else fresh

    requests = [request(messages, max_tokens=20) for messages in MIXED]
    engine = TorchEngine(folder, slots=7)
    clean = [each.text for each in ask(engine, *requests)]
    asyncio.run(engine.close())
    monkeypatch.setattr(torch, "empty", dirty)
    engine = TorchEngine(folder, slots=7)
    assert [each.text for each in ask(engine, *requests)] == clean
    asyncio.run(engine.close())


def test_a_step_that_runs_out_of_memory_costs_only_who_is_too_large(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Qwen3VL.forward

    def short(network: Qwen3VL, input_ids: torch.Tensor, *rest: object, **named: object) -> torch.Tensor:
        if input_ids.shape[1] > 120:
            raise MemoryError
        return plain(network, input_ids, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Qwen3VL, "forward", short)
    engine = TorchEngine(folder, slots=4)

    async def run() -> list[Completion | BaseException]:
        calls = [engine.generate(request(MIXED[i])) for i in (0, 3, 1, 5)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        await engine.close()
        return found

    outcomes = asyncio.run(run())
    assert [type(each) for each in outcomes] == [Completion, EngineError, Completion, Completion]
    assert isinstance(outcomes[1], EngineError)
    assert outcomes[1].kind == "out_of_memory"


SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "enum": ["page", "photo"]},
        "count": {"type": ["integer", "null"], "minimum": 0, "maximum": 99},
        "marks": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["kind", "count", "marks"],
    "additionalProperties": False,
}


def test_a_schema_holds_whatever_the_network_would_rather_write(engine: TorchEngine) -> None:
    """Random weights, greedy and sampled, beside a request that is free: the answer is JSON of that schema."""
    free = request(MIXED[0])
    held = [
        replace(request(messages, max_tokens=100, temperature=t, seed=4), schema=SCHEMA)
        for messages in MIXED[:3]
        for t in (0.0, 1.5)
    ]
    *answers, last = ask(engine, *held, free)
    for answer in answers:
        jsonschema.validate(json.loads(answer.text), SCHEMA)
        assert answer.finish_reason == "stop"
        assert not set(answer.text) & set(" \n\t")
    assert last.text == ask(engine, free)[0].text


def test_a_schema_that_cannot_be_followed_is_refused(engine: TorchEngine) -> None:
    with pytest.raises(EngineError, match="JSON Schema cannot be followed"):
        ask(engine, replace(request(MIXED[0]), schema={"type": "no such type"}))


def test_sampled_text_depends_on_the_seed_alone(engine: TorchEngine) -> None:
    warm = request(MIXED[1], temperature=1.0, top_p=0.9, top_k=50, seed=7)
    others = [request(messages, temperature=0.8, seed=i) for i, messages in enumerate(MIXED)]
    (alone,) = ask(engine, warm)
    together = ask(engine, *others, warm)[-1]
    (another,) = ask(engine, request(MIXED[1], temperature=1.0, top_p=0.9, top_k=50, seed=8))
    assert together.text == alone.text != another.text


def test_a_stop_string_ends_the_text_before_it(engine: TorchEngine) -> None:
    (whole,) = ask(engine, request(MIXED[0], max_tokens=40))
    stop = whole.text[10:12]
    (cut,) = ask(engine, request(MIXED[0], max_tokens=40, stop=(stop,)))
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.output_tokens < whole.output_tokens


def test_penalties_change_what_is_written(engine: TorchEngine) -> None:
    plain, present, repeated = ask(
        engine,
        request(MIXED[3], max_tokens=60),
        request(MIXED[3], max_tokens=60, presence_penalty=50.0),
        request(MIXED[3], max_tokens=60, repetition_penalty=50.0),
    )
    assert len({plain.text, present.text, repeated.text}) == 3


def test_presence_penalty_large_enough_forbids_repeats(engine: TorchEngine, folder: Path) -> None:
    (answer,) = ask(engine, request(MIXED[0], max_tokens=60, presence_penalty=1e6))
    ids = Chat(folder)._tokens.encode(answer.text)
    assert len(ids) > 20
    # bytes that are no UTF-8 decode to U+FFFD and do not come back as themselves
    kept = [i for i in ids if i not in Chat(folder)._tokens.encode("\ufffd")]
    assert len(set(kept)) == len(kept)


def test_a_prompt_that_fills_the_context_is_refused_alone(folder: Path) -> None:
    engine = TorchEngine(folder, slots=2, max_context=64)

    async def both() -> list[Completion | BaseException]:
        calls = [engine.generate(request(MIXED[i], max_tokens=1000)) for i in (3, 0)]
        return await asyncio.gather(*calls, return_exceptions=True)

    async def run() -> list[Completion | BaseException]:
        found = await both()
        await engine.close()
        return found

    refused, answered = asyncio.run(run())
    assert isinstance(refused, EngineError)
    assert refused.kind == "too_long"
    assert isinstance(answered, Completion)
    # the answer ends where the context does
    assert answered.prompt_tokens + answered.output_tokens == 64 or answered.finish_reason == "stop"


def test_an_abandoned_request_frees_its_slot(folder: Path) -> None:
    engine = TorchEngine(folder, slots=1)

    async def run() -> Completion:
        endless = asyncio.create_task(engine.generate(request(MIXED[0], max_tokens=30_000, presence_penalty=0.1)))
        while not engine._runner.slots_in_use:
            await asyncio.sleep(0.01)
        endless.cancel()
        # with one slot, an answer can only come when the first one has left it
        answer = await asyncio.wait_for(engine.generate(request(MIXED[1])), timeout=60)
        await engine.close()
        return answer

    assert asyncio.run(run()).output_tokens > 0


def test_a_picture_that_is_none_fails_alone(engine: TorchEngine) -> None:
    broken = user(noise_picture().__class__(64, 32, b"not zstd"), "?")

    async def run() -> list[Completion | BaseException]:
        calls = [engine.generate(request(broken)), engine.generate(request(MIXED[0]))]
        return await asyncio.gather(*calls, return_exceptions=True)

    refused, answered = asyncio.run(run())
    assert isinstance(refused, EngineError)
    assert isinstance(answered, Completion)


def test_closing_answers_what_is_under_way(folder: Path) -> None:
    engine = TorchEngine(folder, slots=1)

    async def run() -> list[Completion | BaseException]:
        calls = [asyncio.create_task(engine.generate(request(MIXED[0], max_tokens=30_000))) for _ in range(3)]
        while not engine._runner.slots_in_use:
            await asyncio.sleep(0.01)
        await engine.close()
        return await asyncio.gather(*calls, return_exceptions=True)

    for outcome in asyncio.run(run()):
        assert isinstance(outcome, EngineError | Completion)
        if isinstance(outcome, EngineError):
            assert outcome.kind == "aborted"


def test_closing_answers_what_is_still_prepared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request comes to the engine's thread when that has gone."""
    engine = TorchEngine(folder, slots=1)
    begun, closed = threading.Event(), threading.Event()
    plain = engine._prepare

    def slow(*arguments: Any) -> Any:
        begun.set()
        closed.wait()
        return plain(*arguments)

    monkeypatch.setattr(engine, "_prepare", slow)

    async def run() -> None:
        call = asyncio.create_task(engine.generate(request(MIXED[0])))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        closing = asyncio.create_task(engine.close())
        while engine._thread.is_alive():
            await asyncio.sleep(0.01)
        closed.set()
        with pytest.raises(EngineError, match="the engine was closed"):
            await asyncio.wait_for(call, timeout=60)
        await closing

    asyncio.run(run())

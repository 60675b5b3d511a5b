"""The embedded engine on a tiny random checkpoint: what it writes must not depend on who it shares its batch with."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model.chat import Chat
from model.checkpoint import load
from model.positions import positions
from model.torch_engine import TorchEngine
from schemas.ask import Completion, Message, Request, Sampling
from schemas.errors import EngineError
from tests.tiny import noise_picture, tiny_checkpoint, user


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
    ids = Chat(folder)._text_ids(answer.text)
    assert len(ids) > 20
    # bytes that are no UTF-8 decode to U+FFFD and do not come back as themselves
    kept = [i for i in ids if i not in Chat(folder)._text_ids("\ufffd")]
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
        while not engine._rows:
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
        while not engine._rows:
            await asyncio.sleep(0.01)
        await engine.close()
        return await asyncio.gather(*calls, return_exceptions=True)

    for outcome in asyncio.run(run()):
        assert isinstance(outcome, EngineError | Completion)
        if isinstance(outcome, EngineError):
            assert outcome.kind == "aborted"

"""A sampled answer depends on its request alone: the embedded engine end to end, in float32."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

from model.engines.torch_engine import TorchEngine
from schemas.request import Completion, Request, Sampling
from tests.support.tiny import noise_picture, tiny_checkpoint, user

SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}


def any_sampling(random: Random) -> Sampling:
    return Sampling(
        temperature=random.choice([0.0, 0.7, 1.0, 1.5]),
        top_k=random.choice([0, 0, 1, 20, 100, 300]),
        top_p=random.choice([0.5, 0.8, 1.0]),
        presence_penalty=random.choice([0.0, 1.5]),
        repetition_penalty=random.choice([1.0, 1.2]),
        seed=random.getrandbits(63),
        max_tokens=random.randint(4, 16),
    )


def test_64_sampled_requests_of_all_kinds_are_written_as_each_is_alone(tmp_path: Path) -> None:
    random = Random(11)
    requests = []
    for number in range(64):
        parts = ["why? " * random.randint(1, 9) + str(number)]
        pictures = [noise_picture(32, 32 * random.randint(1, 2), number)] if number % 4 == 0 else []
        schema = SCHEMA if number % 8 == 5 else None
        requests.append(Request(str(number), user(*pictures, *parts), any_sampling(random), schema=schema))
    tiny_checkpoint(tmp_path)

    async def together() -> list[Completion]:
        engine = TorchEngine(tmp_path, slots=64)
        answers = await asyncio.gather(*map(engine.generate, requests))
        await engine.close()
        return list(answers)

    async def alone() -> list[Completion]:
        engine = TorchEngine(tmp_path, slots=1)
        answers = [await engine.generate(request) for request in requests]
        await engine.close()
        return answers

    batched, single = asyncio.run(together()), asyncio.run(alone())
    assert [answer.text for answer in batched] == [answer.text for answer in single]
    assert len({answer.text for answer in single}) > 50, "replies that are all alike would prove nothing"
    for answer, request in zip(batched, requests, strict=True):
        assert (
            request.schema is None or answer.text in ('{"a":true}', '{"a":false}') or answer.finish_reason == "length"
        )

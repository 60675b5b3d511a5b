"""What the embedded engine cannot do ends as a typed failure of the request in question, at once, and neither ends nor
stops the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.engines.scheduler import Scheduler
from model.engines.torch_engine import TorchEngine
from model.engines.torch_kind import Settings
from model.network.hub import SINGLE
from operators.infer.supervisor import Supervisor
from schemas.errors import ChildDied, EngineError, Failure
from schemas.request import Completion, Picture, Request, Sampling
from tests.support.tiny import noise_picture, tiny_checkpoint, user

WARM = Sampling(temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5, seed=1, max_tokens=8)


def request(name: str = "r", sampling: Sampling = WARM, **more: Any) -> Request:
    return Request(name, user(noise_picture(), "What is this?"), sampling, **more)


def damage(folder: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    weights = load_file(folder / SINGLE)
    (place,) = [each for each in weights if each.endswith(name)]
    weights[place] = change(weights[place])
    save_file(weights, folder / SINGLE, metadata={"format": "pt"})
    return folder


def one_nan(weight: torch.Tensor) -> torch.Tensor:
    weight = weight.clone()
    weight.view(-1)[-1] = torch.nan
    return weight


def test_weights_that_are_no_numbers_are_found_as_they_are_loaded(tmp_path: Path) -> None:
    """In a real engine's process: every request is told which weight it is; nothing is started again and again."""
    name = "language_model.layers.1.mlp.up_proj.weight"
    supervisor = Supervisor(Settings(model=str(damage(tiny_checkpoint(tmp_path), name, one_nan))))
    answer = supervisor.ask(request()).result(60)
    assert isinstance(answer, Failure)
    assert f"{name} holds NaN or infinity" in answer.message
    assert supervisor.stats.deaths == 0
    supervisor.close()


def test_requests_that_cannot_be_sampled_or_followed_fail_alone_in_a_real_engine(tmp_path: Path) -> None:
    """Finite weights whose logits overflow; a schema that no grammar has; a picture that is none; then the engine is
    asked again. It has one process for all of it."""
    folder = damage(tiny_checkpoint(tmp_path), "lm_head.weight", lambda weight: weight * 1e38)
    supervisor = Supervisor(Settings(model=str(folder)))
    distinct = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    asked = {
        "sampled": request("sampled"),
        "from all": request("from all", Sampling(temperature=1.0, top_p=0.9, max_tokens=4)),
        "greedy": request("greedy", Sampling(max_tokens=4)),
        "large seed": request("large seed", replace(WARM, seed=2**70)),
        "schema": request("schema", schema={"type": "object", "properties": {"numbers": distinct}}),
        "large constant": request("large constant", schema={"const": 10**40}),
        "picture": Request("picture", user(Picture(64, 32, b"not zstd"), "?"), WARM),
    }
    for _ in range(2):
        futures = {name: supervisor.ask(each) for name, each in asked.items()}
        found = {name: future.result(60) for name, future in futures.items()}
        assert {type(answer) for answer in found.values()} == {Failure}
        messages = {name: answer.message for name, answer in found.items() if isinstance(answer, Failure)}
        for name in ("sampled", "from all", "greedy", "large seed"):
            assert "the network gives no numbers" in messages[name]
        assert "JSON Schema cannot be followed" in messages["schema"]
        assert "uniqueItems" in messages["schema"]
        assert "JSON Schema cannot be followed" in messages["large constant"]
        assert "pictures cannot be read" in messages["picture"]
    assert supervisor.stats.deaths == 0
    supervisor.close()


async def outcomes(engine: TorchEngine, *requests: Request) -> list[Completion | BaseException]:
    return list(await asyncio.gather(*map(engine.generate, requests), return_exceptions=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


def test_an_error_while_sampling_costs_who_was_in_that_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TorchEngine(folder, slots=2)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("probability tensor contains either inf, nan or element < 0")

    async def run() -> None:
        with monkeypatch.context() as patched:
            patched.setattr("model.engines.decode_step.sample", broken)
            for answer in await asyncio.wait_for(outcomes(engine, *map(request, "abc")), 60):
                assert isinstance(answer, EngineError)
                assert "probability tensor" in str(answer)
        (answer,) = await asyncio.wait_for(outcomes(engine, request()), 60)
        assert isinstance(answer, Completion)
        await engine.close()

    asyncio.run(run())


def test_the_engines_thread_has_the_settings_of_the_thread_that_makes_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch keeps them by thread: a limit that is raised where the network is compiled would be eight again where it
    runs."""
    seen: list[int] = []
    monkeypatch.setattr(TorchEngine, "_work", lambda _: seen.append(torch._dynamo.config.recompile_limit))
    with torch._dynamo.config.patch(recompile_limit=37):
        engine = TorchEngine(folder, slots=2)
        asyncio.run(engine.close())
    assert seen == [37]


def test_a_grammar_that_gives_up_costs_its_own_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """llguidance has limits of its own (of a lexer's states, of a row's items), which a request may meet midway."""
    engine = TorchEngine(folder, slots=3)
    held = request("held", schema={"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
    plain = TorchEngine._constraint

    def tired(engine: TorchEngine, asked: Request, input_ids: list[int]) -> Any:
        constraint = plain(engine, asked, input_ids)
        if asked.request_id == "tired" and constraint is not None:
            constraint.matcher.consume_token(5)  # not what the schema begins with
        return constraint

    monkeypatch.setattr(TorchEngine, "_constraint", tired)

    async def run() -> None:
        first, second, free = await outcomes(engine, replace(held, request_id="tired"), held, request())
        assert isinstance(first, EngineError)
        assert "JSON Schema cannot be followed any further" in str(first)
        assert isinstance(second, Completion)
        assert second.text.startswith('{"a"')
        assert isinstance(free, Completion)
        await engine.close()

    asyncio.run(run())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_thread_that_has_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of our own, outside of any request: who waits is told, and so is who comes later; the process is then
    ended and started anew (engine_child.py)."""
    engine = TorchEngine(folder, slots=2)

    def broken(_: object) -> None:
        raise KeyError("a fault of the scheduler")

    monkeypatch.setattr(Scheduler, "next_prefill", broken)

    async def run() -> None:
        for _ in range(2):
            for answer in await asyncio.wait_for(outcomes(engine, request(), request()), 60):
                assert isinstance(answer, ChildDied)
                assert "a fault of the scheduler" in str(answer)
        await engine.close()

    asyncio.run(run())


def test_the_log_probability_of_an_answer_is_the_networks_own(folder: Path) -> None:
    """Of the same tokens it is the same, whatever temperature and penalties they were drawn with."""
    engine = TorchEngine(folder, slots=2)

    async def run() -> None:
        greedy, also_greedy, sampled = await outcomes(
            engine,
            request("a", Sampling(max_tokens=12)),
            request("b", Sampling(max_tokens=12, temperature=0.01, top_k=1, seed=3)),
            request("c", Sampling(max_tokens=12, temperature=1.5, seed=3)),
        )
        assert isinstance(greedy, Completion)
        assert isinstance(also_greedy, Completion)
        assert isinstance(sampled, Completion)
        assert greedy.text == also_greedy.text
        assert greedy.logprob == pytest.approx(also_greedy.logprob, rel=1e-4)
        assert greedy.logprob is not None
        assert sampled.logprob is not None
        assert sampled.logprob < greedy.logprob < 0
        await engine.close()

    asyncio.run(run())

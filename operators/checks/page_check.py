"""The check of a task that reads all text of a page: against the PDF's own text, and against a blank page. Pure."""

from __future__ import annotations

import re

from operators.checks.text_layer import compare
from schemas.task import CheckResult, View

_LATEX = re.compile(r"\\[A-Za-z]+\*?")
FAR = 0.25
"""Share of words that may be missing, or be extra, until a page counts as read wrongly. Figures and headers that
one side leaves out stay below it, another page's text does not."""
_FEW_WORDS = 3


def text_faults(read: str, view: View) -> CheckResult:
    letters = sum(char.isalnum() for char in read)
    faults = []
    if view.blank and letters:
        faults.append("text_on_blank")
    if view.blank is False and not letters and view.text_layer:
        faults.append("nothing_read")
    if view.text_layer and "\\" not in view.text_layer:
        read = _LATEX.sub(" ", read)  # formulas: a page does not show the commands
    difference = compare(read, view.text_layer) if view.text_layer else None
    if difference is None:
        return CheckResult(tuple(faults))
    most = max(_FEW_WORDS, FAR * difference.words)
    if difference.missing_words > most or difference.extra_words > most:
        faults.append("text_layer")
    return CheckResult(tuple(faults), difference.cer, difference.missing_words, difference.extra_words)

"""The check of a task that reads all text of a page: against the PDF's own text, and against a blank page. Pure."""

from __future__ import annotations

import re

from operators.checks.text_layer import Difference, compare, is_relabeled
from schemas.task import CheckResult, View

_LATEX = re.compile(r"\\[A-Za-z]+\*?")
FAR = 0.25
"""Share of words that may be missing, or be extra, until a page counts as read wrongly. Figures and headers that
one side leaves out stay below it, another page's text does not."""
_FEW_WORDS = 3


def text_faults(read: str, view: View) -> CheckResult:
    """A page on which nothing is to be seen is not held to its layer, and neither is a reading to one whose font names
    its letters wrongly."""
    letters = sum(char.isalnum() for char in read)
    faults = []
    if view.blank is False and not letters and view.text_layer:
        faults.append("nothing_read")
    if view.text_layer and "\\" not in view.text_layer:
        read = _LATEX.sub(" ", read)  # formulas: a page does not show the commands
    difference = compare(read, view.text_layer) if view.text_layer else None
    far = difference is None or is_far(difference)
    if view.blank and (far or not letters):
        return CheckResult(("text_on_blank",) if letters else ())
    if difference is None or (far and is_relabeled(read, view.text_layer or "")):
        return CheckResult(tuple(faults))
    if far:
        faults.append("text_layer")
    return CheckResult(tuple(faults), difference.cer, difference.missing_words, difference.extra_words)


def is_far(difference: Difference) -> bool:
    most = max(_FEW_WORDS, FAR * difference.words)
    return difference.missing_words > most or difference.extra_words > most

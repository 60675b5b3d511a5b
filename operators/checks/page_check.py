"""The check of a task that reads all text of a page: against the PDF's own text, and against a blank page. Pure."""

from __future__ import annotations

from operators.checks.text_layer import Difference, compare, is_relabeled
from schemas.task import CheckResult, View

MOST_MISSING, MOST_EXTRA = 0.25, 0.06
"""Share of a page's words that a reading may leave out, or have besides: headers, and the text of figures."""
_MOST_WITHIN = 0.036
"""The same of words that stand among others that were read."""
_MOST_TORN = 0.03
_MOST_JUMPS = 0.75
"""Of the steps from one line to the next: of lines in reverse nearly all go back, of blocks in any order half."""
_FEW_LINES = 4
"""Below, lines that are turned round may be blocks, unless they go on within a sentence."""
_MISREAD = 0.04
"""Share of words that the layer has with other letters from which it is an old reading itself, whose numbers count for
as little."""


def text_faults(read: str, view: View) -> CheckResult:
    """A page on which nothing is to be seen is not held to its layer, and neither is a reading to one whose font names
    its letters wrongly."""
    letters = sum(char.isalnum() for char in read)
    faults = []
    if view.blank is False and not letters and view.text_layer:
        faults.append("nothing_read")
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
    """Whether a reading is wrong where the layer is right. What is allowed grows with the page: of one of ten words
    nothing may be wrong."""
    words, order = difference.words, difference.disorder
    old = difference.misread_words >= max(4, _MISREAD * words)
    return (
        difference.wrong_numbers > (difference.misread_words // 4 if old else 0)
        or difference.missing > MOST_MISSING * words
        or difference.extra > MOST_EXTRA * words
        or max(difference.missing_within, difference.extra_within) > _MOST_WITHIN * words * (2 if old else 1)
        or order.torn > _MOST_TORN * words
        or (order.lines < _FEW_LINES and (order.torn_lines > 0 or order.pieces >= max(1, order.lines)))
        or order.jumps_back > _MOST_JUMPS
    )

"""Whether to believe an answer: the checks that every task shares, and the task's own. Knows nothing of engines.

Cheap, and run for every row as it is answered; `sightread reparse` runs them again over a finished folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from operators.checks.loops import repeats
from operators.checks.refusals import declines
from schemas.errors import Failure, InvalidOutput
from schemas.task import CheckResult, ParsedReply, Task, View
from schemas.unit import INPUT_FAULTS


@dataclass(frozen=True)
class CheckedReply:
    """failure: why there is no result; verified: a value of tables.VERIFIED."""

    result: Any
    failure: Failure | None
    verified: dict[str, Any]


def check_reply(task: Task, view: View, reply: str, parsed: Any, *, cut: bool) -> CheckedReply:
    """Check a parsed reply. parsed: a value, a ParsedReply, or the exception that the parser raised.

    reply: the raw text; cut: whether any request ended at its max_tokens. Total.
    """
    parsed_reply = parsed if isinstance(parsed, ParsedReply) else ParsedReply(parsed)
    faults = [*(["cut"] if cut or parsed_reply.cut else ()), *(["repeats"] if repeats(reply) else ())]
    if parsed_reply.dropped:
        faults.append("dropped")
    faults += parsed_reply.faults
    if "refused" not in faults and declines(reply.rpartition("</think>")[2], view.text_layer):
        faults.append("refused")
    failure: Failure | None = None
    check = CheckResult()
    try:
        if isinstance(parsed, BaseException):
            raise parsed
        result = task.output.check(parsed_reply.value)
        check = task.verify(result, view)
    except InvalidOutput as error:
        faults += [fault for fault in error.faults if fault not in faults]
        reason = str(error)
        if cut:
            reason = f"the reply ends at its max_tokens; {reason}"
        elif parsed_reply.cut:
            reason = f"the reply is cut off; {reason}"
        failure, result = Failure("parse", "refused" if "refused" in faults else "unparsable", reason), None
    except Exception as error:  # noqa: BLE001  the row's boundary: a task's own code may do anything
        failure, result = Failure("parse", "internal", repr(error)), None
    faults += [fault for fault in check.faults if fault not in faults]
    faults += [note for note in view.input_notes if note in INPUT_FAULTS]
    verified = {
        "ok": failure is None and not faults,
        "faults": faults,
        "dropped": parsed_reply.dropped,
        "cer": check.cer,
        "missing_words": check.missing_words,
        "extra_words": check.extra_words,
        "code_check": None,
    }
    return CheckedReply(result, failure, verified)

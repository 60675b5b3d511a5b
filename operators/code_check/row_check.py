"""Check the code that a row holds by running or reading it. Knows nothing of parts or stores."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from PIL import Image

from model.prompts.rgb import RGB, unpack
from operators.code_check.code_checker import Checked, CodeChecker
from operators.code_check.render_page import missing
from operators.code_check.visual_similarity import compare
from operators.media.blank import is_blank
from operators.media.opened import media_of, pictures, view_of
from operators.media.sandbox import Sandbox
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.task import CheckResult, CodeKind, Task
from schemas.unit import Locator

_WIDTHS_PX = (320, 1920)
_HEIGHTS_PX = (240, 2160)
"""Least and most of a window. It is as wide as the input, so that a page is laid out as its original was."""
_LARGEST_PX = 8_000_000


class RowCheck:
    """decode: how inputs are opened. keep: takes a screenshot, as a key and PNG; None: it is dropped."""

    def __init__(self, decode: DecodeSettings, keep: Callable[[str, bytes], None] | None = None) -> None:
        self._keep = keep
        self._checker = CodeChecker()
        # as it is, not as the model sees it; of a clip the first frame, which shows a page as it opens
        seen = replace(decode, line_reader=None, token_side_px=1, image_min_px=1, video_min_px=1, video_fps=1e-3)
        self._sandbox = Sandbox(replace(seen, image_max_px=_LARGEST_PX, video_max_px=_LARGEST_PX))

    def __call__(self, task: Task, row: dict[str, Any]) -> str:
        """Write into `verified` of a row of results what came of it; the outcome."""
        code_check, faults = self._check(task, row)
        kept = [fault for fault in row["verified"]["faults"] if fault not in faults]
        row["verified"] |= {"ok": not (kept or faults), "faults": [*kept, *faults], "code_check": code_check}
        return str(code_check["outcome"])

    @property
    def lacks(self) -> set[str]:
        """Of its decoder."""
        return self._sandbox.lacks

    def close(self) -> None:
        self._checker.close()
        self._sandbox.close()

    def _check(self, task: Task, row: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """A value of tables.CODE_CHECK, and the faults that follow from it."""
        assert task.code_check is not None
        original = self._original(row) if task.code_check in ("html", "svg") else None
        checked = self._checker.check(task.code_check, row["result"]["code"], *_window(original, row))
        code_check = dict.fromkeys(field.name for field in tables.CODE_CHECK) | checked.columns
        if checked.picture is not None:
            code_check["screenshot"] = self._kept(task.name, row, checked.picture)
            try:
                code_check |= asdict(compare(original, checked.picture)) if original is not None else {}
            except Exception as error:  # noqa: BLE001  the row's boundary: two pictures may be anything
                code_check["message"] = f"not compared with the input: {error!r}"[:300]
        words = words_of(task, checked, row)
        code_check |= {"missing_words": words.missing_words, "extra_words": words.extra_words}
        shows_something = original is not None and not is_blank(original)
        faults = faults_of(task.code_check, checked, shows_something=shows_something)
        return code_check, [*faults, *(("words_differ",) if words.faults else ())]

    def _original(self, row: dict[str, Any]) -> RGB | None:
        """The picture that the code was made from; None where it cannot be had any more."""
        if (media := media_of(row)) is None:
            return None
        (batch,) = self._sandbox.decode(row["input_uri"], media, [Locator.of(row)])
        if batch.column("error")[0].is_valid:
            return None
        try:
            return unpack(pictures(batch.column("pictures")[0])[0])
        except ValueError:  # a decoder that was taken over may send anything for a picture
            return None

    def _kept(self, task: str, row: dict[str, Any], picture: RGB) -> str | None:
        """Its key."""
        if self._keep is None:
            return None
        key = f"screenshots/task={task}/{row['input_id']}-{row['unit_index']}-{row['request_index']}.png"
        png = io.BytesIO()
        Image.fromarray(picture).save(png, format="PNG")
        self._keep(key, png.getvalue())
        return key


def words_of(task: Task, checked: Checked, row: dict[str, Any]) -> CheckResult:
    """What is printed on a page or drawing, held to the PDF's own text of what it was made from. Of a picture nobody
    knows what it reads: then nothing is said."""
    view = view_of(row)
    if checked.text is None or checked.picture is None or not view.text_layer or view.blank:
        return CheckResult()
    return task.verify_shown(checked.text, view)


def is_pending(row: dict[str, Any]) -> bool:
    """row: of a result, its status and verified. A check that found no browser is pending again once there is one."""
    if row["status"] != "ok":
        return False
    code_check = row["verified"].get("code_check")  # parts of older versions have no such field
    return code_check is None or (code_check["outcome"] == "no_browser" and missing() is None)


def faults_of(kind: CodeKind, checked: Checked, *, shows_something: bool) -> list[str]:
    """Of schemas.task.FAULTS."""
    columns = checked.columns
    died = columns["outcome"] in ("timeout", "out_of_memory", "crashed")
    faults = {
        "unresolved_id": bool(columns.get("unresolved")),
        "not_shown": died and kind in ("html", "svg"),
        # Python's or the XML parser gave up
        "not_well_formed": columns["outcome"] == "unreadable" or (died and kind in ("drawio", "python")),
        "shows_nothing": shows_something and checked.picture is not None and is_blank(checked.picture),
        "script_errors": bool(columns.get("errors")),
        "reaches_out": bool(columns.get("refused")),
    }
    return [fault for fault, applies in faults.items() if applies]


def _window(original: RGB | None, row: dict[str, Any]) -> tuple[int, int]:
    """(width, height) of the browser's window in pixels."""
    height, width = original.shape[:2] if original is not None else (row["height_px"] or 720, row["width_px"] or 1280)
    shown = min(max(width, _WIDTHS_PX[0]), _WIDTHS_PX[1])
    return shown, min(max(round(height * shown / width), _HEIGHTS_PX[0]), _HEIGHTS_PX[1])

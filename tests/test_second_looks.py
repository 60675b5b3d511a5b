"""Another look at a page is drawn when it is asked for, and not before; pictures and checks are counted."""

from __future__ import annotations

import numpy as np
import pytest

from model.prompts.rgb import pack
from operators.media import pictures
from pipelines.tasks import ocr
from schemas.request import Completion, Picture, Request
from schemas.task import Step, Unit, View

LAYER = "Opening hours and prices, from Monday to Friday: 10:00 - 17:30"
PAGE = Unit(View("page", 0, 640, 960, blank=False, text_layer=LAYER), pack(np.zeros((960, 640, 3), np.uint8)))


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[Picture]:
    """The pictures that another look was drawn from."""
    seen: list[Picture] = []

    def unpack(picture: Picture) -> np.ndarray:
        seen.append(picture)
        return original(picture)

    original = pictures.unpack
    monkeypatch.setattr(pictures, "unpack", unpack)
    return seen


def asked(*texts: str) -> Request | None:
    """What ocr asks next about the page after these replies."""
    history: tuple[Step, ...] = ()
    for text in texts:
        request = ocr.TASK.next(ocr.TASK, PAGE, history)
        assert isinstance(request, Request)
        history += (Step(request, Completion(text, "stop", 1, 1, 0.1)),)
    request = ocr.TASK.next(ocr.TASK, PAGE, history)
    assert request is None or isinstance(request, Request)
    return request


def test_a_page_that_was_read_is_not_drawn_again(unpacked: list[Picture]) -> None:
    assert asked(LAYER) is None
    assert unpacked == []


def test_a_look_is_drawn_when_it_is_asked(unpacked: list[Picture]) -> None:
    request = asked("Another page altogether, of something else")
    assert request is not None
    assert request.note == "enlarged"
    (larger, _) = request.messages[0].parts
    assert isinstance(larger, Picture)
    assert (larger.width_px, larger.height_px) == (1280, 1920)
    assert len(unpacked) == 1
    request = asked("Another page altogether, of something else", "It is not to be read at all")
    assert request is not None
    assert request.note == "rotated 90"
    assert len(unpacked) == 3


def test_one_reading_is_not_chosen_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(ocr, "text_faults", lambda text, _: read.append(text))
    request = ocr.TASK.next(ocr.TASK, PAGE, ())
    assert isinstance(request, Request)
    history = (Step(request, Completion(LAYER, "stop", 1, 1, 0.1)),)
    assert ocr.TASK.reply(ocr.TASK, PAGE, history).text == LAYER
    assert read == []

"""Zooming in: what the model is shown when it asks for a part of the picture, and that the loop ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.prompts.rgb import pack, unpack
from operators.infer.unit_request import Conversation, UnitRequest
from operators.media.full_res import FULL_RES_PX
from operators.media.image import images
from operators.media.opened import full_res_of
from operators.media.pdf import render_pdf
from operators.media.pictures import cropped, grown
from operators.media.sandbox import Sandbox
from operators.media.source import opened_file
from operators.units import Decoded, Planned
from pipelines.catalogue import bind
from pipelines.loops.zoom import LEAST_PX, TOOL
from schemas.decode import DecodeSettings
from schemas.request import Completion, Message, Picture, Request
from schemas.spec import TaskSpec
from schemas.task import TextLine, Unit, View
from schemas.unit import Locator
from tests.support.world import write_image, write_pdf
from tests.test_own_tasks import RECEIPT, rows_of, spec_of


def quarters(width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Red, green, blue and white, from the top left."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2, 0] = 255
    pixels[: height // 2, width // 2 :, 1] = 255
    pixels[height // 2 :, : width // 2, 2] = 255
    pixels[height // 2 :, width // 2 :] = 255
    return pixels


def zoom(*bbox_2d: Any, **more: Any) -> str:
    arguments = {"bbox_2d": list(bbox_2d), "label": "it", "img_idx": 0, **more}
    return f"Let me look.\n<tool_call>\n{json.dumps({'name': TOOL, 'arguments': arguments})}\n</tool_call>"


SHOWN = pack(quarters(640, 640))
UNIT = Unit(View("image", 0, 1280, 1280, blank=False), SHOWN)


def conversation_of(unit: Unit = UNIT, **spec: Any) -> Conversation:
    return Conversation(bind(TaskSpec(**{"name": "caption", "zooms": 2, **spec})), unit, "r", {})


def conversation_in(unit_request: UnitRequest) -> Conversation:
    assert unit_request.conversation is not None
    return unit_request.conversation


def ask(conversation: Conversation) -> Request:
    (request,) = conversation.next()
    return request


def receive(conversation: Conversation, request: Request, text: str) -> None:
    conversation.receive(request, Completion(text, "stop", 1, 1, 0.1))


def text_of(conversation: Conversation) -> str | None:
    assert conversation.next() == ()
    reply = conversation.reply()
    return None if reply is None else reply.text


def pictures_in(message: Message) -> list[Picture]:
    return [part for part in message.parts if isinstance(part, Picture)]


def words(message: Message) -> str:
    return "".join(part for part in message.parts if isinstance(part, str))


def test_a_part_is_shown_and_the_conversation_goes_on() -> None:
    conversation = conversation_of()
    first = ask(conversation)
    assert [message.role for message in first.messages] == ["system", "user"]
    assert TOOL in words(first.messages[0])
    receive(conversation, first, zoom(500, 0, 1000, 500))
    second = ask(conversation)
    assert second.messages[:2] == first.messages
    assert [message.role for message in second.messages[2:]] == ["assistant", "user"]
    assert words(second.messages[2]) == zoom(500, 0, 1000, 500)
    (crop,) = pictures_in(second.messages[3])
    assert (crop.width_px, crop.height_px) == (512, 512)  # 320 px each way, enlarged to 256 tokens
    assert (unpack(crop) == (0, 255, 0)).all()
    assert words(second.messages[3]).startswith("<tool_response>\n\nThis is image 1. Zoom in again, or answer.")
    assert second.note == "zoom 640 0 1280 640 px"  # of the original
    receive(conversation, second, "A green wall.")
    assert text_of(conversation) == "A green wall."


def test_a_crop_of_a_crop_is_cut_from_the_first_picture() -> None:
    """The right half of the lower half: white, and as many pixels as the picture has there."""
    conversation = conversation_of()
    request = ask(conversation)
    receive(conversation, request, zoom(0, 500, 1000, 1000))
    request = ask(conversation)
    receive(conversation, request, zoom(500, 0, 1000, 1000, img_idx=1))
    request = ask(conversation)
    (crop,) = pictures_in(request.messages[-1])
    assert (unpack(crop) == 255).all()
    assert request.note == "zoom 640 640 1280 1280 px"
    assert "You cannot zoom in again. Answer now." in words(request.messages[-1])


def test_the_sharpest_picture_at_hand_is_cut() -> None:
    """A fine checkered pattern is gray in what the model saw, and black and white in the crop."""
    fine = np.indices((1280, 1280)).sum(axis=0) // 4 % 2 * 255
    full_res = np.repeat(fine[..., None], 3, axis=2).astype(np.uint8)
    shown = np.asarray(Image.fromarray(full_res).resize((160, 160), Image.Resampling.BOX))
    assert shown.std() < 1
    conversation = conversation_of(Unit(UNIT.view, pack(shown), full_res=(pack(full_res),)))
    request = ask(conversation)
    receive(conversation, request, zoom(250, 250, 650, 650))
    (crop,) = pictures_in(ask(conversation).messages[-1])
    assert (crop.width_px, crop.height_px) == (512, 512)
    assert unpack(crop).std() > 120


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (zoom(0, 0, 1000), "bbox_2d is four numbers from 0 to 1000"),
        (zoom(0, 0, 1000, 5000), "bbox_2d is four numbers from 0 to 1000"),
        (zoom("a", 0, 1000, 1000), "bbox_2d is four numbers from 0 to 1000"),
        (zoom(0, 0, 10, 10, img_idx=1), "img_idx is from 0 to 0"),
        (zoom(0, 0, 10, 10, img_idx=0.5), "img_idx is from 0 to 0"),
        (zoom(0, 0, 10, 10, img_idx="first"), "img_idx is from 0 to 0"),
    ],
)
def test_a_call_that_cannot_be_done_is_answered_with_why_and_counts(call: str, sentence: str) -> None:
    conversation = conversation_of(zooms=1)
    receive(conversation, ask(conversation), call)
    request = ask(conversation)
    assert pictures_in(request.messages[-1]) == []
    assert f"Error: {sentence}. You cannot zoom in again." in words(request.messages[-1])
    assert request.note == f"zoom refused: {sentence}"
    receive(conversation, request, "A sign.")
    assert conversation.next() == ()


def test_it_ends_and_a_reply_that_only_asks_on_is_no_answer() -> None:
    task = bind(TaskSpec(name="caption", zooms=2))
    unit_request = UnitRequest(task, UNIT, {}, "r", {})
    conversation = conversation_in(unit_request)
    for _ in range(3):
        receive(conversation, ask(conversation), zoom(0, 0, 100, 100))
    assert conversation.next() == ()
    columns = unit_request.columns(None)
    assert columns["status"] == "invalid_output"
    assert columns["error"]["message"] == "the reply asks to zoom in once more than the 2 times that it may"
    assert [attempt["note"] for attempt in columns["attempts"]] == ["", "zoom 0 0 128 128 px", "zoom 0 0 128 128 px"]


def test_another_tools_call_is_an_answer() -> None:
    click = (
        '<tool_call>{"name": "computer_use", "arguments": {"action": "left_click", "coordinate": [1, 2]}}</tool_call>'
    )
    task = bind(TaskSpec(name="gui_action", zooms=2))
    unit_request = UnitRequest(task, UNIT, {"instruction": "Go", "device": "computer"}, "r", {})
    conversation = conversation_in(unit_request)
    request = ask(conversation)
    offered = [line for line in words(request.messages[0]).splitlines() if line.startswith('{"type": "function"')]
    assert [json.loads(line)["function"]["name"] for line in offered] == ["computer_use", TOOL]
    receive(conversation, request, zoom(0, 0, 500, 500))
    receive(conversation, ask(conversation), click)
    assert conversation.next() == ()
    assert unit_request.columns(None)["result"]["point_px"] == [1.28, 2.56]


def test_a_second_look_may_zoom_in_too_and_is_chosen_among_answers() -> None:
    """ocr asks again when nothing was read; its own history holds no zooms."""
    conversation = conversation_of(name="ocr", zooms=1)
    receive(conversation, ask(conversation), zoom(0, 0, 500, 500))
    receive(conversation, ask(conversation), "")
    larger = ask(conversation)
    assert larger.note == "enlarged"
    assert pictures_in(larger.messages[1])[0].width_px == 1280
    receive(conversation, larger, zoom(0, 0, 1000, 500))
    part = ask(conversation)
    assert part.note == "zoom 0 0 1280 640 px"
    receive(conversation, part, "EXIT")
    assert text_of(conversation) == "EXIT"


def test_a_schema_holds_the_last_reply_only() -> None:
    conversation = conversation_of(**{**RECEIPT, "zooms": 1})
    first = ask(conversation)
    assert first.schema is None
    receive(conversation, first, zoom(0, 0, 500, 500))
    assert ask(conversation).schema == RECEIPT["output"]
    assert ask(conversation_of(**{**RECEIPT, "zooms": 0})).schema == RECEIPT["output"]


def test_lines_are_asked_as_ever() -> None:
    lines = tuple(TextLine((0, y0, 640, y0 + 32), (pack(quarters(640, 32)),)) for y0 in (0, 64))
    conversation = conversation_of(Unit(View("page", 0, 640, 640, blank=False), SHOWN, lines), name="ocr")
    first, second = conversation.next()
    assert [message.role for message in first.messages] == ["user"]
    receive(conversation, second, "there")
    assert conversation.next() == ()
    receive(conversation, first, "here")
    assert text_of(conversation) == "here\nthere"


SIDE = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
BOX = st.tuples(SIDE, SIDE).map(lambda sides: (sides[0][0], sides[1][0], sides[0][1], sides[1][1]))


@settings(max_examples=100, deadline=None)
@given(BOX, st.integers(1, 4000), st.integers(1, 4000))
def test_every_box_becomes_a_part_that_a_model_can_be_shown(box: Any, width_px: int, height_px: int) -> None:
    if max(width_px, height_px) > 200 * min(width_px, height_px):
        return  # such pictures are refused before
    x0, y0, x1, y1 = grown(box, width_px, height_px)
    assert 0 <= x0 < x1 <= width_px
    assert 0 <= y0 < y1 <= height_px
    assert x1 - x0 >= min(32, width_px)
    assert y1 - y0 >= min(32, height_px)
    assert max(x1 - x0, y1 - y0) <= 200 * min(x1 - x0, y1 - y0)
    # all of what was asked for is there
    assert x0 <= box[0] * width_px + 1e-6
    assert x1 >= box[2] * width_px - 1e-6


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([LEAST_PX, 3 * LEAST_PX]))
def test_a_part_has_the_size_of_tokens(width: int, height: int, most_px: int) -> None:
    if max(width, height) > 100 * min(width, height):
        return
    part = cropped(SHOWN, (0, 0, width, height), LEAST_PX, most_px)
    assert part.width_px % 32 == part.height_px % 32 == 0
    assert (part.width_px - 32) * (part.height_px - 32) < most_px


def test_from_the_file_to_the_row(tmp_path: Path) -> None:
    """The row tells every step."""
    write_image(tmp_path / "a.png")
    spec = spec_of(
        tmp_path,
        [{"name": "caption", "zooms": 1}],
        [tmp_path / "a.png"],
        {"sample": "*", "task": "caption", "step": 0, "reply": zoom(0, 0, 500, 500)},
        {"sample": "*", "task": "caption", "step": 1, "reply": "A sign."},
        decode={"image_max_tokens": 32},
    )
    (row,) = rows_of(spec)
    assert (row["width_px"], row["height_px"], row["status"]) == (320, 160, "ok")
    assert row["result"] == {"text": "A sign."}
    assert [(step["note"], step["text"]) for step in row["attempts"]] == [
        ("", zoom(0, 0, 500, 500)),
        ("zoom 0 0 160 80 px", "A sign."),
    ]
    assert row["prompt_tokens"] > row["attempts"][0]["prompt_tokens"]


SMALL = DecodeSettings(image_min_px=32 * 32, image_max_px=256 * 256)


def decoded(opened: ModuleType, path: Path, full_res_max_px: int) -> tuple[Planned, Decoded]:
    settings = replace(SMALL, full_res_max_px=full_res_max_px)
    with opened_file(path) as source:
        (unit,) = opened.probe(source, settings)
        (decoded,) = opened.decode(source, [unit], settings)
    assert isinstance(decoded, Decoded)
    return unit, decoded


def test_decoders_keep_pictures_at_their_own_size_where_a_task_zooms(tmp_path: Path) -> None:
    """A photo that lies on its side, a page, and one that is shown as it is; over the cap it is shrunk."""
    stripes = np.zeros((400, 1200, 3), np.uint8)
    stripes[:, ::2] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(stripes).save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    unit, photo = decoded(images, tmp_path / "a.jpg", FULL_RES_PX)
    assert photo.full_res is not None
    assert photo.full_res.shape == (1200, 400, 3)
    assert photo.full_res[100:-100, 100:-100].std() > 100  # the stripes are there, one pixel each
    assert unit.decoded_bytes == photo.full_res.size + photo.frames[0].size
    assert decoded(images, tmp_path / "a.jpg", 0)[1].full_res is None
    capped = decoded(images, tmp_path / "a.jpg", 400 * 1200 // 4)[1].full_res
    assert capped is not None
    assert capped.shape == (600, 200, 3)

    write_pdf(tmp_path / "a.pdf", pages=1)
    unit, page = decoded(render_pdf, tmp_path / "a.pdf", FULL_RES_PX)
    assert page.full_res is not None
    assert page.full_res.shape == (page.height_px, page.width_px, 3)
    assert unit.decoded_bytes == page.full_res.size + page.frames[0].size

    Image.new("RGB", (256, 256), "red").save(tmp_path / "small.png")
    assert decoded(images, tmp_path / "small.png", FULL_RES_PX)[1].full_res is None

    sandbox = Sandbox(replace(SMALL, full_res_max_px=FULL_RES_PX))
    try:
        (batch,) = sandbox.decode(str(tmp_path / "a.jpg"), "image", [Locator()])
    finally:
        sandbox.close()
    crossed = full_res_of(batch.column("full_res")[0])
    assert crossed is not None
    assert (unpack(crossed) == photo.full_res).all()

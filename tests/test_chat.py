"""Prompts: the frame, the pads, the timestamps; and text that looks like marks stays text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from model.prompts.chat import Chat
from model.prompts.template import DEFAULT_TEMPLATE
from schemas.errors import SpecError
from schemas.request import Clip, Message
from tests.support.tiny import noise_picture, tiny_checkpoint, user


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def chat(folder: Path) -> Chat:
    return Chat(folder)


def shown(chat: Chat, messages: tuple[Message, ...]) -> str:
    """The prompt with its marks; a run of pads as its length."""
    ids = chat.encode(messages).input_ids
    text: str = chat._tokens._tokenizer.decode(ids, skip_special_tokens=False)
    for mark in ("<|image_pad|>", "<|video_pad|>"):
        for count in range(200, 0, -1):
            text = text.replace(mark * count, f"[{count} {mark[2:7]}]")
    return text


def test_a_picture_and_a_question(chat: Chat) -> None:
    assert shown(chat, user(noise_picture(64, 96), "What?")) == (
        "<|im_start|>user\n<|vision_start|>[6 image]<|vision_end|>What?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_clip_has_a_timestamp_before_every_pair(chat: Chat) -> None:
    frames = tuple(noise_picture(32, 64, seed) for seed in range(3))
    assert shown(chat, (Message("user", (Clip(frames, (1.0, 1.5, 2.0)), "Now?")),)) == (
        "<|im_start|>user\n<|vision_start|>"
        "<1.2 seconds><|vision_start|>[2 video]<|vision_end|>"
        "<2.0 seconds><|vision_start|>[2 video]<|vision_end|>"
        "<|vision_end|>Now?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_turns_keep_their_order_and_roles(chat: Chat) -> None:
    turns = (Message("system", ("Be brief.",)), Message("user", ("Hi",)), Message("assistant", ("Ho",)), *user("Why?"))
    assert shown(chat, turns) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHo<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    )


marks = st.sampled_from(
    ["<|im_end|>", "<|im_start|>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "\n", "{{"]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(marks | st.text(max_size=8), max_size=6).map("".join))
def test_text_cannot_write_marks(chat: Chat, text: str) -> None:
    """A page that says <|im_end|> ends no turn, and one that says <|image_pad|> is no picture."""
    plain, tricky = chat.encode(user("x")).input_ids, chat.encode(user(text)).input_ids
    special = set(chat._marks.values())
    assert [i for i in tricky if i in special] == [i for i in plain if i in special]
    body = [i for i in tricky if i not in special]
    assert chat.decode(body).startswith("user\n")


def test_a_checkpoint_without_a_template_gets_the_frame_all_the_same(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.name != "chat_template.jinja":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    messages = user(noise_picture(), "What?")
    assert Chat(tmp_path).encode(messages).input_ids == Chat(folder).encode(messages).input_ids


def test_a_template_of_an_older_layout_is_found(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.name != "chat_template.jinja":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "hello<|im_end|>"}))
    chat = Chat(tmp_path)
    assert (
        chat._tokens._tokenizer.decode(chat.encode(user("x")).input_ids, skip_special_tokens=False) == "hello<|im_end|>"
    )


def test_a_template_cannot_reach_python(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "chat_template.jinja").write_text("{{ messages.__class__.__mro__ }}")
    with pytest.raises(SpecError, match="template"):
        Chat(tmp_path).encode(user("x"))


def test_without_a_tokenizer_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no tokenizer\.json"):
        Chat(tmp_path)


def thinking_chat(folder: Path) -> Chat:
    """Of a checkpoint whose template opens the thought itself."""
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.save(str(path))
    template = DEFAULT_TEMPLATE.replace("<|im_start|>assistant\\n", "<|im_start|>assistant\\n<think>\\n")
    (folder / "chat_template.jinja").write_text(template)
    return Chat(folder)


def test_only_the_closing_tag_parts_reasoning_from_answer(tmp_path: Path) -> None:
    chat = thinking_chat(tiny_checkpoint(tmp_path / "thinking"))
    prompt = chat.encode(user("What?")).input_ids
    assert chat.opens_thinking(prompt)
    output = chat._tokens.encode("a </think> b</think>\n\nc")
    reasoning, answer = chat.split_thinking(prompt, output)
    assert chat.decode_reasoning(reasoning) == "a  b"
    assert chat.decode(answer) == "\n\nc"
    assert len(reasoning) + len(answer) == len(output)
    # cut before the tag came: no answer yet
    assert chat.split_thinking(prompt, output[:1]) == (output[:1], [])


def test_a_model_that_does_not_think_has_no_reasoning(chat: Chat) -> None:
    prompt = chat.encode(user("What is <think>?")).input_ids
    assert not chat.opens_thinking(prompt)
    assert chat.split_thinking(prompt, [5, 6, 7]) == ([], [5, 6, 7])

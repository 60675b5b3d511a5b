"""nano's vocabulary: bytes, the Latin-1 letters, and the marks of Qwen's chat frame. Knows nothing of networks.

A byte-level BPE like Qwen's own, so that any text can be encoded, whose only merges make each Latin-1 letter
one token: read text is one token a character. The role names, the prompts that nano was trained on, the fixed parts
of its JSON replies, the names and motions of shapes, coordinates (in steps of 5) and seconds (of the first minute) are
one token each: what a small network can look up in a picture with one step of attention, and write with one token,
it learns in a tenth of the time. Other words go in as their letters.
"""

from __future__ import annotations

import functools
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from model.nano.corpus import ASCII, LATIN_1
from model.nano.scenes import COLORS, MOTIONS, SHAPES
from model.prompts.pixels import frame_pair_times_s

SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
OCR_PROMPT = "Read all the text in the image."
IMAGE_PROMPT, CLIP_PROMPT = "Describe this image.", "Briefly describe the video."
EVENTS_PROMPT = (
    "Localize a series of activity events in the video, output the start and end timestamp for each event, and "
    "describe each event with sentences. Provide the result in json format with 'mm:ss.ff' format for time depiction."
)
CATEGORIES = 'Locate every instance that belongs to the following categories: "'
AS_BOXES, AS_POINTS = '". Report bbox coordinates in JSON format.', '". Output the point coordinates in JSON format.'
"""What stands before and behind the categories, which are parted by commas."""

LIST_OPENS, LIST_CLOSES, NO_LIST = "```json\n[\n\t", "\n]\n```", "```json\n[]\n```"
BOX_OPENS, POINT_OPENS, LABEL, OBJECT_CLOSES, NEXT_OBJECT = (
    '{"bbox_2d": [',
    '{"point_2d": [',
    '], "label": "',
    '"}',
    ",\n\t",
)
EVENTS_OPEN, EVENTS_CLOSE, EVENT_TEXT, NEXT_EVENT = '{\n    "', '"\n}', '": "', '",\n    "'
"""The fixed parts of the real model's JSON, as its authors' recordings have them (docs/facts/qwen3-vl.md §2.3, 2.5)."""
TO, SHARP = ".00 - ", ".00"
"""What follows the full seconds of an event's start and of its end."""

COORDINATE_STEP = 5
COORDINATES = tuple(str(value) for value in range(0, 1001, COORDINATE_STEP))
LONGEST_S = 60
SHOWN_SECONDS = tuple(f"<{second}" for second in range(LONGEST_S))
SAID_SECONDS = tuple(f"{second // 60:02d}:{second % 60:02d}" for second in range(LONGEST_S + 1))
THINGS = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)

PHRASES = (
    *("user", "assistant", "system", OCR_PROMPT, IMAGE_PROMPT, CLIP_PROMPT, EVENTS_PROMPT),
    *(CATEGORIES, AS_BOXES, AS_POINTS, LIST_OPENS, LIST_CLOSES, NO_LIST),
    *(BOX_OPENS, POINT_OPENS, LABEL, OBJECT_CLOSES, NEXT_OBJECT),
    *(EVENTS_OPEN, EVENTS_CLOSE, EVENT_TEXT, NEXT_EVENT),
    *(*THINGS, *MOTIONS, TO, SHARP, " seconds>"),
    *(*SHOWN_SECONDS, *SAID_SECONDS),
    *(number for number in COORDINATES if len(number) > 1),  # a digit is its byte
)
CHARACTERS = (*sorted(ASCII + LATIN_1), "\n")
"""What a reply may hold besides, one token each."""

VOCABULARY_SIZE = 768  # a multiple of 64, some rows unused
_SPLIT = (  # Qwen2's; with no merges beyond single letters it only has to be valid
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_letters() -> list[str]:
    """The printable letter that stands for each byte in byte-level BPE (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (chr(0x100 + i) for i in range(256))
    return [chr(byte) if byte in printable else next(others) for byte in range(256)]


def build_tokenizer() -> Tokenizer:
    """The tokenizer from constants; ids: bytes 0 … 255, Latin-1 letters, then marks and phrases."""
    letters = _byte_letters()
    vocabulary = {letter: byte for byte, letter in enumerate(letters)}
    merges = []
    for character in LATIN_1:
        first, second = (letters[byte] for byte in character.encode())
        merges.append((first, second))
        vocabulary[first + second] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIALS])
    tokenizer.add_tokens([AddedToken(phrase, special=False, normalized=False) for phrase in PHRASES])
    assert tokenizer.get_vocab_size() <= VOCABULARY_SIZE
    return tokenizer


@functools.cache
def token_ids() -> dict[str, int]:
    """Id of every special token, phrase and reply character."""
    tokenizer = build_tokenizer()
    ids = {}
    for name in (*SPECIALS, *PHRASES, *CHARACTERS):
        (ids[name],) = tokenizer.encode(name, add_special_tokens=False).ids
    return ids


def prompt_ids(image_tokens: int, prompt: str = OCR_PROMPT) -> list[int]:
    """What the chat template and the expansion of the picture make of [picture, prompt]."""
    ids = token_ids()
    frame = ["<|im_start|>", "user", "\n", "<|vision_start|>"]
    frame += ["<|image_pad|>"] * image_tokens
    frame += ["<|vision_end|>", prompt, "<|im_end|>", "\n", "<|im_start|>", "assistant", "\n"]
    return [ids[token] for token in frame]


def scene_prompt_ids(times_s: tuple[float, ...], tokens: int, prompt: str) -> list[int]:
    """The prompt about a picture of so many tokens, or about a clip with so many in each pair of frames, each pair
    behind its timestamp (as `model.prompts.chat` lays it out)."""
    ids = token_ids()
    shown = [ids["<|image_pad|>"]] * tokens
    if times_s:
        shown = []
        for time_s in frame_pair_times_s(times_s):
            pair = [ids["<|vision_start|>"], *[ids["<|video_pad|>"]] * tokens, ids["<|vision_end|>"]]
            shown += [*phrase_ids(f"<{time_s:.1f} seconds>"), *pair]
    head = ["<|im_start|>", "user", "\n", "<|vision_start|>"]
    tail = ["<|im_end|>", "\n", "<|im_start|>", "assistant", "\n"]
    marks = [[ids[token] for token in part] for part in (head, tail)]
    return [*marks[0], *shown, ids["<|vision_end|>"], *phrase_ids(prompt), *marks[1]]


def phrase_ids(text: str) -> list[int]:
    """Ids as the tokenizer gives them: fixed parts are one each, the rest letter by letter."""
    return list(_encoded(text))


@functools.lru_cache(maxsize=1 << 16)
def _encoded(text: str) -> tuple[int, ...]:
    return tuple(_tokenizer().encode(text, add_special_tokens=False).ids)


@functools.cache
def _tokenizer() -> Tokenizer:
    return build_tokenizer()


def reply_ids(text: str) -> list[int]:
    """A reply as the network writes it: a token a character, and the end of the turn."""
    ids = token_ids()
    return [*(ids[character] for character in text), ids["<|im_end|>"]]


def special_ids() -> dict[str, Any]:
    """The ids that config.json names."""
    ids = token_ids()
    return {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }

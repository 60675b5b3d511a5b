"""nano's vocabulary: bytes, the Latin-1 letters, and the marks of Qwen's chat frame. Knows nothing of networks.

A byte-level BPE like Qwen's own, so that any text can be encoded, whose only merges make each Latin-1 letter
one token: a reply is one token a character. The role names and the task's prompt are one token each, which
keeps training sequences short; a prompt in other words goes in as its letters.
"""

from __future__ import annotations

import functools
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from model.nano.prose import ASCII, LATIN_1

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
PHRASES = ("user", "assistant", "system", OCR_PROMPT, "Describe this image.", "Briefly describe the video.")
CHARACTERS = (*sorted(ASCII + LATIN_1), "\n")
"""What a reply may hold, one token each."""

VOCABULARY_SIZE = 384  # a multiple of 64, some rows unused
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
    return [ids[each] for each in frame]


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

"""The tokenizer of a checkpoint: text to ids and back, and its marks (`<|im_end|>` and the like). Nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from schemas.errors import SpecError
from schemas.json_file import read_object

_MOST_BYTES = 64 << 20  # Qwen's has 7 MB
_PADS = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}


class Tokens:
    """Reads tokenizer.json and what says which tokens end a text. Raises SpecError for what is missing or broken.

    marks: ids of special tokens by name. stop_ids: of tokens that end an answer.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "tokenizer.json"
        if not self._path.is_file():
            raise SpecError(f"{folder} holds no tokenizer.json")
        self._tokenizer = _tokenizer(self._path)
        self._tokenizer.encode_special_tokens = True  # text that looks like a special token is text
        decoder = self._tokenizer.get_added_tokens_decoder()
        marks = {token_id: token for token_id, token in decoder.items() if _is_mark(token)}
        self.marks: dict[str, int] = {token.content: token_id for token_id, token in marks.items()}
        for token in marks.values():
            if token.lstrip or token.rstrip or token.single_word:
                raise SpecError(f"{self._path}: {token.content} takes the spaces around it, which is not done here")
        if self._tokenizer.num_special_tokens_to_add(False):
            raise SpecError(f"{self._path}: its post_processor adds tokens to every text, which is not done here")
        self._check_added(folder)
        _check_pads(folder)
        self.stop_ids = self._stop_ids(folder)

    def check(self, wanted: dict[str, int], vocabulary: int) -> None:
        """wanted: ids of marks, by name; vocabulary: rows of the embedding table. Raises SpecError where config.json,
        whose they are, and the tokenizer differ."""
        for name, token_id in wanted.items():
            if self.id_of(name) != token_id:
                raise SpecError(f"{self._path}: {name} is {self.id_of(name)}, and config.json has {token_id} for it")
        highest = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        if highest >= vocabulary:
            raise SpecError(f"{self._path}: it has a token {highest}, and vocab_size of config.json is {vocabulary}")

    def id_of(self, mark: str) -> int:
        if mark not in self.marks:
            raise SpecError(f"{self._path} has no token {mark}")
        return self.marks[mark]

    def any_id(self, token: str) -> int | None:
        """Of a token that may be no mark."""
        token_id: int | None = self._tokenizer.token_to_id(token)
        return token_id

    def encode(self, text: str) -> list[int]:
        """Marks in it are text."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Marks left out; bytes that are no UTF-8 (yet) become U+FFFD."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def as_json(self) -> str:
        text: str = self._tokenizer.to_str()
        return text

    def _check_added(self, folder: Path) -> None:
        """Raises SpecError for tokens that transformers would add from another file."""
        path = folder / "tokenizer_config.json"
        added = (read_object(path) if path.exists() else {}).get("added_tokens_decoder")
        for token_id, token in (added if isinstance(added, dict) else {}).items():
            name = token.get("content") if isinstance(token, dict) else None
            if not isinstance(name, str) or str(self.any_id(name)) != token_id:
                raise SpecError(
                    f"{path}: tokenizer.json has no token {token_id[:20]} {f'{name!r}'[:60]}; save it again"
                )

    def _stop_ids(self, folder: Path) -> frozenset[int]:
        """Those of generation_config.json, else of config.json; <|im_end|> in any case."""
        ids_of_end = {self.id_of("<|im_end|>")}
        for name in ("generation_config.json", "config.json"):
            path = folder / name
            config = read_object(path) if path.exists() else {}
            text = config.get("text_config")
            ids = config.get("eos_token_id", text.get("eos_token_id") if isinstance(text, dict) else None)
            if ids is not None:
                ids = ids if isinstance(ids, list) else [ids]
                if not all(isinstance(number, int) and not isinstance(number, bool) for number in ids):
                    raise SpecError(f"{path}: eos_token_id is {f'{ids!r}'[:60]}, not a number or several")
                ids_of_end |= set(ids)
                break
        return frozenset(ids_of_end)


def _is_mark(token: Any) -> bool:
    return bool(token.special or token.content.startswith("<|"))


def _tokenizer(path: Path) -> Tokenizer:
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise SpecError(f"{path} cannot be read: {size} bytes; at most {_MOST_BYTES} are read")
        tokenizer = Tokenizer.from_file(str(path))
    except SpecError:
        raise
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # the library raises Exception, and its panics are none
        raise SpecError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    # a file may ask for both, of all that is encoded; transformers asks for neither
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _check_pads(folder: Path) -> None:
    """Raises SpecError where tokenizer_config.json has other tokens stand for pictures and clips."""
    path = folder / "tokenizer_config.json"
    config = read_object(path) if path.exists() else {}
    extra = config.get("extra_special_tokens")
    for key, usual in _PADS.items():
        for section in (config, extra if isinstance(extra, dict) else {}):
            if section.get(key, usual) != usual:
                raise SpecError(f"{path}: {key} is {f'{section[key]!r}'[:60]}; only {usual} stands for one here")

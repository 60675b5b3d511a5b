"""Whole numbers in words: English and German from 1 to 99, Chinese to 999. Knows nothing of what they count."""

from __future__ import annotations

_EN = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"),
    *("fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_EN_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_EN_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth", **{tens: f"{tens[:-1]}ieth" for tens in _EN_TENS},
}  # fmt: skip
_DE = (
    *("eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf", "dreizehn"),
    *("vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn"),
)
_DE_TENS = ("zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")
_DE_ORDINALS = {"eins": "erst", "drei": "dritt", "sieben": "siebt", "acht": "acht"}
_HAN = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_HAN_UNITS = {"十": 10, "百": 100}

HAN = "".join((*_HAN, *_HAN_UNITS))
"""The characters of a Chinese number."""


def _english() -> dict[int, str]:
    tens = {10 * (place + 2): word for place, word in enumerate(_EN_TENS)}
    words = {value + 1: word for value, word in enumerate(_EN)} | tens
    return words | {ten + one: f"{word}-{_EN[one - 1]}" for ten, word in tens.items() for one in range(1, 10)}


def _german() -> dict[int, str]:
    tens = {10 * (place + 2): word for place, word in enumerate(_DE_TENS)}
    words = {value + 1: word for value, word in enumerate(_DE)} | tens
    ones = ("ein", *_DE[1:9])
    return words | {ten + one: f"{ones[one - 1]}und{word}" for ten, word in tens.items() for one in range(1, 10)}


def _ordinal_en(word: str) -> str:
    head, _, last = word.rpartition("-")
    return f"{head}-{_EN_ORDINALS.get(last, f'{last}th')}".lstrip("-")


def _ordinal_de(value: int, word: str) -> str:
    return _DE_ORDINALS.get(word, word + ("t" if value < 20 else "st"))


CARDINALS = {word: value for words in (_english(), _german()) for value, word in words.items()}
"""In lower case: `twenty-one`, `einundzwanzig`."""
ORDINALS = {_ordinal_en(word): value for value, word in _english().items()} | {
    _ordinal_de(value, word) + ending: value
    for value, word in _german().items()
    for ending in ("e", "en", "er", "es", "em")
}
"""The same: `second`, `zweite`, `zweiten`."""


def chinese_number(numeral: str) -> int:
    """`12`, `十二`, `一百零二`. numeral: digits, or of HAN alone."""
    if numeral.isdigit():
        return int(numeral)
    total = digit = 0
    for char in numeral:
        if char in _HAN_UNITS:
            total += (digit or 1) * _HAN_UNITS[char]
            digit = 0
        else:
            digit = _HAN[char]
    return total + digit

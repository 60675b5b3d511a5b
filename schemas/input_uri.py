"""The column `input_uri`: where an input lies, as text that any table can hold.

It is the absolute path, as it is. A name that is no UTF-8 has no such text, so it is a `file://` URI with its bytes
percent-encoded (RFC 8089). A path begins with a slash, so the two are never taken for each other.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

_SCHEMES = ("file:///", "file://localhost/")
_NO_TEXT = re.compile("[\ud800-\udfff]")


def uri_of(path: str) -> str:
    """path: absolute, as the system's calls give it: bytes that are no UTF-8 as lone surrogates."""
    if (text := text_of(path)) == path:
        return path
    try:
        return f"file://{quote_from_bytes(os.fsencode(path))}"
    except UnicodeEncodeError:  # surrogates that stand for no byte: nothing can have this name
        return text


def path_of(uri: str) -> Path:
    """The path that an input_uri stands for. Anything else is taken for a path."""
    scheme = next((scheme for scheme in _SCHEMES if uri.startswith(scheme)), None)
    return Path(uri) if scheme is None else Path(os.fsdecode(b"/" + unquote_to_bytes(uri.removeprefix(scheme))))


def text_of(name: str) -> str:
    """A name as text: what is none in it, replaced."""
    return _NO_TEXT.sub("\ufffd", name)

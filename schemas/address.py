"""The grammar of addresses: where inputs, tables and outputs may lie, as text. Opens nothing, resolves nothing.

plain paths, file:///data/a.pdf      this machine, or a file system that several share
s3://bucket/key  gs://…  az://…      object stores (az: az://container/key, of the account in the environment)
https://host/a.pdf                   the web: read only
hf://datasets/owner/name/a.parquet   Hugging Face: read only
memory://name/key                    the memory of this process, for tests
<shard>.tar#<member>                 a member of a tar shard
<table>.parquet#<row>                a cell of a table of bytes, or a row that names no file
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from schemas.input_uri import path_of

OBJECT_STORES = frozenset(("s3", "gs", "az"))
WEB = frozenset(("https", "http"))
"""http only from hosts that the spec allows."""
HUB = frozenset(("hf",))
MEMORY = frozenset(("memory",))
REMOTE = OBJECT_STORES | WEB | HUB | MEMORY

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_PASSWORD = re.compile(
    r"((?<![A-Za-z0-9+.-])(?!(?i:abfss?|wasbs?):)[A-Za-z][A-Za-z0-9+.-]+:/{1,2}(?!/))(?:[^/]*|[^/:]*:(?![0-9]*/)[^:]*)@"
)
"""Also in what is no address: with a slash too few, or one in the password. Hadoop's addresses of Azure have a
container's name there."""
_INNER = re.compile(
    r"(?P<container>.+?\.tar)#(?P<member>.+)|(?P<table>.+\.parquet(?:\?[^#]*)?)#(?P<row>[0-9]+)",
    re.IGNORECASE | re.DOTALL,
)


def scheme_of(address: str) -> str:
    """Lower case; `file` for a plain path. One slash is a slip: no folder should be named "s3:"."""
    scheme = _SCHEME.match(address)
    return scheme[1].lower() if scheme else "file"


def is_remote(address: str) -> bool:
    """Of a scheme that is known and no path."""
    return scheme_of(address) in REMOTE and "://" in address


def place_of(address: str) -> tuple[str, str, str]:
    """(scheme, bucket or host, key) of a remote address; the key has no slash before it."""
    scheme, _, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    return scheme.lower(), bucket, key


def canonical(address: str) -> str:
    """One spelling of it: scheme and host are the same in capitals."""
    scheme, bucket, _ = place_of(address)
    after = address.partition("://")[2]
    return f"{scheme}://{bucket.lower() if scheme in WEB else bucket}{after[len(bucket) :]}"


def has_password(address: str) -> bool:
    """Whether it holds a name and password before its host, which are never to be written."""
    return _PASSWORD.match(address) is not None


def without_password(address: str) -> str:
    return _PASSWORD.sub(r"\1", address, count=1)


def without_query(address: str) -> str:
    """As sentences name it: what is behind a `?` of the web may be a signature."""
    return address.partition("?")[0] if scheme_of(address) in WEB else address


def folder_of(address: str) -> str:
    """The address of what a file lies in, with a slash at its end."""
    head, _, _ = address.split("?", 1)[0].rpartition("/") if scheme_of(address) in WEB else address.rpartition("/")
    return f"{head}/"


def address_in(folder: str, name: str) -> str:
    """What a table in a folder means by a name: an address as it is, a name relative to the folder; `..` leads up, but
    not out of the bucket."""
    if is_remote(name):
        return name
    scheme, bucket, key = place_of(folder)
    query = ""
    if scheme in WEB:
        name, mark, rest = name.partition("?")
        query = mark + rest
    path = posixpath.normpath(f"/{name}" if name.startswith("/") else f"/{key}/{name}").lstrip("/")
    return f"{scheme}://{bucket}/{path}{'/' if name.endswith('/') else ''}{query}"


def name_of(address: str) -> str:
    """The last name in it, which may tell the format; of a web address without the query. Of a file of this machine as
    the system has it: bytes that are no UTF-8 as lone surrogates."""
    if not is_remote(address):
        name = address.rpartition("/")[2]
        # of every file that is listed: a Path takes ten times as long
        return path_of(address).name if name in ("", ".") or address.startswith("file:") else name
    inner = inner_of(address)[1]
    text = address if inner is None else inner
    if inner is None and scheme_of(address) in WEB:
        text = place_of(re.split("[?#]", address, maxsplit=1)[0])[2]
    return text.rstrip("/").rpartition("/")[2]


def inner_of(address: str) -> tuple[str, str | None]:
    """(container, member of a shard or row of a table); None for what is no part of a file."""
    if (inside := _INNER.fullmatch(address)) is None:
        return address, None
    return (inside["container"], inside["member"]) if inside["container"] else (inside["table"], inside["row"])


def tar_splits(address: str) -> Iterator[tuple[str, str]]:
    """(shard, member): the ways to read an address as a member of a tar shard, the shortest shard first."""
    for mark in re.finditer(r"\.tar#(?=.)", address, re.IGNORECASE | re.DOTALL):
        yield address[: mark.end() - 1], address[mark.end() :]

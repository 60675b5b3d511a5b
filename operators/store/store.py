"""What a store is: files under keys, read whole or in pieces, put and replaced whole. Knows nothing of jobs or Parquet.

A key is a relative path with `/`, below the store's root. Whoever reads sees a file as one `put_if_absent` or
`replace_if_same` left it, never half of it; of writers at once exactly one wins. Another place to put results is a
module with these verbs and a line in addresses.py: docs/extending-store.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Protocol, TypeAlias

Data: TypeAlias = bytes | memoryview


@dataclass(frozen=True)
class Stat:
    """version: changes with every replacement by other bytes (S3's is a hash of them); it means something to
    `replace_if_same` of the same store alone. modified_s: since the epoch, by the store's clock; None where
    it does not say."""

    size_bytes: int
    version: str
    modified_s: float | None = None


class Replaced(OSError):
    """A file is another by now than when its first bytes were read."""


class Store(Protocol):
    """Constructed from its address, in every process anew. All verbs may raise OSError.

    One that answers over a network may have a verb more, `by_ranges(key) -> RangeFile` (operators/store/ranges.py): of
    a large file its readers then fetch what they want.
    """

    @property
    def address(self) -> str:
        """Of the root, as it is shown; `<address>/<key>` names a file."""

    def list(self, folder: str = "") -> list[str]:
        """All keys below a folder, however deep, sorted; none where there is no such folder."""

    def stat(self, key: str) -> Stat | None:
        """None where there is no such file."""

    def open(self, key: str) -> IO[bytes]:
        """To read from any place of it. Raises FileNotFoundError."""

    def put_if_absent(self, key: str, data: Data) -> bool:
        """False, and nothing changed, when there is a file under this key already."""

    def replace_if_same(self, key: str, data: Data, version: str) -> bool:
        """False, and nothing changed, unless the file there still has this version."""

    def delete(self, key: str) -> None:
        """Also where there is no such file."""


def overwrite(store: Store, key: str, data: Data) -> None:
    """Put a file whatever is there: the last writer wins."""
    while True:
        there = store.stat(key)
        if store.put_if_absent(key, data) if there is None else store.replace_if_same(key, data, there.version):
            return


def sizes(store: Store, folder: str) -> dict[str, int]:
    """Bytes of all files below a folder, by key. A store whose listing says them has a verb of this name."""
    if (listed := getattr(store, "sizes", None)) is not None:
        by_key: dict[str, int] = listed(folder)
        return by_key
    stats = ((key, store.stat(key)) for key in store.list(folder))
    return {key: there.size_bytes for key, there in stats if there is not None}


def read(store: Store, key: str) -> bytes:
    """All of a file. Raises FileNotFoundError."""
    with store.open(key) as file:
        return file.read()

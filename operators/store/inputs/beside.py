"""Small files that may lie beside an input in a bucket: asked for by name, and from a number of answers on by one
listing of their folder, so that a million inputs without such files cost a thousand requests and not three million.

What was there is remembered as long as the process lives, and what was not, too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from functools import lru_cache

from operators.store.inputs.opened_input import opened_input
from operators.store.inputs.origin import Entry as Entry
from operators.store.inputs.origin import Origin, origin_of
from schemas.address import HUB, MEMORY, OBJECT_STORES, folder_of, scheme_of
from schemas.errors import InputError, SpecError
from schemas.fetch import FetchSettings

ASKED = 64
"""Names in a folder that are asked for one by one."""
MOST_LISTED = 2_000_000
"""Files that are looked at in a listing. In a folder with more, names are asked for one by one."""
_LISTED = (".json",)
"""Endings of the names that are kept of it."""
_ARE_FOLDERS = OBJECT_STORES | HUB | MEMORY
"""Not the web: nobody knows what lies beside a page, and each name would be a request."""


def file_beside(address: str, name: str) -> Entry | None:
    """A file of that name in the folder of an input; None where there is none. name: it ends as _LISTED. Raises
    InputError, StoreLost."""
    if scheme_of(address) not in _ARE_FOLDERS:
        return None
    return _folder(folder_of(address)).entry(name)


def content_of(file: Entry) -> bytes:
    """Raises InputError, StoreLost."""
    with opened_input(file.address, file.version) as opened:
        return os.pread(opened.fd, os.fstat(opened.fd).st_size, 0)


class _Folder:
    """address: with a slash at its end."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._answers: dict[str, Entry | None] = {}
        self._is_listed = False
        self._may_list = True

    def entry(self, name: str) -> Entry | None:
        with self._lock:
            if name not in self._answers and not self._is_listed:
                if len(self._answers) < ASKED or not self._may_list:
                    self._ask(name)
                else:
                    self._list()
            return self._answers.get(name)

    def _origin(self) -> Origin:
        return origin_of(self._address, FetchSettings())

    def _ask(self, name: str) -> None:
        try:
            self._answers[name] = self._origin().stat(f"{self._address}{name}")
        except InputError as error:
            if error.kind == "permission" and self._may_list:
                self._list()  # who may not list is refused what is not there
            elif error.kind == "not_found":
                self._answers[name] = None
            else:
                raise

    def _list(self) -> None:
        """Where that is refused, there is nothing beside any input."""
        kept: dict[str, Entry | None] = {}
        try:
            entries: Iterable[Entry] = self._origin().list(self._address)
            for number, entry in enumerate(entries):
                if number == MOST_LISTED:
                    self._may_list = False
                    return
                if (name := entry.address.removeprefix(self._address)).lower().endswith(_LISTED) and "/" not in name:
                    kept[name] = entry
        except SpecError:
            pass
        self._answers, self._is_listed = kept, True


@lru_cache(maxsize=256)
def _folder(address: str) -> _Folder:
    return _Folder(address)

"""Inputs of the Hugging Face hub, through huggingface_hub: hf://datasets/owner/name[@revision]/path, hf://spaces/… and
hf://owner/name/… for a model.

version: the commit, which a file is then read at: what is pushed meanwhile changes nothing. Token (HF_TOKEN), endpoint
(HF_ENDPOINT) and HF_HUB_OFFLINE are the library's own; where the hub leads on to another host, it keeps the token to
itself. The hub is one store that all its files depend on, so it is waited for like a bucket, and lost like one.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from huggingface_hub import HfApi, constants, errors, get_hf_file_metadata, hf_hub_url
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import get_session, hf_raise_for_status

from operators.store.inputs.origin import Entry
from operators.store.retries import FIRST_PATIENCE_S, MayPass, Refused, patience_s, patiently
from schemas.errors import InputError, SpecError, StoreLost
from schemas.fetch import FetchSettings

_REPOSITORY = re.compile(
    r"hf://(?:(?P<type>datasets|spaces|models)/)?(?P<name>[^/@]+/[^/@]+)"
    r"(?:@(?P<revision>refs/(?:convert|pr)/[^/]+|[^/]+))?(?:/(?P<path>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_TYPES = {None: "model", "models": "model", "datasets": "dataset", "spaces": "space"}
_NOT_THERE = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError)
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Place:
    """root: its address without the path."""

    root: str
    type: str
    name: str
    revision: str
    path: str


class HubOrigin:
    def __init__(self, settings: FetchSettings) -> None:  # noqa: ARG002
        """The settings are those of the web."""
        self._api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)

    def check(self, address: str) -> None:
        try:
            self._commit(_place(address), FIRST_PATIENCE_S)
        except StoreLost as error:
            raise InputError("unreachable", f"{error}; check the network, or HF_ENDPOINT") from error

    def stat(self, address: str) -> Entry:
        place = _place(address)
        if not place.path:
            raise InputError("not_found", f"{address} is all of a repository, and no file")
        url = self._url(place, place.revision)
        about = _ask(address, lambda: get_hf_file_metadata(url))
        return Entry(address, about.size, about.commit_hash)

    def list(self, address: str) -> Iterator[Entry]:
        try:
            place = _place(address)
            commit = self._commit(place)
            tree = _ask(address, lambda: self._tree(place, commit))
        except InputError as error:
            raise SpecError(f"inputs: {error}") from error
        for file in sorted(tree, key=lambda file: file.path):
            yield Entry(f"{place.root}/{file.path}", file.size, commit)

    def pieces(self, address: str, version: str | None, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        place = _place(address)
        url = self._url(place, version or self.stat(address).version or place.revision)
        while end is None or start < end:
            with contextlib.ExitStack() as stack:
                # a byte at least comes of each, so that a hub that always breaks off is given up at last
                rest = _ask(address, lambda: self._begun(url, start, end, stack))  # noqa: B023
                try:
                    for piece in rest:
                        start += len(piece)
                        yield piece
                except errors.HTTPError:  # type: ignore[attr-defined]
                    continue  # it goes on from there
                return

    def _commit(self, place: _Place, most_s: float | None = None) -> str | None:
        def ask() -> str | None:
            return self._api.repo_info(place.name, repo_type=place.type, revision=place.revision).sha

        return _ask(place.root, ask, most_s)

    def _tree(self, place: _Place, commit: str | None) -> tuple[RepoFile, ...]:
        """Empty where there is no such folder."""
        try:
            entries = self._api.list_repo_tree(
                place.name, place.path.strip("/") or None, recursive=True, revision=commit, repo_type=place.type
            )
            return tuple(entry for entry in entries if isinstance(entry, RepoFile))
        except errors.RemoteEntryNotFoundError:
            return ()

    def _begun(self, url: str, start: int, end: int | None, stack: contextlib.ExitStack) -> Iterator[bytes]:
        stack.close()  # what an earlier try has opened
        headers = build_hf_headers(headers={"Accept-Encoding": "identity"})
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        asked = get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
        response = stack.enter_context(asked)
        hf_raise_for_status(response)
        if "Range" in headers and response.status_code != 206:
            raise MayPass("the hub answers with all of it, and was asked for a part")
        pieces = response.iter_raw()  # as they come: a piece of a size that is set would be lost with the rest
        first = next(pieces, b"")

        def all_of_it() -> Iterator[bytes]:
            if first:
                yield first
            yield from pieces

        return all_of_it()

    def _url(self, place: _Place, revision: str) -> str:
        """Raises InputError."""
        try:
            return hf_hub_url(
                place.name, place.path, repo_type=place.type, revision=revision, endpoint=self._api.endpoint
            )
        except ValueError as error:
            raise InputError("not_found", f"{place.root}: the hub takes no such name") from error


def _place(address: str) -> _Place:
    """Raises InputError."""
    parts = _REPOSITORY.fullmatch(address)
    if parts is None:
        raise InputError("not_found", f"{address}: hf://datasets/owner/name/path, or hf://owner/name/path for a model")
    path = parts["path"] or ""
    if {".", ".."} & {parts["revision"], *path.split("/")}:  # a client would go up, to what else the token may ask for
        raise InputError("not_found", f"{address}: the hub has no such path")
    root = address[: len(address) - len(path)].rstrip("/")
    kind = parts["type"] and parts["type"].lower()
    return _Place(root, _TYPES[kind], parts["name"], parts["revision"] or constants.DEFAULT_REVISION, path)


def _ask(address: str, ask: Callable[[], _T], most_s: float | None = None) -> _T:
    def translated() -> _T:
        try:
            return ask()
        except Exception as error:  # the library's own tree: each is one of ours, or no error of a hub
            raise _translated(address, error) from error

    return patiently(translated, address, patience_s() if most_s is None else most_s)


def _translated(address: str, error: Exception) -> Exception:
    match error:
        case errors.OfflineModeIsEnabled():
            return InputError("unreachable", f"{address}: HF_HUB_OFFLINE is set")
        case errors.GatedRepoError():
            return InputError("permission", f"{address}: its owner has to let you in, and HF_TOKEN to say who you are")
        case errors.HFValidationError():
            return InputError("not_found", f"{address}: the hub takes no such name")
        case errors.HfHubHTTPError() if not isinstance(error, _NOT_THERE):
            return _of_status(address, error.response.status_code)
        case _ if isinstance(error, _NOT_THERE):
            return InputError("not_found", f"{address} is not there, or not for this token (HF_TOKEN)")
        case errors.HTTPError() | OSError():  # type: ignore[attr-defined]
            return MayPass(type(error).__name__)
    return error


def _of_status(address: str, status: int) -> Exception:
    sentence = f"{address}: the hub answers with status {status}"
    if status in (401, 403):
        return Refused(sentence)
    if status in (408, 425, 429) or status >= 500:
        return MayPass(sentence)
    return InputError("not_found" if status in (404, 410) else "unreachable", sentence)

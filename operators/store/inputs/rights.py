"""Whether a refusal is about one input, or the right to read its store was withdrawn while one was reading it.

A token that expires, a policy that is changed: a store says 403 to whatever is asked for. As rows of their own, all
inputs that are left would be failed for good. So who is refused asks once more for what this process read there before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from operators.store.inputs.origin import origin_of
from schemas.address import WEB, inner_of, is_remote, place_of
from schemas.errors import InputError, StoreLost
from schemas.fetch import FetchSettings

_read: dict[str, str] = {}
"""Of each bucket, a file that was read in it."""


@contextlib.contextmanager
def rights_kept(address: str, settings: FetchSettings) -> Iterator[None]:
    """Around the opening of an input. Raises StoreLost in place of InputError permission where what could be read of
    that bucket is refused too. Hosts of the web are no stores: each answers for its own files."""
    file, _ = inner_of(address)
    if not is_remote(file) or place_of(file)[0] in WEB:
        yield
        return
    scheme, bucket, _ = place_of(file)
    store = f"{scheme}://{bucket}"
    try:
        yield
    except InputError as refusal:
        before = _read.get(store)
        if refusal.kind == "permission" and before not in (None, file) and _is_refused(str(before), settings):
            raise StoreLost(f"{refusal}; so is {before} by now, which could be read before") from refusal
        raise
    _read[store] = file


def _is_refused(address: str, settings: FetchSettings) -> bool:
    try:
        next(iter(origin_of(address, settings).pieces(address, None, 0, 1)), None)
    except InputError as error:
        return error.kind == "permission"
    return False

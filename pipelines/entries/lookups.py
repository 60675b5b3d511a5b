"""What an address elsewhere is: a file, a folder, or nothing; and whether its bucket is there at all."""

from __future__ import annotations

from dataclasses import dataclass

from operators.media.source import origin_of
from operators.store.inputs.origin import Entry
from operators.store.inputs.tar_input import shard_of
from pipelines.entries.globs import has_magic
from pipelines.entries.scope import Scope
from schemas.address import HUB, OBJECT_STORES, WEB, place_of
from schemas.errors import InputError, SpecError

REQUESTS = 32
"""That wait for an answer at once."""


@dataclass(frozen=True)
class Lookup:
    """What an address is. entry: a file. fault: what is the matter with one that is named. Neither: a folder."""

    entry: Entry | None = None
    fault: InputError | None = None


def look_up(address: str, scope: Scope) -> Lookup:
    """Ask what is there. Raises StoreLost."""
    scheme, _, key = place_of(address)
    if scheme in WEB or shard_of(address) is not None:
        return Lookup(Entry(address))  # asked by who reads it
    if not key or (key.endswith("/") and not has_magic(key)):
        return Lookup()
    origin = origin_of(address, scope.settings)
    try:
        if key.endswith("/"):
            raise InputError("not_found", f"{address} is not there")
        return Lookup(origin.stat(address))
    except InputError as error:
        fault = error
    try:
        is_folder = fault.kind == "not_found" and next(iter(origin.list(address)), None) is not None
    except SpecError:  # no such name can be below anything, or who may read may not list
        is_folder = False
    return Lookup() if is_folder else Lookup(fault=fault)


def check(address: str, scope: Scope) -> InputError | None:
    """Why nothing can be had of its bucket, or repository of the hub, if that is so; asked the first time that it comes
    up."""
    scheme, bucket, key = place_of(address)
    if scheme not in OBJECT_STORES | HUB:
        return None
    place = (scheme, bucket, *(key.split("/")[:2] if scheme in HUB else ()))
    if place not in scope.checked:
        fault = None
        try:
            origin_of(address, scope.settings).check(address)
        except InputError as error:
            fault = error
        except SpecError as error:  # no name of a bucket
            fault = InputError("not_found", str(error))
        scope.checked[place] = fault
    return scope.checked[place]


def is_object(address: str, scope: Scope) -> bool:
    """Whether there is one whose key is just that, whatever it looks like. Raises StoreLost."""
    scheme, bucket, key = place_of(address)
    if scheme in WEB or "{" in bucket or not key:
        return False
    if check(address, scope) is not None:
        return False
    try:
        origin_of(address, scope.settings).stat(address)
    except InputError:
        return False
    return True

"""`sightread export OUTPUT`: write the inputs of a job and its answers as tar shards, for training.

The inputs are read once more. The same command again goes on where it was stopped.
"""

from __future__ import annotations

import argparse

from jobs.arguments import count
from jobs.echo import echo
from jobs.load import parse_stored
from operators.store.addresses import absolute, check_writable, opened, store_at
from operators.store.store import Store
from pipelines.export import export
from pipelines.folder import JobFolder
from schemas.errors import SpecError
from schemas.fetch import FetchSettings


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the address of a job's output")
    parser.add_argument("--to", choices=["webdataset"], required=True, help="the layout")
    parser.add_argument("--into", metavar="ADDRESS", help="where the shards go; default: OUTPUT/shards")
    parser.add_argument("--shard-mb", type=count, default=256, metavar="N", help="of inputs in a shard; default 256")


def run(options: argparse.Namespace) -> int:
    """1 when an input could not be read any more."""
    if options.shard_mb > 4096:
        raise SpecError(f"--shard-mb: {options.shard_mb}: stores take no more than 4096 MB at once")
    store = opened(options.output)
    spec = parse_stored(JobFolder(store).spec(), f"the spec of {options.output}")
    target = _target(options.into or f"{store.address}/shards")
    settings = FetchSettings(**spec.fetch.model_dump())
    samples = unreadable = unanswered = 0
    for shard in export(store, target, spec.name, options.shard_mb << 20, settings):
        echo(shard.address if shard.new else f"{shard.address} (was there)")
        for sentence in shard.unreadable:
            echo(f"cannot be read any more: {sentence}")
        samples += shard.samples
        unreadable += len(shard.unreadable)
        unanswered += shard.unanswered
    left = f", {unanswered} of them without an answer" if unanswered else ""
    lost = f"; {unreadable} inputs cannot be read any more, only their answers are there" if unreadable else ""
    echo(f"{samples} samples{left}{lost}")
    return 1 if unreadable else 0


def _target(address: str) -> Store:
    try:
        check_writable(address)
        return store_at(absolute(address))
    except SpecError as error:
        raise SpecError(f"--into: {str(error).removeprefix('output: ')}") from error

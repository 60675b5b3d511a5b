"""One tar shard in the layout of webdataset, through its ShardWriter: the one file that imports webdataset.

Of that library's ways, those are left alone that run shells, unpickle or print. Knows nothing of what a sample means.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any


@dataclass(frozen=True)
class Media:
    """fd: a file to be read from its beginning to its end. suffix: of its name in the shard, without a dot."""

    suffix: str
    fd: int


class ShardWriter:
    """Writes into a file; the same samples give the same bytes."""

    def __init__(self, file: IO[bytes], finished: Callable[[], None]) -> None:
        """finished: called when the shard has its end."""
        import webdataset  # seconds, and most commands write no shards

        self._writer: Any = webdataset.ShardWriter(
            "%d",
            maxcount=sys.maxsize,
            maxsize=sys.maxsize,
            opener=lambda _: file,
            post=lambda _: finished(),
            verbose=0,
            encoder=False,
            mtime=0,
        )

    def add(self, key: str, texts: Mapping[str, bytes], media: Media | None) -> None:
        """A sample: `<key>.<name>` for each text, and `<key>.<suffix>`. Media are copied piece by piece: `write` of
        webdataset would hold them in memory twice."""
        self._writer.write({"__key__": key, **texts})
        if media is not None:
            info = tarfile.TarInfo(f"{key}.{media.suffix}")
            info.size, info.mode = os.fstat(media.fd).st_size, 0o444
            info.uname = info.gname = "bigdata"  # as its texts have it
            with os.fdopen(os.dup(media.fd), "rb") as file:
                file.seek(0)
                self._writer.tarstream.tarstream.addfile(info, file)

    def close(self) -> None:
        """Write the end. A shard that is not closed is none."""
        self._writer.close()


@contextlib.contextmanager
def mapped(file: IO[bytes]) -> Iterator[memoryview]:
    """What was written to a file, without reading it into memory."""
    file.flush()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        view = memoryview(pages)
        try:
            yield view
        finally:
            view.release()

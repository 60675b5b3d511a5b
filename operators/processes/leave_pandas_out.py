"""Keep pyarrow from loading pandas in a process that has no use for it: 0.3 s of a processor and 45 MB.

pyarrow looks for pandas once, when it first makes an array of Python values, so as to take a Series for one. Where it
does not find it then, it does without until something needs it (`to_pandas`, a table of a frame); meanwhile the NaN of
a Series would be no null. Ray Data imports pandas itself, in its driver and its actors, and does not start without:
nothing is to be had there. Our children need none of this: they make no arrays of Python values.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder


def leave_pandas_out() -> None:
    """For a command in whose process nobody else's code runs, as a task module of the user's; and no library calls it.
    Importing pandas works as ever, before and after."""
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    sys.meta_path.insert(0, _refusal)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(_refusal)


class _Refusal(MetaPathFinder):
    def find_spec(self, fullname: str, _path: object, _target: object = None, /) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not needed here", name=fullname)


_refusal = _Refusal()

"""pyarrow without pandas, in a process of ours: until somebody wants it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from schemas.checkout import ROOT

CODE = """
import sys
{before}
from operators.processes.leave_pandas_out import leave_pandas_out
leave_pandas_out()
leave_pandas_out()
import pyarrow as pa
pa.RecordBatch.from_pylist([{{"page": 1}}]).to_pylist()
print("pandas" in sys.modules)
import pandas
frame = pandas.DataFrame({{"page": [1.0, None]}})
columns = pa.table(frame).column("page"), pa.array(frame["page"]), pa.Table.from_pandas(frame).column("page")
print({{column.null_count for column in columns}}, pa.table(frame).to_pandas().equals(frame))
"""


@pytest.mark.parametrize("before", ["", "import pandas"])
def test_pandas_is_loaded_for_who_imports_it_alone(before: str) -> None:
    code = CODE.format(before=before)
    there, columns = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert there == str(bool(before))
    assert columns == "{1} True"

"""Where the console command begins: a module whose name nobody else has. `jobs` and `model` may be somebody else's too,
on PYTHONPATH, so this checkout comes first on the path before any of its folders is imported.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from jobs.cli import main

__all__ = ["main"]

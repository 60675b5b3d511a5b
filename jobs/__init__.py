"""The folders of this checkout come first on the path, whoever runs it and from where: names as generic as `model` may
be somebody else's too.
"""

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parent.parent)
if sys.path[0] != _ROOT:
    sys.path.insert(0, _ROOT)

"""Where this checkout lies, and the checkpoint in it: children and shipped files are found from here, whatever the
working directory.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NANO = ROOT / "model" / "nano" / "checkpoint"
"""The checkpoint that this repository trains and ships."""
NANO_NAME = "nano"
"""What `model:` may call it, wherever one stands."""

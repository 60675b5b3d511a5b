"""The demo as a job on a device, into a folder: `python -m jobs.bench.demo_on FOLDER --device cuda`. What scripts/demo
runs, but for where; ends as the job does.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from jobs.demo_media import write_demo_media
from schemas.checkout import NANO


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the demo on a device.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    place = options.folder / "demo"
    shutil.rmtree(place, ignore_errors=True)
    inputs = place / "inputs"
    inputs.mkdir(parents=True)
    write_demo_media(inputs)
    spec = {
        "name": "demo",
        "inputs": [str(inputs)],
        "tasks": ["ocr", "caption"],
        "engine": {"kind": "torch", "model": str(NANO), "gpus_per_replica": int(options.device == "cuda")},
        "output": str(place / "output"),
    }
    path = place / "demo.yaml"
    path.write_text(json.dumps(spec), encoding="utf-8")  # JSON is YAML
    return _sightread("run", str(path)) or _sightread("show", str(place / "output"))


def _sightread(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "jobs.cli", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

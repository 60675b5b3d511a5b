"""A copy of the checkout, for tests that add to it what docs/ tells and then run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.checkout import ROOT


class Checkout:
    """What is in version control, as it lies here. standing: the names of its files."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        """environment: of its commands; default: this process's."""
        self.folder = folder
        self.environment = environment or dict(os.environ)
        git = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
        if git.returncode:
            pytest.skip("not a checkout")
        # what was deleted is listed until it is committed
        self.standing = [name for name in git.stdout.split("\0") if name and (ROOT / name).is_file()]
        for name in self.standing:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)

    def add(self, name: str, text: str) -> None:
        """A file that does not stand there."""
        assert not (self.folder / name).exists(), f"{name} stands there"
        (self.folder / name).write_text(text, encoding="utf-8")

    def touched(self) -> list[str]:
        """Standing files that are no longer what they were."""
        return [name for name in self.standing if (ROOT / name).read_bytes() != (self.folder / name).read_bytes()]

    def lines_added(self, name: str) -> int:
        """To a standing file, of which every other line is as it was."""
        old, new = ((place / name).read_text(encoding="utf-8").splitlines() for place in (ROOT, self.folder))
        rest = iter(new)
        assert all(line in rest for line in old), f"{name}: a standing line was changed"
        return len(new) - len(old)

    def sightread(self, *arguments: str, code: int = 0) -> str:
        """What the command of the copy printed. Fails unless it exits with `code`."""
        kept = {key: value for key, value in self.environment.items() if key != "RAY_ADDRESS"}
        done = subprocess.run(
            [sys.executable, "-m", "jobs.cli", *arguments],
            cwd=self.folder,
            env={**kept, "PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

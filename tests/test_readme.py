"""The README says what is so: its tree is the tree, its pictures are there, its commands are commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import ModuleType

import pytest

from jobs.cli import parser
from tests.support.world import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def script() -> ModuleType:
    loader = SourceFileLoader("readme", str(ROOT / "scripts" / "readme"))
    spec = spec_from_loader("readme", loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def test_the_tree_is_the_tree() -> None:
    if subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("not a checkout")
    assert script().tree() in TEXT, "run scripts/readme --tree"


def test_every_file_that_it_points_to_is_there() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in target]
    assert {"docs/page.png", "docs/picture.png", "docs/clip.png"} <= set(targets)
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_its_commands_are_commands() -> None:
    lines = [
        line.split("#")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
        for line in block.splitlines()
    ]
    ours = [shlex.split(line)[1:] for line in lines if re.match(r"(\.venv/bin/)?sightread ", line)]
    assert len(ours) >= 5
    for arguments in ours:
        parser().parse_args(arguments)
    for line in lines:
        if line.startswith("scripts/"):
            assert (ROOT / line.split()[0]).exists(), line

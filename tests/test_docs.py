"""The documents say what is so: generated pages are current, links and citations lead somewhere, examples are valid."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
import yaml

from jobs.load import parse
from pipelines.catalogue import bind
from schemas.tables import results_schema
from tests.support.world import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
OURS = [page for page in PAGES if not page.name.startswith("extending-")]
"""Pages that show what there is; the others show what one would write."""
FACTS = sorted((ROOT / "docs" / "facts").glob("*.md"))
FOLDERS = ("schemas", "model", "operators", "pipelines", "jobs")
SPEC = {
    "name": "example",
    "inputs": ["a.pdf"],
    "tasks": ["ocr"],
    "engine": {"kind": "scripted", "recording": "replies.jsonl"},
    "output": "out",
}
"""Stands in for what an example leaves out."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = SourceFileLoader("docs", str(ROOT / "scripts" / "docs"))
    spec = spec_from_loader("docs", loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def test_generated_pages_are_current(script: ModuleType) -> None:
    assert script.outdated() == [], "run scripts/docs"


def test_every_column_is_described_and_no_other(script: ModuleType) -> None:
    rows = re.findall(r"^\| `([\w.]+)` \|", script.columns(), re.MULTILINE)
    assert sorted(rows) == sorted(script.COLUMNS)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), link


def commands_of(parser: argparse.ArgumentParser) -> set[str]:
    (group,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return set(group.choices)


@pytest.mark.parametrize("page", OURS, ids=name)
def test_commands_are_commands(page: Path, script: ModuleType) -> None:
    parser = script.command_parser()
    for block in blocks(page, "sh"):
        for line in (line.split("#")[0].strip() for line in block.splitlines()):
            if re.match(r"(\.venv/bin/)?sightread ", line):
                parser.parse_args(shlex.split(line)[1:])
            if line.startswith("scripts/"):
                assert (ROOT / line.split()[0]).exists(), line
            for module in re.findall(r"python -m ([\w.]+)", line):
                assert find_spec(module) is not None, line
    for command in re.findall(r"`(?:\.venv/bin/)?sightread ([a-z]+)", text_of(page)):
        assert command in commands_of(parser), command


@pytest.mark.parametrize("page", OURS, ids=name)
def test_every_spec_is_one(page: Path) -> None:
    for block in blocks(page, "yaml"):
        spec = parse(SPEC | yaml.safe_load(block), name(page))
        for task in spec.tasks:
            bind(task)


def test_the_readme_is_short_and_shows_a_row() -> None:
    readme = ROOT / "README.md"
    assert len(text_of(readme).splitlines()) <= 160
    assert "](docs/page.png)" in text_of(readme)
    assert blocks(readme, "json")
    assert [block for block in blocks(readme, "sh") if "scripts/demo" in block and "sightread try" in block]


@pytest.mark.parametrize("page", [page for page in OURS if blocks(page, "json")], ids=name)
def test_rows_have_the_columns_that_there_are(page: Path) -> None:
    schema = results_schema(pa.null(), [])
    verified = {field.name for field in schema.field("verified").type}
    for block in blocks(page, "json"):
        row: dict[str, Any] = json.loads(block)
        assert row.keys() <= {*schema.names}
        assert row["verified"].keys() == verified


@pytest.mark.parametrize("page", OURS, ids=name)
def test_every_file_of_ours_that_is_named_is_there(page: Path) -> None:
    for path in re.findall(rf"\b(?:{'|'.join((*FOLDERS, 'tests', 'scripts'))})/[\w/-]+\.\w+", text_of(page)):
        assert (ROOT / path).exists(), path


def test_every_room_is_on_the_map() -> None:
    modules = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if path.name != "__init__.py"]
    page = text_of(ROOT / "docs" / "architecture.md")
    assert {room for room in map(name, {path.parent for path in modules}) if f"`{room}/`" not in page} == set()


# --- citations --------------------------------------------------------------------------------------------------------

SECTION = r"\d+(?:\.\d+)*"
CITATION = re.compile(rf"facts/([\w-]+)\.md((?:,? §{SECTION}|, \d+\.\d+)*)")


def citations() -> Iterator[tuple[str, str, str]]:
    """Where it stands, the page and one section ('' for none), of every citation in code: the page, then §1.2, 1.3."""
    for path in sorted(path for folder in (*FOLDERS, "tests") for path in (ROOT / folder).rglob("*.py")):
        unwrapped = re.sub(r"\s*\n\s*(?:# ?)?", " ", text_of(path))
        for page, sections in CITATION.findall(unwrapped):
            for section in re.findall(SECTION, sections) or [""]:
                yield name(path), page, section


def test_every_cited_fact_is_there() -> None:
    pages = {page.stem: {"", *re.findall(rf"^#+ ({SECTION})\.? ", text_of(page), re.MULTILINE)} for page in FACTS}
    cited = list(citations())
    assert {"qwen3-vl", "ray-data"} <= {page for _, page, _ in cited}
    assert [citation for citation in cited if citation[2] not in pages.get(citation[1], ())] == []

"""The house plan, held by reading the imports: direction between folders, one room for each heavy library."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = ("schemas", "model", "operators", "pipelines", "jobs")
FILES = sorted(path for folder in ORDER for path in (ROOT / folder).rglob("*.py"))

# a heavy library -> the only files or folders that may import it
ROOMS = {
    "ray": ["pipelines/ray_data.py", "jobs/bench/ray_llm.py"],  # the second is the peer, in the peer's own way
    "torch": ["model", "jobs/bench"],
    "safetensors": ["model", "jobs/bench"],
    "tokenizers": ["model"],
    "jinja2": ["model"],
    "llguidance": ["model/engines/constraint.py"],
    "huggingface_hub": ["model"],
    "aiohttp": ["model/engines/openai_engine.py"],
    "vllm": ["model/engines/vllm_engine.py", "jobs/bench/vllm_peer.py"],
    "av": ["operators/media/video_pyav.py", "jobs/demo_media.py"],
    "decord": ["operators/media/video_decord.py"],
    "pypdfium2": ["operators/media/render_pdf.py"],
    "playwright": ["operators/render/render_page.py"],
    "duckdb": ["operators/store/results.py", "pipelines/audit.py"],
    "json_repair": ["pipelines/replies/elements.py"],
    "pydantic": ["schemas/section.py", "schemas/spec.py", "schemas/engine_spec.py", "schemas/engines", "jobs/load.py"],
    "yaml": ["pipelines/folder.py", "jobs/load.py"],
    "rich": ["jobs"],
    "transformers": ["jobs/bench/peers.py"],
    "torchvision": [],
    "pickle": [],
    "cloudpickle": [],
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_imports_itself_and_what_stands_to_its_left(path: Path) -> None:
    here = ORDER.index(path.relative_to(ROOT).parts[0])
    beyond = set(ORDER[here + 1 :]) | {"tests"}
    reached = {name for name in imports(path) if name.split(".")[0] in beyond}
    assert not reached


@pytest.mark.parametrize("library", ROOMS)
def test_a_heavy_library_has_one_room(library: str) -> None:
    places = {
        str(path.relative_to(ROOT)) for path in FILES if any(name.split(".")[0] == library for name in imports(path))
    }
    strays = {
        place for place in places if not any(place == room or place.startswith(f"{room}/") for room in ROOMS[library])
    }
    assert not strays


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("jobs.cli", {"ray", "torch", "pyarrow", "numpy", "pydantic", "rich", "av"}),
        ("operators.store.results", {"duckdb", "ray", "PIL"}),
        ("pipelines.run", {"ray", "torch", "av", "pypdfium2", "playwright"}),
        ("model.prompts.pixels", {"torch", "numpy"}),
        ("model.engines.openai_engine", {"torch", "ray", "transformers"}),
        ("operators.media.decode", {"ray", "torch", "av", "pypdfium2"}),
        # a child's start is inside the deadline of the first page that it decodes
        ("operators.media.render_pdf", {"ray", "torch", "jsonschema", "pydantic"}),
    ],
)
def test_what_stays_light_imports_nothing_heavy(module: str, forbidden: set[str]) -> None:
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not forbidden & set(loaded)


def test_no_file_is_a_drawer() -> None:
    drawers = {"utils", "helpers", "common", "misc"}
    assert not [path for path in FILES if drawers & {*path.parts, path.stem}]

"""The house plan, held by reading the code: the direction of imports between folders and between the rooms in them, one
room for each heavy library, and one place for what only one place should know.

A room is a folder in one of the five folders, or a module that stands in one of them directly.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from schemas.checkout import ROOT

ORDER = ("schemas", "model", "operators", "pipelines", "jobs")
FILES = sorted(path.relative_to(ROOT) for folder in ORDER for path in (ROOT / folder).rglob("*.py"))
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("scripts/*"))]

OPERATORS = {"units", "processes", "store", "checks", "text_lines", "media", "infer", "code_check"}
NEIGHBORS: dict[str, set[str]] = {
    # room -> the rooms of its folder that it may import
    "model.network": set(),
    "model.prompts": set(),
    "model.engines": {"network", "prompts"},
    "model.nano": {"network", "prompts"},
    "operators.units": set(),
    "operators.processes": {"units"},
    "operators.store": {"units"},
    "operators.checks": {"units", "store"},
    "operators.text_lines": {"units"},
    "operators.media": {"store", "processes", "text_lines", "units"},
    "operators.infer": {"media", "checks", "processes", "units"},
    "operators.code_check": {"media", "processes", "text_lines", "store", "units"},
    "operators.commit": OPERATORS,  # and nobody imports these two
    "operators.overlay": OPERATORS,
    "pipelines.replies": set(),
    "pipelines.summary": {"generations", "job", "planning", "requests"},
    "pipelines.loops": {"replies"},
    "pipelines.tasks": {"loops", "replies"},
}
MOST_PAIRS = {"operators": 15, "model": 4}
"""Pairs of rooms of a folder of which one imports the other."""
FEWER_EDGES = {"operators": 40, "model": 34}
"""Pairs of modules that reach into another room of their folder: what merely moving the files gave."""

LIBRARIES = {
    # a heavy library -> the only files or folders that may import it, besides the benches, whose peers need theirs
    "ray": [
        f"pipelines/ray_{what}.py"
        for what in ("answers", "backpressure", "data", "doors", "head", "source", "stand_ins", "steps")
    ],
    "torch": ["model"],
    "triton": ["model/network/triton_decode.py"],
    "safetensors": ["model"],
    "tokenizers": ["model"],
    "jinja2": ["model"],
    "llguidance": ["model/engines/constraint.py"],
    "huggingface_hub": ["model", "operators/store/inputs/hub_origin.py"],
    "aiohttp": [
        "model/engines/openai_engine.py",
        "operators/store/inputs/web_client.py",
        "operators/store/inputs/web_origin.py",
    ],
    "vllm": ["model/engines/vllm_engine.py"],
    "av": ["operators/media/video", "jobs/demo_media.py"],
    "decord": ["operators/media/video/decord_clips.py"],
    "pypdfium2": ["operators/media/pdf"],
    "pikepdf": ["operators/media/pdf/page_tree.py"],
    "pi_heif": ["operators/media/image/heif.py"],
    "playwright": ["operators/code_check/render_page.py"],
    "obstore": ["operators/store/objects.py", "operators/store/object_client.py"],
    "webdataset": ["operators/store/shard_writer.py"],
    "duckdb": ["operators/store/results.py", "operators/store/sql.py"],
    "json_repair": ["pipelines/replies/elements.py"],
    "rapidfuzz": ["operators/checks", "model/nano"],
    "pydantic": ["schemas", "jobs/load.py"],
    "yaml": ["pipelines/plain_values.py"],
    "rich": ["jobs"],
    "transformers": [],
    "torchvision": [],
    "pickle": [],
    "cloudpickle": [],
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


@cache
def imports(path: Path) -> frozenset[str]:
    """Names of modules, wherever in the file they are imported; of `from package import module` the module."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in inner}
    return frozenset(names)


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def edges() -> Iterator[tuple[str, str]]:
    """(module, module of ours that it imports and that stands in another room). A folder alone is no module: there is
    nothing in its __init__."""
    for module, path in MODULES.items():
        for name in imports(path):
            if name in MODULES and MODULES[name].stem != "__init__" and room_of(name) != room_of(module):
                yield module, name


def within(folder: str) -> set[tuple[str, str]]:
    return {pair for pair in edges() if {name.split(".")[0] for name in pair} == {folder}}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_folder_imports_itself_and_what_stands_to_its_left(path: Path) -> None:
    here = ORDER.index(path.parts[0])
    beyond = {*ORDER[here + 1 :], "tests"}
    assert not {name for name in imports(path) if name.split(".")[0] in beyond}


@pytest.mark.parametrize("room", NEIGHBORS)
def test_a_room_imports_only_the_rooms_it_may(room: str) -> None:
    folder = room.split(".")[0]
    allowed = {f"{folder}.{name}" for name in NEIGHBORS[room]}
    reached = {pair for pair in within(folder) if room_of(pair[0]) == room and room_of(pair[1]) not in allowed}
    assert not reached


@pytest.mark.parametrize("folder", ["model", "operators"])
def test_every_room_has_its_neighbors_written_down(folder: str) -> None:
    assert {room_of(module) for module in MODULES if module.startswith(f"{folder}.")} <= NEIGHBORS.keys()


def test_no_circle_among_rooms() -> None:
    reached: dict[str, set[str]] = {}
    for module, name in edges():
        reached.setdefault(room_of(module), set()).add(room_of(name))
    try:
        TopologicalSorter(reached).prepare()
    except CycleError as error:
        circle = error.args[1]
        pytest.fail(f"{' <- '.join(circle)}: {[pair for pair in edges() if {room_of(n) for n in pair} <= {*circle}]}")


def test_no_circle_among_files() -> None:
    """Imports inside functions count too."""
    reached = {module: imports(path) & MODULES.keys() - {module} for module, path in MODULES.items()}
    try:
        TopologicalSorter(reached).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize("folder", MOST_PAIRS)
def test_few_rooms_reach_into_others(folder: str) -> None:
    pairs = {(room_of(module), room_of(name)) for module, name in within(folder)}
    assert len(pairs) <= MOST_PAIRS[folder], pairs
    assert len(within(folder)) < FEWER_EDGES[folder], sorted(within(folder))


def test_benches_are_reached_from_the_commands_alone() -> None:
    reaching = {module for module, name in edges() if room_of(name) == "jobs.bench"}
    assert {room_of(module) for module in reaching} <= {"jobs.commands"}, reaching


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_heavy_library_has_one_room(library: str) -> None:
    places = [path for path in FILES if any(name.split(".")[0] == library for name in imports(path))]
    rooms = ["jobs/bench", *LIBRARIES[library]]
    assert not [path for path in places if not any(path.is_relative_to(room) for room in rooms)]


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("jobs.cli", {"ray", "torch", "pyarrow", "numpy", "pydantic", "rich", "av"}),
        ("operators.store.results", {"duckdb", "ray", "PIL"}),
        ("pipelines.run", {"ray", "torch", "av", "pypdfium2", "playwright"}),
        ("model.prompts.pixels", {"torch", "numpy"}),
        ("model.engines.openai_engine", {"torch", "ray", "transformers"}),
        ("operators.media.decode", {"ray", "torch", "av", "pypdfium2", "pandas"}),
        ("operators.commit", {"ray", "torch", "pandas"}),
        # a child's start is inside the deadline of the first page that it decodes
        ("operators.media.pdf.render_pdf", {"ray", "torch", "jsonschema", "pydantic", "pikepdf"}),
        # every run of tests loads it
        ("tests.conftest", {"ray", "torch", "pyarrow", "numpy", "av", "duckdb"}),
    ],
)
def test_what_stays_light_imports_nothing_heavy(module: str, forbidden: set[str]) -> None:
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not forbidden & set(loaded)


def test_no_file_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert not [path for path in FILES if drawers & {*path.parts, path.stem}]


# what a string says

_OURS = rf"(?:{'|'.join(ORDER)})"
_NAMED = re.compile(rf"{_OURS}(?:\.\w+)+(?::\w+)?")
_STARTED = re.compile(rf"python3? -m ({_OURS}(?:\.\w+)*)")
WEIGHTS = ("model.safetensors", "model.language_model", "model.visual")
"""Names in a checkpoint, which look like modules of ours."""


def texts(path: Path) -> Iterator[tuple[str, bool]]:
    """(string in a file, whether it is a docstring or another that stands for itself)."""
    alone = {id(node.value) for node in ast.walk(tree(path)) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, id(node) in alone


def named_modules() -> set[str]:
    """What strings of the product, its scripts and documents call modules, or things in them."""
    names: set[str] = set()
    for path in FILES:
        for text, _ in texts(path):
            names |= {*_STARTED.findall(text)}
            name = text.removesuffix(".")  # of an f-string, what stands before the name of a task
            if _NAMED.fullmatch(name) and not name.startswith(WEIGHTS):
                names.add(name)
    for path in TEXTS:
        if path.is_file():
            names |= {*_STARTED.findall(path.read_text(encoding="utf-8"))}
    return names


@pytest.mark.parametrize("name", sorted(named_modules()))
def test_a_module_named_in_a_string_is_there(name: str) -> None:
    module, _, thing = name.partition(":")
    if not thing and module not in MODULES:  # as vLLM wants the class of a worker
        module, _, thing = module.rpartition(".")
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    if thing:  # read, not imported: it may need another interpreter
        defined = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
        targets = [target for node in defined if isinstance(node, ast.Assign) for target in node.targets]
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        names |= {node.name for node in defined if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
        assert thing in names


def test_modules_are_named_in_strings_at_all() -> None:
    assert {
        "operators.infer.engine_child",
        "model.engines.vllm_worker.Worker",
        "jobs.bench.transcribe:TASK",
    } <= named_modules()


# what only one place knows

KINDS = {"scripted", "torch", "vllm", "openai"}
ENGINES = ("model/engines", "schemas/engines", "jobs/bench")


def _asks_the_kind(node: ast.expr, others: list[ast.AST]) -> bool:
    """Whether it is the kind of an engine: called so, or held against the name of one."""
    owner = node.value if isinstance(node, (ast.Attribute, ast.Subscript)) else None
    called = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        called = str(node.slice.value)
    if called != "kind":
        return False
    words = ast.unparse(owner).split(".") if owner is not None else []
    constants = {inner.value for other in others for inner in ast.walk(other) if isinstance(inner, ast.Constant)}
    return words[-1:] in (["engine"], ["section"]) or bool(KINDS & constants)


def test_only_the_engines_ask_of_what_kind_an_engine_is() -> None:
    asking = []
    for path in FILES:
        if any(path.is_relative_to(place) for place in ENGINES):
            continue
        for node in ast.walk(tree(path)):
            match node:
                case ast.Compare(left=left, comparators=others):
                    compared = [(left, [*others]), *((other, [left]) for other in others)]
                case ast.Match(subject=subject, cases=cases):
                    compared = [(subject, [case.pattern for case in cases])]
                case ast.Call(func=ast.Attribute(value=ast.Dict() as table, attr="get"), args=[key, *_]):
                    compared = [(key, [table])]
                case ast.Subscript(value=ast.Dict() as table, slice=key):
                    compared = [(key, [table])]
                case _:
                    continue
            if any(_asks_the_kind(one, [*others]) for one, others in compared):
                asking.append(f"{path}:{node.lineno}")
    assert not asking


_RESULTS = re.compile(r"^/?results\b|/results/|^task=|^part-")


def test_only_the_store_knows_where_results_lie() -> None:
    spelled = [
        (str(path), text)
        for path in FILES
        if not path.is_relative_to("operators/store")
        for text, alone in texts(path)
        if not alone and _RESULTS.search(text)
    ]
    assert not spelled

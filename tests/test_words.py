"""One word for one thing, and the field's where it has one: nothing in the product is named by an old word, and all is
spelled in one way. What fails says what to write instead."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from schemas.checkout import ROOT
from tests.test_architecture import FILES, tree

TERMS = {
    # as the name of anything in the product -> what the thing is called; a folder before it: only there
    **dict.fromkeys(("strip", "strips"), "line_image"),
    **dict.fromkeys(("ink", "inks"), "foreground"),
    **dict.fromkeys(("paper", "papers"), "background"),
    "likeness": "visual_similarity",
    "watchman": "orphan_reaper",
    "seclusion": "isolation",
    **dict.fromkeys(("trial", "trials", "try_out", "TRIED", "UNTRIED"), "code_check"),
    "Album": "EncoderCache",
    "Feed": "VisualCursor",
    "vision_feed": "VisualItem",
    "see": "preprocess",
    **dict.fromkeys(("Talk", "talk", "talks"), "Conversation"),
    "hear": "receive",
    "Answer": "UnitRequest",
    "Ask": "Infer",
    "Suspects": "PoisonBisector",
    "guilty": "poisoned",
    "condemned": "quarantined",
    "bury": "on_exit",
    "obituary": "exit_reason",
    "last_words": "last_error",
    "life": "generation",
    "took": "accept",
    **dict.fromkeys(("RowCache", "SlotCache"), "BlockCache"),
    "model/engines/Row": "Sequence",
    **dict.fromkeys(("Occupancy", "occupancy", "Saturation", "saturation", "efficiency"), "utilization"),
    "Reading": "ParsedReply",
    "Verdict": "CheckResult",
    **dict.fromkeys(("judge", "judged", "Judged"), "check_reply"),
    "wants": "required_parameters",
    "knows": "parameters",
    **dict.fromkeys(("pipelines/joined", "schemas/joined"), "list_parameters"),
    **dict.fromkeys(("keeps_thinking", "keeps_reasoning", "thought"), "reasoning"),
    "carried": "passthrough",
    "operators/media/whole": "full_input",
    "operators/media/fine": "full_res",
    "takers": "tasks_for",
    "unasked": "unmatched",
    "owed": "expected",
    "due": "pending",
    **dict.fromkeys(("stray", "strays"), "unexpected"),
    "doubled": "duplicate",
    "operators/draft": "temporary",
    "mend": "fix",
    "jobs/say": "log",
    "model/nano/Teacher": "AuxiliaryHeads",
    "model/nano/codes": "sinusoidal",
    "model/nano/shades": "normalize",
    "model/nano/prose": "corpus",
}
"""Words with a second, plain meaning in code (answer, lost, marks, rows) are left to the reader."""

VALUES = ("found", "said", "told", "made", "given", "own", "each")
"""Of a value these say nothing: it is called after what it is."""

PROSE = ("watchman", "seclusion", "obituary", "guilty", "condemned", "vision_feed", "try_out")
"""In no comment and no document either."""

SPELLING = {
    # British -> American, as stems
    "colour": "color",
    "normalis": "normaliz",
    "tokenis": "tokeniz",
    "centre": "center",
    "centring": "centering",
    "grey": "gray",
    "behaviour": "behavior",
    "summaris": "summariz",
}
SPELLED_AS_THEY_ARE = {
    # file -> phrases in it that rows, prompts or pictures hold
    "jobs/demo_media.py": ["The Lighthouse at Grey Point"],
    "model/nano/pages.py": ["coloured the marsh"],
    "scripts/record-answers": ['"colour"'],
    "README.md": ["The Lighthouse at Grey Point"],
}
DOCUMENTS = [
    path.relative_to(ROOT)
    for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("scripts/*")))
    if path.is_file()
]


def names(path: Path) -> Iterator[tuple[int, str]]:
    """(line, name) of all that a file defines, binds or imports; the file's own name first."""
    yield 0, path.stem
    for node in ast.walk(tree(path)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.alias(name=name, asname=other):
                yield node.lineno, other or name.rpartition(".")[2]
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.ExceptHandler(name=str(name)):
                yield node.lineno, name


def prose(path: Path) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    for phrase in SPELLED_AS_THEY_ARE.get(str(path), ()):
        text = text.replace(phrase, "")
    return text


def better(path: Path, name: str) -> str | None:
    name = name.strip("_")
    return next((TERMS[key] for key in (name, *(f"{place}/{name}" for place in path.parents)) if key in TERMS), None)


def test_names_are_terms_of_the_field() -> None:
    old = {(str(path), line, name, better(path, name)) for path in FILES for line, name in names(path)}
    lines = [f"{path}:{line}: {name}: write {word}" for path, line, name, word in sorted(old, key=str) if word]
    assert not lines, "\n".join(lines)


def test_values_are_called_after_what_they_are() -> None:
    old = {(str(path), line, name) for path in FILES for line, name in names(path) if name.strip("_") in VALUES}
    lines = [f"{path}:{line}: {name}" for path, line, name in sorted(old)]
    assert not lines, "\n".join(lines)


def test_prose_has_the_same_words_and_one_spelling() -> None:
    pattern = re.compile(rf"\b(?:{'|'.join(PROSE)})\b|{'|'.join(SPELLING)}", re.IGNORECASE)
    lines = [
        f"{path}:{number}: {old}: write {SPELLING.get(old.lower(), 'another word')}"
        for path in [*FILES, *DOCUMENTS]
        for number, line in enumerate(prose(path).splitlines(), 1)
        for old in pattern.findall(line)
    ]
    assert not lines, "\n".join(lines)


def test_old_words_are_seen_where_they_stand(tmp_path: Path) -> None:
    file = Path("model/engines/x.py")
    assert (better(file, "Row"), better(Path("jobs/x.py"), "Row")) == ("Sequence", None)
    assert better(file, "_mend") == "fix"
    code = tmp_path / "watchman.py"
    code.write_text("import a.b as due\ndef f(told, *, fine): life = 1; x.took = 2\nmatch x:\n    case owed: pass\n")
    assert {name for _, name in names(code)} == {"watchman", "due", "f", "told", "fine", "life", "took", "owed"}


def test_phrases_that_keep_their_spelling_are_there() -> None:
    for path, phrases in SPELLED_AS_THEY_ARE.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        assert [phrase for phrase in phrases if phrase not in text] == []

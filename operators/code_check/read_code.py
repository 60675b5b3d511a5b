"""Code that is read and not run: programs in Python, Draw.io's diagrams, SVG before it is shown.

Runs in a child (operators/code_check/code_check_child.py): Python's own parser may end the process that it runs in
(`ast.parse`).
"""

from __future__ import annotations

import ast
import warnings
import zlib
from base64 import b64decode
from dataclasses import dataclass
from urllib.parse import unquote
from xml.etree import ElementTree

from operators.code_check.code_check_wire import LONGEST_TEXT

_LONGEST = 4 << 20
_MOST_UNRESOLVED = 50


@dataclass(frozen=True)
class ReadCode:
    """message: why it cannot be read; then the rest is empty. text: of a drawing, what is printed in it."""

    message: str | None = None
    text: str | None = None
    imports: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()


def read_python(code: str) -> ReadCode:
    """The modules that a program imports, as it names them, wherever the import stands."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in its strings
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return ReadCode(message=f"{error}"[:300] or type(error).__name__)
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add("." * node.level + (node.module or ""))
    return ReadCode(imports=tuple(sorted(modules)))


def read_drawio(code: str) -> ReadCode:
    """Whether the XML is well-formed and every `parent`, `source` and `target` names a cell of its diagram.

    mxGraph's form: cells (`mxCell`, or `object`/`UserObject` around one, which then bears the id) below `root` of an
    `mxGraphModel`, alone or in the `diagram`s of an `mxfile`; there also deflated, as Draw.io saves it.
    """
    try:
        root = _xml(code)
        models = _models(root)
    except (ElementTree.ParseError, ValueError, zlib.error) as error:
        return ReadCode(message=f"{error}"[:300])
    if not models:
        return ReadCode(message="there is no mxGraphModel in it")
    unresolved = [name for model in models for name in _unresolved(model)]
    return ReadCode(unresolved=tuple(unresolved[:_MOST_UNRESOLVED]))


def read_svg(code: str) -> ReadCode:
    """Whether it is well-formed XML whose root is `svg`."""
    try:
        root = ElementTree.fromstring(code.strip())  # noqa: S314  under a child's limits
    except (ElementTree.ParseError, ValueError) as error:
        return ReadCode(message=f"{error}"[:300])
    if root.tag.rpartition("}")[2] != "svg":
        return ReadCode(message=f"its root is <{root.tag[:100]}>, not <svg>")
    printed = (element for element in root.iter() if str(element.tag).rpartition("}")[2] == "text")
    return ReadCode(text="\n".join("".join(element.itertext()) for element in printed)[:LONGEST_TEXT])


def _xml(text: str) -> ElementTree.Element:
    # a diagram needs no entities of its own, and those that grow without end are one
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("it declares a document type")
    return ElementTree.fromstring(text.strip())  # noqa: S314  no entities, under a child's limits


def _models(root: ElementTree.Element) -> list[ElementTree.Element]:
    if root.tag == "mxGraphModel":
        return [root]
    models = []
    for diagram in root.iter("diagram"):
        model = diagram.find("mxGraphModel")
        if model is None and (diagram.text or "").strip():
            model = _xml(_inflated((diagram.text or "").strip()))
        if model is not None and model.tag == "mxGraphModel":
            models.append(model)
    return models


def _inflated(text: str) -> str:
    """base64 of raw deflate of percent-encoded XML (Draw.io's compressed form)."""
    unpacker = zlib.decompressobj(-15)
    data = unpacker.decompress(b64decode(text, validate=True), _LONGEST)
    return unquote(data.decode("utf-8"))


def _unresolved(model: ElementTree.Element) -> list[str]:
    ids = {element.get("id") for element in model.iter() if element.get("id")}
    wanted = (
        element.get(name)
        for element in model.iter()
        if element.tag == "mxCell"
        for name in ("parent", "source", "target")
    )
    return list(dict.fromkeys(name for name in wanted if name and name not in ids))

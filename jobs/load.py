"""Read a job spec from YAML. Every fault is one sentence that names the place and, where it can, the fix."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pydantic

from operators.store.addresses import local_path, store_at
from pipelines import task_modules
from pipelines.folder import JobFolder
from pipelines.plain_values import SPEC, mapping_from_yaml, read_file
from schemas.decode import DecodeSettings
from schemas.engine_kinds import DEFAULT_KIND, engine_specs
from schemas.engine_spec import EngineSpec
from schemas.errors import SpecError
from schemas.fetch import FetchSettings
from schemas.spec import FetchSpec, JobSpec


def load(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]] = lambda data: data) -> JobSpec:
    """change: of its values, before they are checked. Raises SpecError."""
    spec = parse(change(_mapping(path)), str(path))
    if any(task_modules.names_code(task.name) for task in spec.tasks):
        task_modules.look_in(path.parent)
    store_at(spec.output)  # refuses an address that nothing can be written to
    folder = local_path(spec.output)
    # the working directory of a Ray job is a copy that Ray deletes
    throw_away = "runtime_resources/working_dir_files" in str(Path.cwd())
    if throw_away and folder is not None and not folder.is_absolute():
        raise SpecError(f"{path}: output: a Ray job needs an absolute path, not {spec.output!r}")
    return spec


def is_spec(path: Path) -> bool:
    """Whether a file is called like a spec, and has a key of one, or is not there. Raises SpecError for one that cannot
    be read."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        return False
    return not path.exists() or not JobSpec.model_fields.keys().isdisjoint(_mapping(path))


def parse_stored(data: dict[str, Any], source: str) -> JobSpec:
    """The spec that a job left in its folder. Raises SpecError."""
    engine = data.get("engine")
    if isinstance(engine, dict) and (section := engine_specs().get(str(engine.get("kind", DEFAULT_KIND)))):
        # before each kind had a section of its own, the keys of all were stored
        data = {**data, "engine": {key: value for key, value in engine.items() if key in section.model_fields}}
    return parse(data, source)


def load_engine(path: Path) -> EngineSpec:
    """The engine section of a file: of a spec, or alone. Raises SpecError."""
    data = _mapping(path)
    around = {"name": "engine", "inputs": ["-"], "tasks": ["ocr"], "output": "-"}  # a fault is told as of a spec's
    return parse({**around, "engine": data.get("engine", data)}, str(path)).engine


def parse_stored_all(specs: Mapping[str, dict[str, Any]], output: str) -> dict[str, JobSpec]:
    """By task, the spec that it was defined in, as JobFolder.specs has it. Raises SpecError."""
    return {task: parse_stored(data, f"the spec of {output}") for task, data in specs.items()}


def parse_stored_fetch(data: dict[str, Any], source: str) -> FetchSettings:
    """How the job of such a spec fetches its inputs, whatever of the others this version still knows. Raises
    SpecError."""
    try:
        return FetchSettings(**FetchSpec.model_validate(data.get("fetch") or {}).model_dump())
    except pydantic.ValidationError as error:
        raise SpecError(f"{source}: fetch: {error.errors()[0]['msg']}") from None


def stored_decoding(folder: JobFolder, task: str, **others: Any) -> DecodeSettings:
    """As the job decoded for the task, so that a clip has the same frames; without its lines. others: settings that are
    to be others. Raises SpecError."""
    names = {field.name for field in fields(DecodeSettings)} - {"line_reader", "fetch", "full_res_max_px"}
    there = folder.decoding(task)
    return DecodeSettings(
        **{name: there[name] for name in names & there.keys()},  # older versions had others
        fetch=parse_stored_fetch(folder.spec(), "the spec of the job"),
        **others,
    )


def _mapping(path: Path) -> dict[str, Any]:
    try:
        data = read_file(path, SPEC)
    except FileNotFoundError:
        raise SpecError(f"there is no job spec {path}") from None
    return mapping_from_yaml(data, str(path), SPEC)


def parse(data: dict[str, Any], source: str) -> JobSpec:
    """A spec from plain values. Raises SpecError with the first fault."""
    try:
        spec = JobSpec.model_validate(data)
    except pydantic.ValidationError as error:
        raise SpecError(f"{source}: {_sentence(error)}") from None
    for text in (*spec.inputs, *spec.engine.model_dump().values()):
        if isinstance(text, str) and text.startswith("~") and os.path.expanduser(text) == text:  # noqa: PTH111  raises
            raise SpecError(f"{source}: {text!r}: there is no such user's folder")
    return spec


def _sentence(error: pydantic.ValidationError) -> str:
    # an unknown key explains more than the missing one that it was meant to be
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    fault = faults[0]
    location = fault["loc"]
    kind = ""
    if location[:1] == ("engine",) and len(location) > 1:  # after it, pydantic names the section that it took
        kind = str(location[1])
        location = ("engine", *location[2:])
    place = _place(location)
    match fault["type"]:
        case "extra_forbidden":
            text = _unknown_key(location, kind)
        case "missing":
            meaning = _section_of(location[:-1], kind).model_fields[str(location[-1])].description
            text = f"{place}: " + (f"the {kind} engine needs this key" if kind else "this key is missing")
            text += f": {meaning}" if meaning else ""
        case "value_error":
            text = str(fault["ctx"]["error"])
        case "too_short":
            text = f"{place}: name at least one"
        case "union_tag_invalid":
            wrong, kinds = fault["ctx"]["tag"], list(engine_specs())
            near = difflib.get_close_matches(wrong, kinds, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(kinds)}"
            text = f"engine.kind: there is no engine {wrong!r}; {hint}"
        case _:
            shown = repr(fault["input"])
            shown = shown if len(shown) < 60 else shown[:57] + "..."
            text = f"{place}: {fault['msg'][0].lower()}{fault['msg'][1:]} (it is {shown})"
    more = len(faults) - 1
    return text + (f" (and {more} more)" if more else "")


def _unknown_key(location: tuple[int | str, ...], kind: str) -> str:
    """kind: of the engine whose section it is in, "" in another one."""
    place, key = _place(location), str(location[-1])
    known = list(_section_of(location[:-1], kind).model_fields)
    kinds_of: dict[str, list[str]] = {}  # keys of other engines only
    for other, spec in engine_specs().items() if kind else ():
        for name in spec.model_fields.keys() - set(known):
            kinds_of.setdefault(name, []).append(other)
    if key in kinds_of:
        return f"{place}: the {kind} engine has no such key; it belongs to {' and '.join(kinds_of[key])}"
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        return f"unknown key {place!r}; did you mean {near[0]!r}?"
    if near := difflib.get_close_matches(key, kinds_of, n=1):
        owners = " and ".join(kinds_of[near[0]])
        return f"unknown key {place!r}; did you mean {near[0]!r}, which belongs to {owners}?"
    return f"unknown key {place!r}; known are {', '.join(known)}"


def _place(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _section_of(location: tuple[int | str, ...], kind: str) -> type[pydantic.BaseModel]:
    """The section at this place. kind: of the engine whose section it is, "" of another one."""
    if kind:
        return engine_specs()[kind]
    section: type[pydantic.BaseModel] = JobSpec
    for part in location:
        if isinstance(part, int):
            continue
        inner = section.model_fields[part].annotation
        candidates = [inner, *_arguments(inner)]
        section = next(one for one in candidates if isinstance(one, type) and issubclass(one, pydantic.BaseModel))
    return section


def _arguments(annotation: Any) -> list[Any]:
    arguments: list[Any] = []
    for argument in getattr(annotation, "__args__", ()):
        arguments += [argument, *_arguments(argument)]
    return arguments

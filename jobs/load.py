"""Read a job spec from YAML. Every fault is one sentence that names the place and, where it can, the fix."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pydantic
import yaml

from operators.store.addresses import local_path, store_at
from schemas.errors import SpecError
from schemas.spec import JobSpec


def load(path: Path) -> JobSpec:
    """Raises SpecError."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"there is no job spec {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise SpecError(f"{path} holds {type(data).__name__}, not a mapping of keys")
    spec = parse(data, str(path))
    store_at(spec.output)  # refuses an address that nothing can be written to
    folder = local_path(spec.output)
    # the working directory of a Ray job is a copy that Ray deletes
    throw_away = "runtime_resources/working_dir_files" in str(Path.cwd())
    if throw_away and folder is not None and not folder.is_absolute():
        raise SpecError(f"{path}: output: a Ray job needs an absolute path, not {spec.output!r}")
    return spec


def parse(data: dict[str, Any], source: str) -> JobSpec:
    """A spec from plain values. Raises SpecError with the first fault."""
    try:
        return JobSpec.model_validate(data)
    except pydantic.ValidationError as error:
        raise SpecError(f"{source}: {_sentence(error)}") from None


def _sentence(error: pydantic.ValidationError) -> str:
    # an unknown key explains more than the missing one that it was meant to be
    faults = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    fault = faults[0]
    place = _place(fault["loc"])
    match fault["type"]:
        case "extra_forbidden":
            known = _known_keys(fault["loc"][:-1])
            near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            text = f"unknown key {place!r}; {hint}"
        case "missing":
            text = f"{place}: this key is missing"
        case "value_error":
            text = str(fault["ctx"]["error"])
        case _:
            shown = repr(fault["input"])
            shown = shown if len(shown) < 60 else shown[:57] + "..."
            text = f"{place}: {fault['msg'][0].lower()}{fault['msg'][1:]} (it is {shown})"
    more = len(faults) - 1
    return text + (f" (and {more} more)" if more else "")


def _place(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys that the section at this place has."""
    model: type[pydantic.BaseModel] = JobSpec
    for part in location:
        if isinstance(part, int):
            continue
        inner = model.model_fields[part].annotation
        candidates = [inner, *_arguments(inner)]
        model = next(each for each in candidates if isinstance(each, type) and issubclass(each, pydantic.BaseModel))
    return list(model.model_fields)


def _arguments(annotation: Any) -> list[Any]:
    found: list[Any] = []
    for argument in getattr(annotation, "__args__", ()):
        found += [argument, *_arguments(argument)]
    return found

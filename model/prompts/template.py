"""The chat template of a checkpoint: how messages become a prompt. Needs nothing heavy."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Template, nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from schemas.errors import SpecError
from schemas.json_file import read_object, read_text

DEFAULT_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}
{{- message.content }}
{%- else %}
{%- for part in message.content %}
{%- if part.type == 'image' %}
{{- '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif part.type == 'video' %}
{{- '<|vision_start|><|video_pad|><|vision_end|>' }}
{%- else %}
{{- part.text }}
{%- endif %}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""For folders that bring none: ChatML with Qwen3-VL's vision marks (docs/facts/qwen3-vl.md §1.1)."""


def chat_template(folder: Path) -> str:
    """The folder's chat template, wherever its version of transformers kept it; of several the one that transformers
    takes. Raises SpecError."""
    for name in ("processor_config.json", "chat_template.json", "chat_template.jinja", "tokenizer_config.json"):
        path = folder / name
        if not path.exists():
            continue
        if path.suffix == ".jinja":
            return read_text(path)
        template = read_object(path).get("chat_template")
        match template:
            case str():
                return template
            case {"default": str(default)}:
                return default
            case [*entries]:  # several, by name
                for entry in entries:
                    match entry:
                        case {"name": "default", "template": str(default)}:
                            return default
        if template is not None:
            raise SpecError(f"{path}: none of its chat templates is called 'default'")
    return DEFAULT_TEMPLATE


class ChatTemplate:
    """Compiled as transformers compiles it. Raises SpecError for a folder whose template is none."""

    def __init__(self, folder: Path) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _tojson
        environment.globals |= {"raise_exception": _raise, "strftime_now": _strftime_now}
        try:
            self._template: Template = environment.from_string(chat_template(folder))
        except (TemplateError, RecursionError) as error:
            raise SpecError(f"{folder}: the chat template cannot be read: {_short(error)}") from error
        self._folder = folder
        self._tokens = _named_tokens(folder)

    def render(self, messages: list[dict[str, Any]]) -> str:
        """Up to where the assistant speaks. Raises SpecError."""
        try:
            return self._template.render(**self._tokens, messages=messages, add_generation_prompt=True)
        except Exception as error:  # templates may raise anything
            message = f"the chat template cannot render this conversation: {_short(error)}"
            raise SpecError(f"{self._folder}: {message}") from error


class _Generation(Extension):
    """`{% generation %}`, which marks what is trained on, and says nothing to us."""

    tags = {"generation"}  # noqa: RUF012  as its class declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _named_tokens(folder: Path) -> dict[str, str]:
    """bos_token, eos_token and others, which templates may name."""
    path = folder / "tokenizer_config.json"
    tokens: dict[str, str] = {}
    for key, value in (read_object(path) if path.exists() else {}).items():
        token = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(token, str):
            tokens[key] = token
    return tokens


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]

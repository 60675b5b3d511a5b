"""The chat template of a checkpoint, as text: how messages become a prompt. Needs nothing heavy."""

from __future__ import annotations

from pathlib import Path

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
    """The folder's chat template, wherever its version of transformers kept it. Raises SpecError."""
    jinja = folder / "chat_template.jinja"
    if jinja.exists():
        return read_text(jinja)
    for name in ("chat_template.json", "tokenizer_config.json"):
        path = folder / name
        template = read_object(path).get("chat_template") if path.exists() else None
        match template:
            case str():
                return template
            case [*entries]:  # several, by name
                for entry in entries:
                    if (
                        isinstance(entry, dict)
                        and entry.get("name") == "default"
                        and isinstance(entry["template"], str)
                    ):
                        return str(entry["template"])
                raise SpecError(f"{path}: none of its chat templates is called 'default'")
    return DEFAULT_TEMPLATE

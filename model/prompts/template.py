"""The chat template of a checkpoint, as text: how messages become a prompt. Needs nothing heavy."""

from __future__ import annotations

import json
from pathlib import Path

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
    """The folder's chat template, wherever its version of transformers kept it."""
    jinja = folder / "chat_template.jinja"
    if jinja.exists():
        return jinja.read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        path = folder / name
        template = json.loads(path.read_text(encoding="utf-8")).get("chat_template") if path.exists() else None
        if isinstance(template, str):
            return template
        if isinstance(template, list):  # several, by name
            return next(entry["template"] for entry in template if entry["name"] == "default")
    return DEFAULT_TEMPLATE

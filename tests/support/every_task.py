"""Jobs of every shipped task over media that the repository draws itself, answered from a recording, without Ray: what
a report is looked at with.

python -m tests.support.every_task FOLDER        prints the outputs
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

import pipelines.running
from jobs.cli import main
from jobs.demo_media import write_demo_media
from pipelines.catalogue import names
from tests.support.in_process import InProcess

REPLIES = Path(__file__).with_name("every_task.jsonl")
"""One page of three is misread, one turns in a circle, a picture is refused."""
CODE = ("code_html", "code_svg", "code_drawio", "code_chart")
"""Of pictures alone: a browser takes a second for each."""
ASKED = {
    "question": "How many shapes are there? Options: A. two B. three C. four. Answer with the letter.",
    "phrases": "red circle, blue square",
    "query": "the red circle",
    "instruction": "Open the ticket office",
    "prompt": "Say good morning in French.",
    "device": "mobile",
    "fov_deg": "60",
}
"""Columns of the table of inputs."""


def write_inputs(folder: Path) -> list[str]:
    """Tables of inputs: a document, pictures, a clip, two screens of an episode, a file that is none, a question."""
    media = {path.name: path for path in write_demo_media(folder)}
    for number, text in enumerate(("Search", "Tickets"), start=1):
        screen = Image.new("RGB", (360, 640), "#e9eef4")
        pen = ImageDraw.Draw(screen)
        font: Any = ImageFont.load_default(26)
        pen.rounded_rectangle((20, 40, 340, 100), 14, fill="white", outline="#8899aa")
        pen.text((40, 54), text, fill="#223344", font=font)
        pen.rounded_rectangle((110, 450, 250, 512), 14, fill="#2f4bc7")
        pen.text((132, 464), "Buy", fill="white", font=font)
        (folder / "episode").mkdir(exist_ok=True)
        screen.save(folder / "episode" / f"{number}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    table = folder / "inputs.csv"
    names = ["lighthouse.pdf", "sign.png", "shapes.jpg", "clock.mp4", "episode", "broken.png"]
    assert media.keys() >= {*names[:4]}
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", *ASKED])
        writer.writeheader()
        writer.writerows([{"path": name, **ASKED} for name in names])
    (folder / "prompts.csv").write_text("prompt\nSay good morning in French.\n", encoding="utf-8")
    return [str(table), str(folder / "prompts.csv")]


def run_every_task(folder: Path) -> tuple[Path, Path]:
    """The outputs of a job of all tasks but those that write code, and of one of these. The cluster is no Ray for the
    rest of this process."""
    pipelines.running.Cluster = InProcess  # type: ignore[misc]
    inputs = write_inputs(folder / "media")
    engine = {"kind": "scripted", "recording": str(REPLIES)}
    jobs = {
        "all": (inputs, [name for name in names() if name not in CODE]),
        "code": ([str(folder / "media" / name) for name in ("sign.png", "shapes.jpg")], [*CODE]),
    }
    for name, (entries, tasks) in jobs.items():
        spec = {"name": name, "inputs": entries, "tasks": tasks, "engine": engine, "output": str(folder / name)}
        path = folder / f"{name}.yaml"
        path.write_text(json.dumps(spec), encoding="utf-8")
        code = main(["run", str(path)])
        assert code == 0, code
    return folder / "all", folder / "code"


if __name__ == "__main__":
    print(*run_every_task(Path(sys.argv[1])), sep="\n")

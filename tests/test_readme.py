"""The README is followed by a newcomer: its job, and every command that it names, as written, in order, about one run.

What no machine for tests has gives way to what is there, and nothing else does: SUBSTITUTIONS.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.demo_media import write_demo_media
from schemas.checkout import NANO
from tests.support.world import ROOT, World, write_image

SUBSTITUTIONS = {
    "s3://bucket/papers/**/*.pdf": "papers/**/*.pdf",  # a bucket
    "s3://bucket/shards/{0000..0127}.tar": "shards/{0000..0001}.tar",
    "kind: vllm": "kind: torch",  # an environment of its own
    "Qwen/Qwen3-VL-8B-Instruct": "nano",  # gigabytes of weights
    "gpus_per_replica: 1": "gpus_per_replica: 0",  # a GPU
    "FILE.pdf": "papers/1904/lighthouse.pdf",  # a file of the reader's
}
ELSEWHERE = ("scripts/demo", ". .venv/bin/activate")
"""Lines that are not run by themselves: tests/test_demo.py reads the demo, and the other stands before each command."""
PRINTS = {
    "try": r"lighthouse.pdf, page 1, ok ─+\nThe Lighthouse at Grey Point\n",
    "doctor": r"ok    inputs      all 3 that are named .*\n(.*\n)+ok    canary .*\n(.*\n)+nothing fails$",
    "plan": r"inputs   5\nunits    4 image, 3 page\n(.*\n)*rows     parse_document: 7\n",
    "run": r"18 rows to have(.*\n)+ parse_document +│ 7 of 7 │(.*\n)+.*look at it: sightread show /.*/out/papers\n",
    "retry": r"^no row is to be asked for again; [1-7] are doubtful: --where 'not verified.ok' asks for them$",
    "status": r"running  nobody\nlast run .* ended with exit code 0;",
    "verify": r"^\d+ files, 18 rows: all is sound$",
    "show": r"│ lighthouse.pdf │ page 1 │ ok +│ The Lighthouse at Grey Point +│\n",
    "report": r"^out/papers/report/index\.html$",
    "sql": r"^ ocr +│ ok +│ +3 ",
    "tasks": r"^ocr +page, image +all text of a page or picture, as plain text",
    "overlay": r"^/.*/out/papers/overlay/ocr/lighthouse-\w+-2\.png$",
    "markdown": r"^/.*/out/papers/markdown/lighthouse-\w+\.md$",
    "reparse": r"^ocr: 7 rows, 0 changed; ok 3, unsure 4, doubtful 0, failed 0; ",
    "export": r"/out/papers/shards/papers-000000\.tar\n5 samples$",
}
"""What each command prints, of the figures that follow from the inputs below."""


def section(title: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.split(r"^## ", text.split(f"\n## {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def blocks(title: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", section(title), re.DOTALL | re.MULTILINE)


def here(text: str) -> str:
    for written, there in SUBSTITUTIONS.items():
        text = text.replace(written, there)
    return text


def commands(title: str) -> Iterator[str]:
    for block in blocks(title, "sh"):
        for line in block.splitlines():
            if not line.startswith(ELSEWHERE):
                yield line


def write_inputs(folder: Path) -> None:
    """Two pictures in the folder, a document of three pages in the bucket, a picture in each shard."""
    for name in ("scans", "papers/1904", "shards"):
        (folder / name).mkdir(parents=True)
    drawn = {path.name: path for path in write_demo_media(folder / "drawn")}
    for name in ("sign.png", "shapes.jpg"):
        drawn[name].rename(folder / "scans" / name)
    drawn["lighthouse.pdf"].rename(folder / "papers/1904/lighthouse.pdf")
    for number in range(2):
        with tarfile.open(folder / "shards" / f"{number:04}.tar", "w") as shard:
            shard.add(drawn["ticket.png"], f"{number}.png")


def test_every_substitution_is_of_something_that_stands_there() -> None:
    text = section("A job") + section("Start")
    assert [written for written in SUBSTITUTIONS if written not in text] == []


@pytest.mark.slow
@pytest.mark.timeout(1200)  # half a minute of CPU, in a dozen processes
@pytest.mark.skipif(not NANO.exists(), reason="no checkpoint is shipped")
def test_the_job_goes_through_every_command(world: World) -> None:
    write_inputs(world.folder)
    (world.folder / ".venv").symlink_to(sys.prefix)
    (job,) = blocks("A job", "yaml")
    (world.folder / "papers.yaml").write_text(here(job), encoding="utf-8")
    environment = {
        **{name: value for name, value in world.environment.items() if not name.startswith("SIGHTREAD_")},
        "PYTHONPATH": str(ROOT),  # the code of this checkout, whichever one the environment was set up for
        "COLUMNS": "160",
    }

    def printed(*command: str, shell: str = "") -> str:
        arguments = command or ("bash", "-c", f". .venv/bin/activate && {shell}")
        done = subprocess.run(
            arguments, cwd=world.folder, env=environment, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, (command, shell, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout

    for line in (*commands("Start"), *commands("A job")):
        text = printed(shell=here(line))
        name = line.split("#")[0].split()[1]
        assert re.search(PRINTS[name], text.strip(), re.MULTILINE), (line, text)
        for path in re.findall(r"^out/papers/\S+$", text, re.MULTILINE):
            assert (world.folder / path).stat().st_size > 0, path
    (program,) = blocks("A job", "python")
    read = printed(str(world.folder / ".venv/bin/python"), "-c", program)
    assert "lighthouse.pdf" in read
    assert "Opening hours and prices" in read
    world.nothing_left()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not NANO.exists(), reason="no checkpoint is shipped")
def test_two_commands_lead_from_ten_files_to_their_page(world: World) -> None:
    files = world.folder / "files"
    drawn = write_demo_media(files)
    for number in range(10 - len(drawn)):
        write_image(files / f"{number}.png", f"Sign {number}")
    (world.folder / ".venv").symlink_to(sys.prefix)
    environment = {**world.environment, "PYTHONPATH": str(ROOT), "BROWSER": "/bin/true"}
    first, second = blocks("Your own files", "sh")[0].splitlines()
    for line in (first, second):
        shell = ("bash", "-c", f". .venv/bin/activate && {line}")
        done = subprocess.run(
            shell, cwd=world.folder, env=environment, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    page = world.folder / done.stdout.strip()
    overview = (page.parent / "data" / "overview.js").read_text(encoding="utf-8")
    assert '"asked":10' in overview
    assert len(list((page.parent / "pictures").iterdir())) >= 2 * 12, "ten files, of which one has three pages"
    world.nothing_left()

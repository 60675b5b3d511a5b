"""Wrong specs: exit code 2 or 1 and one line, whatever is in them; nothing runs for long."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.cli import main
from jobs.load import load, parse_stored
from operators.store.local import LocalStore
from pipelines.folder import JobFolder
from pipelines.inline import output_of
from pipelines.job import prepare
from pipelines.rounds import Round, definitions, now
from schemas.checkout import ROOT
from schemas.errors import SightreadError, SpecError
from schemas.spec import DecodeSpec, LimitsSpec, TaskSpec
from tests.support.sentences import Spec, job_of_text, sentence
from tests.support.world import write_image, write_recording


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    return job_of_text(tmp_path, monkeypatch)


# specs

_LAUGHS = "\n".join(["a0: &a0 [lol, lol]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))])
_MERGES = "\n".join(
    ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12))]
)
_CHAIN = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 2000))])

TEXTS: dict[str, tuple[str | bytes, str]] = {
    "brackets": ("a: " + "[" * 50_000, "nested more than 64 deep"),
    "braces": ("{a: " * 50_000, "nested more than 64 deep"),
    "dashes": ("- " * 50_000, "nested more than 64 deep"),
    "recursive alias": ("a: &a [*a]", r"the alias \*a stands within what it stands for"),
    "recursive mapping": ("a: &a {b: *a}", r"the alias \*a stands within what it stands for"),
    "billion laughs": (_LAUGHS, "more than 20000 values, aliases followed"),
    "merged laughs": (_MERGES, "more than 20000 values, aliases followed"),
    "nested by aliases": (_CHAIN, "nested more than 64 deep"),
    "many values": ("a: [" + "1," * 30_000 + "1]", r"goes into a table \(\.csv\)"),
    "50 MB": (b"a: " + b"x" * (50 << 20), "more than 1048576 bytes, the most that is read of one; a long list"),
    "digits": ("a: " + "9" * 5000, "line 1: a number of 5000 digits"),
    "sexagesimal": ("a: 1" + ":59" * 5000, "a number of 15001 digits"),
    "hexadecimal": ("a: 0x" + "f" * 40, "beyond 64 bits"),
    "beyond 64 bits": ("a: 9223372036854775808", "9223372036854775808 is beyond 64 bits"),
    "infinite": ("a: 1.0e+999", "not a finite number"),
    "not a number": ("a: .nan", "not a finite number"),
    "no integer": ("a: !!int x", "'x' is no number"),
    "date": ("a: 2001-13-45", "a date to YAML; put it in quotes"),
    "twice": ("name: a\nname: b", "line 2: the key 'name' stands there twice"),
    "twice below": ("name: a\ndecode:\n  workers: 1\n  workers: 2", "line 4: the key 'workers' stands there twice"),
    "number for a key": ("1: a", "the key '1' is no text"),
    "list for a key": ("? [a]\n: b", "is no text"),
    "true for a key": ("on: a", "the key 'on' is no text"),
    "NUL in a path": ('inputs: ["a\\0b.pdf"]', r"holds the control character \\x00"),
    "NUL in a key": ('"a\\0": 1', r"holds the control character \\x00"),
    "escape": ('name: "a\\e[2J"', r"holds the control character \\x1b"),
    "raw NUL": (b"name: a\0", "is not YAML"),
    "a tag": ("a: !!python/name:os.system ''", "is none that is read"),
    "a tag of its own": ("a: !x y", "the tag !x is none that is read"),
    "a set": ("a: !!set {b}", "is none that is read"),
    "binary": ("a: !!binary x", "is none that is read"),
    "two documents": ("a: 1\n---\nb: 2", "expected a single document"),
    "nothing": ("", "is empty"),
    "a list": ("- a", "holds list"),
    "UTF-16": ("a: 1".encode("utf-16"), "it is not UTF-8"),
    "Latin-1": (b"name: \xe9", "it is not UTF-8"),
    "rubbish": (bytes(range(256)) * 40, "it is not UTF-8"),
    "half": ("a: [1", "is not YAML"),
    "an alias of nothing": ("a: *b", "undefined alias"),
    "a long key": ("? " + "k" * 100_000 + "\n: 1", "unknown key 'k"),
    "a long text": ("name: [" + "k" * 100_000 + "]", "name: input should be a valid string"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_no_spec_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    text, words = TEXTS[name]
    path = tmp_path / "spec.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    said = sentence(capsys, "plan", str(path))
    assert re.search(words, said), said
    assert len(said) < 2100


def test_a_mark_of_order_and_a_merge_that_is_overridden_are_read(spec: Spec, tmp_path: Path) -> None:
    text = yaml.safe_dump({**spec, "decode": None}).replace("decode: null", "decode: &d {workers: 1}\nlimits: {}")
    (tmp_path / "spec.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load(tmp_path / "spec.yaml").decode.workers == 1
    merged = text.replace("limits: {}", "").replace("&d {workers: 1}", "{<<: {workers: 1, timeout_s: 5}, workers: 2}")
    (tmp_path / "spec.yaml").write_text(merged)
    assert load(tmp_path / "spec.yaml").decode.workers == 2


def test_what_is_as_deep_as_a_spec_may_be_is_stored_and_read_again(spec: Spec) -> None:
    schema: Spec = {"type": "array", "items": {"type": "string"}}
    spec["tasks"] = {"name": "mine", "prompt": "p", "units": ["text"], "output": schema}
    for _ in range(50):
        schema["items"] = {"type": "array", "items": schema["items"]}
    jobs = []
    for _ in range(14):
        Path("spec.yaml").write_text(yaml.safe_dump(spec))
        with contextlib.suppress(SpecError):
            jobs.append(prepare(load(Path("spec.yaml"))))
        schema["items"] = {"type": "array", "items": schema["items"]}
    assert 0 < len(jobs) < 14
    job, folder = jobs[-1], JobFolder(LocalStore("out"))
    for _ in range(2):
        folder.claim()
    spec_of_job = job.spec.model_dump(mode="json")
    folder.write_spec(spec_of_job)
    folder.add_round(Round(0, "first", (), job.definitions, now(), "a test", spec_of_job))
    assert parse_stored(folder.spec(), "stored") == job.spec
    assert definitions(folder.rounds()) == job.definitions


PLACES: dict[str, Callable[[Path], object]] = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "not there": lambda path: None,
}


@pytest.mark.parametrize("name", PLACES)
def test_a_spec_that_is_no_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    path = tmp_path / "spec.yaml"
    PLACES[name](path)
    assert str(path) in sentence(capsys, "plan", str(path))


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000, "a\0b"])
def test_a_spec_whose_name_cannot_be_is_one_sentence(capsys: pytest.CaptureFixture[str], name: str) -> None:
    sentence(capsys, "run", name)


OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}}
SCHEMAS: dict[str, tuple[Spec, str]] = {
    "$ref to itself": ({**OBJECT, "$ref": "#"}, r"\$: \$ref is not followed"),
    "$ref elsewhere": (
        {"type": "object", "properties": {"a": {"type": "string", "$ref": "http://localhost/x"}}},
        r"\$.a: \$ref is not followed",
    ),
    "$dynamicRef": ({**OBJECT, "allOf": [{"$dynamicRef": "#x"}]}, r"\$dynamicRef is not followed"),
    "patterns for names": ({**OBJECT, "patternProperties": {"(a+)+$": {}}}, "patternProperties is not followed"),
    "a pattern that looks back": (
        {"type": "object", "properties": {"a": {"type": "string", "pattern": r"(a)\1"}}},
        r"\$.a: pattern: Invalid regular expression",
    ),
    "a huge pattern": (
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(((a{1,99}){1,99}){1,99}){1,99}"}}},
        r"\$.a: pattern: Invalid regular expression",
    ),
    "no type": ({"properties": {"a": {}}}, "say `type: object`"),
    "no schema": ({"type": "object", "properties": 7}, "not a JSON Schema"),
    "deep": (
        json.loads('{"type":"array","items":' * 25 + '{"type":"string"}' + "}" * 25),
        "",
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_that_cannot_be_answered_is_one_sentence(
    spec: Spec, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    schema, words = SCHEMAS[name]
    spec["tasks"] = [{"name": "mine", "prompt": "p", "units": ["text"], "output": schema}]
    Path("spec.yaml").write_text(yaml.safe_dump(spec))
    if words:
        assert re.search(words, sentence(capsys, "plan", "spec.yaml"))
    else:
        assert main(["plan", "spec.yaml"]) == 0


def test_a_pattern_takes_no_time_on_a_reply_that_is_made_for_it() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    output = output_of("t", schema)
    assert output.check({"a": "aaa"}) == {"a": "aaa"}
    started = time.monotonic()
    with pytest.raises(SightreadError, match="does not match"):
        output.check({"a": "a" * 50_000 + "!"})
    assert time.monotonic() - started < 5


def test_a_property_may_have_the_name_of_a_keyword() -> None:
    output_of("t", {"type": "object", "properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}})


# stdout


@pytest.mark.parametrize(
    ("stdout", "code", "lines"),
    [("/dev/full", 1, ["sightread: [Errno 28] No space left on device"]), ("/dev/null", 0, [])],
)
def test_a_stdout_that_takes_nothing_is_one_sentence(stdout: str, code: int, lines: list[str]) -> None:
    with Path(stdout).open("w") as place:
        done = subprocess.run(
            [sys.executable, "-m", "jobs.cli", "tasks"],
            cwd=ROOT, stdout=place, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()) == (code, lines)


def test_a_current_folder_that_is_gone_is_no_traceback(tmp_path: Path) -> None:
    script = 'cd "$1" && rmdir "$1" && exec "$2" -m jobs.cli "${@:3}"'
    for arguments, code in ((("tasks",), 0), (("plan", "spec.yaml"), 2), (("plan", ROOT / "jobs/specs/demo.yaml"), 2)):
        (tmp_path / "here").mkdir()
        done = subprocess.run(
            ["bash", "-c", script, "bash", tmp_path / "here", sys.executable, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert done.stderr.count("\n") == min(code, 1), done.stderr
        assert done.returncode in (code, 1)


def test_letters_that_a_terminal_lacks_are_no_traceback(tmp_path: Path) -> None:
    picture = write_image(tmp_path / "a.png")
    recording = write_recording(tmp_path / "r.jsonl", {"reply": "日本"})
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "try", picture, "--recording", recording],
        cwd=ROOT, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u65e5\u672c" in done.stdout


# resources


def test_plan_refuses_the_gpus_that_a_run_here_would(
    spec: Spec, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.commands.plan._visible_gpus", lambda: 1)
    monkeypatch.setattr("schemas.engine_spec.EngineSpec.gpus", 2.0)
    Path("spec.yaml").write_text(yaml.safe_dump(spec))
    assert "take 2 and the cluster has 1" in sentence(capsys, "plan", "spec.yaml")


# mutated specs


def _mutated(text: bytes, dice: random.Random) -> bytes:
    for _ in range(dice.randint(1, 4)):
        start, end = sorted(dice.randrange(len(text) + 1) for _ in range(2))
        end = min(end, start + dice.choice((1, 4, 40)))
        match dice.randrange(9):
            case 0:
                text = text[:start] + bytes([dice.randrange(256)]) + text[start + 1 :]
            case 1:
                text = text[:start] + text[end:]
            case 2:
                text = text[:start] + text[start:end] * dice.choice((2, 3, 2000)) + text[end:]
            case 3:
                text = text[:start] + dice.choice((b"[", b"{a: ", b"- ")) * dice.choice((1, 70, 50_000)) + text[start:]
            case 4:
                text = text[:start] + dice.choice((b"&a ", b"*a", b"<<: *a\n", b"&a [*a]", b"!!int ")) + text[start:]
            case 5:  # another kind of value
                lines = text.split(b"\n")
                line = dice.randrange(len(lines))
                values = (b"7", b"-1", b"[]", b"{}", b"null", b"true", b"''", b"2001-01-01", b"1e99", b"9" * 5000)
                lines[line] = lines[line].partition(b":")[0] + b": " + dice.choice(values)
                text = b"\n".join(lines)
            case 6:
                text = text[:start] + dice.choice((b"9" * 5000, b"1" * 18, b"0x" + b"f" * 99, b"1:" * 999)) + text[end:]
            case 7:
                text = text[:start] + dice.choice((b"\0", b"\x1b[2J", b"\xff", b'"\\0"', b"\xe2\x80\xae")) + text[end:]
            case 8:  # another key, in its place or below
                lines = text.split(b"\n")
                line = dice.randrange(len(lines))
                lines.insert(line, lines[dice.randrange(len(lines))])
                text = b"\n".join(lines)
        text = text or b"a"
    return text


ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1 << 31, (1 << 63) - 1, 1 << 200, 0.5, 1e-300, 1e300, float("inf"), "", " ", "a" * 9999),
    *("{", "{x}", "{{x}}", "..", "~", "~nobody-is-called-so/x", "file://", "file:///", "s3://b", "memory://x", "*"),
    *(
        "[",
        "[a",
        "**/*",
        "é" * 300,
        "x:y",
        ":",
        "os:path",
        "pipelines.tasks.ocr:TASK",
        "json:dumps",
        "\u202e",
        "http://[",
        "ocr",
    ),
    *([], [[]], {}, {"a": {"a": []}}, {"type": "object"}, [None], ["ocr", {"name": "ocr"}], {"name": {"name": 1}}),
    *([{"type": "object", "properties": {"a": {"type": ["string", "null"]}}}], {"type": "array", "items": True}),
)


def _other_values(text: bytes, dice: random.Random) -> bytes:
    """The same spec with other values, keys and places."""
    spec = yaml.safe_load(text)
    spec.setdefault("decode", DecodeSpec().model_dump(mode="json"))
    spec.setdefault("limits", LimitsSpec().model_dump(mode="json"))
    tasks = [{"name": task} if isinstance(task, str) else task for task in spec["tasks"]]
    spec["tasks"] = [dict.fromkeys(set(TaskSpec.model_fields) - {"parameters", "reasoning"}) | task for task in tasks]
    for _ in range(dice.randint(1, 2)):
        place: Any = spec
        while True:
            key = dice.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if not isinstance(place[key], (dict, list)) or not place[key] or dice.random() < 0.2:
                break
            place = place[key]
        place[key] = dice.choice(ODD)
        if isinstance(place, dict) and dice.random() < 0.1:
            place[dice.choice(("name", "$ref", "x", "properties", "kind"))] = place.pop(key)
    return yaml.safe_dump(spec, allow_unicode=True).encode()


def test_mutated_specs_are_sentences_within_seconds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    amount: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    write_recording(tmp_path / "r.jsonl", {"reply": "{}"})
    for name in ("prompts", "questions", "moments", "actions", "episodes"):
        Path(f"{name}.csv").write_text("path,question\nnowhere.png,why\n")
    seeds = []
    for path in sorted((ROOT / "jobs" / "specs").glob("*.yaml")):
        text = path.read_text().replace(
            "kind: torch, model: Qwen/Qwen3-VL-8B-Instruct, gpus_per_replica: 1", "kind: scripted, recording: r.jsonl"
        )
        seeds.append(text.encode())
    dice = random.Random(int(os.environ.get("SEED", "15")))
    number, codes, slowest = amount(150, 1000), {0: 0, 1: 0, 2: 0}, 0.0
    for turn in range(number):
        mutate = _mutated if turn % 2 else _other_values
        text = mutate(seeds[turn // 2 % len(seeds)], dice)
        Path("spec.yaml").write_bytes(text)
        started = time.process_time()
        try:
            code = main(["plan", "spec.yaml"])
        except Exception as error:
            raise AssertionError(f"mutation {turn}: {text[:3000]!r}") from error
        slowest = max(slowest, time.process_time() - started)
        assert slowest < 10, text[:3000]
        printed = capsys.readouterr()
        said = [line for line in printed.err.splitlines() if not line.endswith("no weights are fetched")]
        assert len(said) <= (1 if code else 0), printed.err
        codes[code] += 1
    assert min(codes[0], codes[2]) > number / 20
    figure(f"{number} mutated specs: {codes[0]} plans, {codes[2] + codes[1]} sentences, slowest {slowest:.1f} s of CPU")


def test_spec_errors_name_their_file(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("a: &a [*a]")
    with pytest.raises(SpecError, match=r"spec\.yaml, line 1: "):
        load(tmp_path / "spec.yaml")

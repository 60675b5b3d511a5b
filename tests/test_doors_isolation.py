"""Decoders are locked down, and children get little: tried from inside by a program in a decoder child's place, on
machines with and without what the lock-down is made of; and by folders that wait for somebody to run in them."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs import machine
from model.engines import openai_kind
from operators.code_check.code_checker import CodeChecker
from operators.infer.supervisor import Supervisor
from operators.media.sandbox import Sandbox
from operators.processes import landlock, seccomp
from operators.processes.isolation import LACKS
from operators.processes.orphan_reaper import descendants, processes
from schemas.checkout import ROOT
from schemas.decode import DecodeSettings, LineReader
from schemas.unit import Locator
from tests.support.decord2 import needs_decord2
from tests.support.inside import RAW_CALLS
from tests.support.media import write_clip
from tests.support.world import World, write_image, write_pdf, write_recording

ON_X86 = platform.machine() == "x86_64"
IS_ROOT = os.getuid() == 0
UNSHARE, LANDLOCK, SECCOMP = 272, 444, 317
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
CONTAINER = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all")


@dataclass(frozen=True)
class Machine:
    """command: in front of ours. refused: calls that the kernel does not know there. lacks: what has to be said."""

    name: str
    command: tuple[str, ...] = ()
    refused: tuple[int, ...] = ()
    lacks: frozenset[str] = frozenset()


MACHINES = (
    Machine("root", lacks=frozenset({"thread-limit"})),
    Machine("a root without rights", CONTAINER, (), frozenset({"thread-limit"})),
    Machine("a root in a container", CONTAINER, (UNSHARE,), frozenset({"thread-limit", "network-namespace"})),
    Machine("a user", NOBODY),
    Machine("a user without namespaces", NOBODY, (UNSHARE,), frozenset({"thread-limit", "network-namespace"})),
    Machine("no Landlock", NOBODY, (LANDLOCK,), frozenset({"landlock"})),
    Machine("no filter", NOBODY, (SECCOMP,), frozenset({"seccomp"})),
    Machine(
        "nothing",
        NOBODY,
        (UNSHARE, LANDLOCK, SECCOMP),
        frozenset({"thread-limit", "network-namespace", "landlock", "seccomp"}),
    ),
)


def on(machine: Machine) -> tuple[str, ...]:
    """The command in front; skips where the machine cannot be made here."""
    if machine.refused and not seccomp.available():
        pytest.skip("a machine without a call is made by a filter of system calls, and there is none here")
    if machine.refused and not ON_X86:
        pytest.skip("the calls to be taken away are numbered for x86-64")
    roots = machine.name == "root" or machine.command == CONTAINER
    if roots and not IS_ROOT:
        pytest.skip("nobody becomes root here")
    if not IS_ROOT:
        return ()
    if machine.command and shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed: apt-get install util-linux")
    command = (*reach_python(), *NOBODY) if machine.command == NOBODY else machine.command
    made = subprocess.run([*command, sys.executable, "-P", "-c", "import schemas"], env=ENVIRONMENT, check=False)
    if made.returncode:
        pytest.skip(f"{machine.name} cannot be made here: no rights to mount or to become nobody")
    return command


def reach_python() -> tuple[str, ...]:
    """In front of a command of nobody: where Python lies in a home that is closed to others, the home is covered in a
    mount namespace by an open folder that holds nothing but Python."""
    base = Path(sys.base_prefix).resolve()
    closed = [folder for folder in reversed(base.parents) if not folder.stat().st_mode & 0o001]
    if not closed:
        return ()
    script = (
        f"mount --bind {base} /mnt && mount -t tmpfs -o mode=755 tmpfs {closed[0]} && mkdir -p {base} && "
        f'mount --bind /mnt {base} && exec "$@"'
    )
    return ("unshare", "--mount", "sh", "-c", script, "sh")


def expected(machine: Machine, command: tuple[str, ...]) -> set[str]:
    """What is lacking here anyway, and what was taken away."""
    lacks = set(machine.lacks)
    if landlock.abi() == 0:
        lacks.add("landlock")
    elif landlock.abi() < landlock.WHOLE_ABI and "landlock" not in lacks:
        lacks.add("landlock-partial")
    if not seccomp.available():
        lacks.add("seccomp")
    if not machine.name.startswith("root") and UNSHARE not in machine.refused:
        made = subprocess.run([*command, "unshare", "--user", "--net", "true"], capture_output=True, check=False)
        lacks |= {"network-namespace", "thread-limit"} if made.returncode else set()
    return lacks


@contextmanager
def listening(family: int, kind: int, address: Any) -> Iterator[socket.socket]:
    with closing(socket.socket(family, kind)) as one:
        one.bind(address)
        if kind == socket.SOCK_STREAM:
            one.listen()
        one.setblocking(False)
        yield one


def heard(server: socket.socket) -> bool:
    try:
        server.recv(1) if server.type == socket.SOCK_DGRAM else server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


OPEN_TO_ALL = ("/tmp", "/dev/shm")


@dataclass(frozen=True)
class Tried:
    """report: of the program inside. heard: which of our servers were spoken to. left: names in the folder after it."""

    report: dict[str, Any]
    heard: dict[str, bool]
    left: list[str]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may read and write, as the folders of tests are not."""
    folder = Path("/tmp") / f"sightread-doors-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)
    for place in OPEN_TO_ALL:
        Path(place, f"{folder.name}-new").unlink(missing_ok=True)


def try_from(folder: Path, machine: Machine, command: tuple[str, ...]) -> Tried:
    """Put the program inside in a decoder's place on a machine."""
    for name in ("output.txt", "another.pdf", "victim"):
        (folder / name).write_text("secret")
        (folder / name).chmod(0o666)
    abstract, path = uuid.uuid4().hex, str(folder / "socket")
    loopback = ("127.0.0.1", 0)
    with (
        listening(socket.AF_INET, socket.SOCK_STREAM, loopback) as tcp,
        listening(socket.AF_INET, socket.SOCK_DGRAM, loopback) as udp,
        listening(socket.AF_UNIX, socket.SOCK_STREAM, path) as unix,
        listening(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + abstract) as named,
    ):
        Path(path).chmod(0o777)
        targets = folder / "targets.json"
        targets.write_text(
            json.dumps(
                {
                    "tcp": tcp.getsockname()[1],
                    "udp": udp.getsockname()[1],
                    "unix": path,
                    "abstract": abstract,
                    "reads": [
                        *("/etc/passwd", "/etc/hostname", str(folder / "output.txt"), str(folder / "another.pdf")),
                        *("/proc/self/environ", "/proc/{me}/environ", "/proc/{me}/mem", "/proc/{me}/maps"),
                        *(str(ROOT / "pyproject.toml"), "/dev/null", str(Path.home()), str(ROOT)),
                    ],
                    "lists": ["/", "/tmp", "/etc", "/proc", str(folder), str(ROOT)],
                    "writes": [
                        str(folder / "new"),
                        str(folder / "output.txt"),
                        *(f"{place}/{folder.name}-new" for place in OPEN_TO_ALL),
                        "/dev/null",
                    ],
                    "victim": str(folder / "victim"),
                    "libraries": [os.__file__, str(ROOT / "operators" / "units.py"), pa.__file__],
                    "raw": ON_X86,
                }
            )
        )
        done = subprocess.run(
            [*command, sys.executable, "-P", "-m", "tests.support.outside", str(targets), *map(str, machine.refused)],
            cwd=ROOT,
            env={**ENVIRONMENT, **KEYS},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        servers = {"tcp": tcp, "udp": udp, "unix": unix, "abstract": named}
        return Tried(
            json.loads(done.stdout),
            {name: heard(server) for name, server in servers.items()},
            sorted(path.name for path in folder.iterdir()),
        )


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SECRET = "5ec4e7"
KEYS = {
    **dict.fromkeys(("RAY_AUTH_TOKEN", "OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "VLLM_API_KEY"), SECRET),
    "https_proxy": f"http://user:{SECRET}@proxy.invalid",
    "SIGHTREAD_ANYTHING": SECRET,
    "PYTHONWARNINGS": "default",
}
ALLOWED = {
    *("PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SIGHTREAD_MARK", "PYTHONPATH"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_DEFAULT_MEMORY_POOL", "MALLOC_ARENA_MAX"),
    *("JE_ARROW_MALLOC_CONF",),
    *("LC_CTYPE",),  # Python's own, where no locale is set
}


@pytest.mark.parametrize("place", MACHINES, ids=lambda place: place.name)
def test_a_decoder_that_is_taken_over_reaches_nothing(
    place: Machine, open_folder: Path, figure: Callable[[str], None]
) -> None:
    command = on(place)
    tried = try_from(open_folder, place, command)
    report, lacks = tried.report, set(tried.report["lacks"])
    figure(f"locked down on {place.name}: lacks {sorted(lacks) or 'nothing'}")

    # what is missing is said
    assert lacks == expected(place, command)

    # wherever it runs
    names = {name for name in report["environment"] if not name.startswith("LC_")} | {"LC_CTYPE"}
    assert names <= ALLOWED
    assert SECRET not in json.dumps([report["environment"], report["environ"], report["command"]])
    assert report["environment"]["PYTHONPATH"] == str(ROOT)
    assert report["folder"] == str(ROOT)
    assert report["command"][1:3] == ["-P", "-m"]
    kernel = report["kernel"]
    assert {name: int(kernel[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapAmb"), 0),
        # who may not lower it can never have what it bounds: no_new_privs
        "CapBnd": int(kernel["CapBnd"], 16) if place.command[:1] == ("setpriv",) or not IS_ROOT else 0,
    }
    assert kernel["NoNewPrivs"] == "1"
    assert report["limits"]["files"] == 512
    assert report["limits"]["core"] == 1
    assert report["limits"]["large"] == "EFBIG"
    assert set(report["libraries"].values()) == {"done"}, "it cannot work"
    assert report["itself"] == report["signals"]["itself"] == "done", "it cannot work"
    assert report["threads"] >= 8, "it cannot work"

    if "landlock" not in lacks:
        assert set(report["reads"].values()) == {"EACCES"}, report["reads"]
        assert set(report["lists"].values()) == {"EACCES"}, report["lists"]
        assert report["link"] == "EACCES"
    if not {"landlock", "seccomp"} <= lacks:
        assert set(report["writes"].values()) == {"EACCES"}, report["writes"]
        assert report["victim"] in ("EPERM", "EACCES")
        assert "new" not in tried.left
        assert "victim" in tried.left
    if "seccomp" not in lacks:
        assert set(report["network"].values()) == {"EPERM"}, report["network"]
        assert not any(tried.heard.values())
        assert set(report["programs"].values()) == {"EPERM"}
        assert {name: report["signals"][name] for name in ("kill", "group", "init", "owner")} == dict.fromkeys(
            ("kill", "group", "init", "owner"), "EPERM"
        )
        assert report["limits"]["parent"] == report["terminal"] == "EPERM"
        assert [name for name, outcome in report["raw"].items() if outcome == "done"] == []
        assert len(report["raw"]) == len(RAW_CALLS) * ON_X86
        assert kernel["Seccomp"] == "2"
    elif "network-namespace" not in lacks:
        assert not any(tried.heard[name] for name in ("tcp", "udp", "abstract"))
    if "seccomp" in lacks and not {"landlock", "landlock-partial"} & lacks:
        assert report["signals"]["kill"] == report["signals"]["init"] == "EPERM"
    if "thread-limit" not in lacks:
        assert report["threads"] <= 64


# what it can do still


def decoded(sandbox: Sandbox, path: Path) -> list[str | None]:
    """Kinds of the errors of its units, None of those that came."""
    answer = sandbox.probe(str(path), None)
    assert "units" in answer, answer
    units = [Locator.of(unit) for unit in answer["units"]]
    rows = [batch.to_pylist()[0] for batch in sandbox.decode(str(path), answer["media"], units)]
    assert all(row["error"] or row["pictures"] for row in rows)
    return [row["error"] and row["error"]["message"] for row in rows]


SUFFIXES = ("jpg", "png", "gif", "tif", "webp", "bmp", "ppm", "jp2", "pdf", "mp4", "mkv")


def write_input(folder: Path, suffix: str) -> Path:
    path = folder / f"a.{suffix}"
    if suffix == "pdf":
        return write_pdf(path, pages=2)
    return write_clip(path, range(0, 1000, 100)) if suffix in ("mp4", "mkv") else write_image(path)


def test_every_format_is_decoded_by_one_child_that_is_locked_down(tmp_path: Path) -> None:
    sandbox = Sandbox(DecodeSettings(line_reader=LineReader()))
    try:
        pids = set()
        for suffix in SUFFIXES:
            assert set(decoded(sandbox, write_input(tmp_path, suffix))) == {None}, suffix
            pids.add(sandbox.child_pid)
        assert len(pids) == 1
    finally:
        sandbox.close()


@needs_decord2
def test_a_library_that_opens_by_name_gets_one_file_and_no_other(tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / f"{name}.mp4", range(0, 3000, 100)) for name in "ab"]
    settings = DecodeSettings(video_backend="decord", video_clip_s=1.0)
    sandbox = Sandbox(settings)
    try:
        pids = []
        for clip in clips:
            assert len(decoded(sandbox, clip)) == 3
            pids.append(sandbox.child_pid)
            units = [Locator(start_s=float(start), end_s=start + 1.0) for start in range(3)]
            for batch in sandbox.decode(str(clip), "video", units):
                assert batch.to_pylist()[0]["error"] is None
            pids.append(sandbox.child_pid)
        assert pids[0] == pids[1] != pids[2] == pids[3], "a child for each file, and one for all its units"
    finally:
        sandbox.close()


def test_what_is_lacking_is_said_by_doctor(capfd: pytest.CaptureFixture[str]) -> None:
    assert {line.message.split(":")[0] for line in machine.isolation() if line.level == "note"} <= LACKS.keys()
    if not (seccomp.available() and ON_X86):
        pytest.skip("a machine without a call is made by a filter of system calls, and there is none here")
    code = (
        "from tests.support.outside import refuse; refuse([444]); from jobs.machine import isolation; "
        "print(*(line.message for line in isolation() if line.level == 'note'), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert f"landlock: {LACKS['landlock']}" in done.stdout.splitlines(), done.stderr


@pytest.mark.slow
def test_what_is_lacking_is_said_in_the_summary(world: World) -> None:
    if not (seccomp.available() and ON_X86):
        pytest.skip("a machine without a call is made by a filter of system calls, and there is none here")
    write_image(world.inputs / "a.png")
    write_recording(world.recording, {"reply": "Sign"})
    world.spec["tasks"] = ["ocr"]
    code = (
        "import sys; from tests.support.outside import refuse; refuse([444]); from jobs.cli import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "run", str(world.spec_file)],
        env={**world.environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "landlock" in next(line for line in done.stdout.splitlines() if line.startswith("decoders ran without"))
    assert "landlock" in json.loads((world.output / "_job" / "summary.json").read_text())["isolation_lacks"]


# what the other children get


def environment_of(pid: int) -> dict[str, str]:
    return dict(
        entry.split("=", 1) for entry in Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0") if "=" in entry
    )


def test_an_engine_gets_its_own_key_and_what_sets_it_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("PATH", f":{os.environ['PATH']}:relative")
    engine = openai_kind.Settings(url="http://127.0.0.1:9/v1", model="m", api_key_env="OPENAI_API_KEY")
    supervisor = Supervisor(engine, logs=tmp_path)
    try:
        pid = until(lambda: supervisor.child_pid)
        environment = until(lambda: environment_of(pid))
        assert Path(f"/proc/{pid}/cwd").readlink() == ROOT
    finally:
        supervisor.close()
    assert {name for name in KEYS if name in environment} == {"OPENAI_API_KEY", "https_proxy"}
    assert (environment["CUDA_VISIBLE_DEVICES"], environment["NO_PROXY"]) == ("1", "127.0.0.1")
    assert environment["PYTHONPATH"] == str(ROOT)
    assert all(entry.startswith("/") for entry in environment["PATH"].split(":"))


def test_what_checks_code_gets_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    checker = CodeChecker()
    try:
        assert checker.check("python", "import os", 320, 240).columns["outcome"] == "read"
        assert checker._child is not None
        outer = checker._child.pid
        started = [outer, *(pid for pid, _ in descendants([outer], processes()))]
        for pid in started:
            assert SECRET not in json.dumps(environment_of(pid))
            assert not {"LD_PRELOAD", "PYTHONWARNINGS"} & environment_of(pid).keys()
            assert Path(f"/proc/{pid}/cwd").readlink() == ROOT
    finally:
        checker.close()


def until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (seen := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return seen


# folders that wait for somebody to run in them

MODULES = ("colorsys", "numpy", "sitecustomize", "usercustomize", "operators/__init__", "operators/units", "secrets")


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder with modules that leave a mark when they are run, and settings that name other places."""
    folder = tmp_path / "trap"
    for name in MODULES:
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"open({str(tmp_path / 'sprung')!r}, 'a').write(__file__ + '\\n')\nraise SystemExit(99)\n")
    (folder / ".env").write_text("SIGHTREAD_VLLM_PYTHON=/bin/false\nHF_HOME=/nowhere\n")
    write_image(folder / "page.png")
    write_recording(folder / "replies.jsonl", {"reply": "Sign"})
    (folder / "spec.yaml").write_text(
        "name: trap\ninputs: [page.png]\ntasks: [ocr]\noutput: out\n"
        "engine: {kind: scripted, recording: replies.jsonl}\n"
    )
    return folder


COMMANDS = (
    ("try", "page.png", "--recording", "replies.jsonl"),  # decoder, engine
    ("plan", "spec.yaml"),  # decoders
    ("doctor", "spec.yaml"),  # decoder, and what it asks of the machine
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_nothing_is_run_or_read_from_the_folder_where_one_stands(trap: Path, command: tuple[str, ...]) -> None:
    trace = trap.parent / "trace"
    traced = (
        ("strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=open,openat,execve", "-o", str(trace))
        if shutil.which("strace")
        else ()
    )
    done = subprocess.run(
        # as the command of an installation starts: its own folder comes first, not the current one
        [*traced, sys.executable, "-P", "-m", "jobs.cli", *command],
        cwd=trap,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert not (trap.parent / "sprung").exists(), (trap.parent / "sprung").read_text()
    assert done.returncode == 0, done.stdout + done.stderr
    if not traced:
        pytest.skip("strace is not installed: only that nothing was run was looked at, not what was read")
    # a name that is opened without a folder, or with this one, in whatever process; our children stand elsewhere
    opened = re.findall(r'(?:open|openat|execve)\((?:AT_FDCWD, )?"([^"]*)"', trace.read_text())
    here = {name for name in opened if name.startswith(str(trap)) or not name.startswith(("/", "pipe:"))}
    # an editable installation names itself in sys.path, which importlib.metadata takes for a folder, as it does ""
    names = {name.removeprefix(f"{trap}/") for name in here if not name.startswith("__editable__.")}
    named = {name for name in names if name.split("/")[0] == "out"}  # the output that the spec names: is there one?
    assert names - named - {""} <= {"page.png", "spec.yaml", "replies.jsonl"}, names

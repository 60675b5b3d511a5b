"""A child that sends anything: stands in the place of a decoder, of the child that checks code, or of an engine's.

Started as they are, `python -m tests.support.hostile_child FD …`. HOSTILE_AS: probe, decode, code_check or engine.
HOSTILE_DOES: the name of an attack below; or HOSTILE_SEED: draws one, and what surrounds it. Imports little: it is
started thousands of times.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
NASTY = (
    *(None, True, [], {}, "", "\ud800", "x" * 5000, "\0", -1, 0, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308),
    *(float("nan"), float("inf"), float("-inf"), 1e-320, [[]], [None], {"": None}, [0] * 300, ["image"], {"page": {}}),
    *("image", "video", "episode", "text", "nothing", "ok", "stop", "crashed", "r0", [1, 1, 1], [2**31 - 1] * 3),
)
TIMES = {
    "width_px": 64,
    "height_px": 32,
    "times_s": [],
    "text_layer": None,
    "blank": False,
    "damaged_frames": None,
    "input_notes": [],
    "decode_s": 0.1,
}


class Hostile:
    def __init__(self, sock: socket.socket, role: str, draw: random.Random) -> None:
        self.sock = sock
        self.role = role
        self.draw = draw

    def valid(self) -> tuple[dict[str, Any], list[bytes], list[int]]:
        """A message as a parent expects it: head, payloads, file descriptors."""
        match self.role:
            case "probe":
                return {"media": "image", "units": [{"page": 1, "decoded_bytes": 6144}]}, [], []
            case "decode":
                unit = {**TIMES, "pictures": [[64, 32, 100]], "line_images": None, "full_res": None}
                return {"unit": unit}, [], [memory(100)]
            case "code_check":
                head = {"outcome": "shown", "message": None, "isolation": "browser", "errors": [], "refused": []}
                return {**head, "width_px": 320, "height_px": 2}, [bytes(320 * 2 * 3)], []
            case _:
                completion = {
                    "text": "x",
                    "finish_reason": "stop",
                    "prompt_tokens": 1,
                    "output_tokens": 1,
                    "infer_s": 0.1,
                    "reasoning": None,
                    "reasoning_tokens": 0,
                }
                failure = {"stage": "infer", "kind": "internal", "message": "m", "attempts": 1}
                return (
                    self.draw.choice(
                        [
                            {"answer": "r0", "completion": completion, "used_s": 0.1},
                            {"answer": "r0", "failure": failure, "used_s": 0.1},
                            {"alive": 3},
                            {"ready": {"slots": 2}},
                            {"last_error": "it was so"},
                        ]
                    ),
                    [],
                    [],
                )

    def send(self, data: bytes, fds: list[int] | None = None) -> None:
        if fds:
            rights = array.array("i", fds)
            self.sock.sendmsg([data[:8]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            data = data[8:]
        self.sock.sendall(data)

    def frame(self, text: bytes, payloads: list[bytes], fds: list[int] | None = None) -> None:
        body = b"".join(struct.pack("!Q", len(payload)) + payload for payload in payloads)
        self.send(struct.pack("!II", len(text), len(payloads)) + text + body, fds)

    # attacks

    def answers(self) -> None:
        head, payloads, fds = self.valid()
        self.frame(json.dumps(head).encode(), payloads, fds)

    def announces(self) -> None:
        count = self.draw.choice([1, 2, 2**32 - 1])
        size = self.draw.choice([10**9, 10**11, 2**63, 2**64 - 1])
        head, _, _ = self.valid()
        text = json.dumps(head).encode()
        self.send(struct.pack("!II", len(text), count) + text + struct.pack("!Q", size) + bytes(5000))

    def announces_json(self) -> None:
        self.send(struct.pack("!II", self.draw.choice([10**9, 2**32 - 1, 1 << 21, 6 << 20]), 0) + b"[" * 9999)

    def nests(self) -> None:
        depth = self.draw.choice([500, 1500, 100_000, 3_000_000])
        self.frame(self.draw.choice([b"[", b'{"units":', b'{"a":[']) * depth, [])

    def sends_no_object(self) -> None:
        text = self.draw.choice(
            [b"[]", b"1", b'"x"', b"null", b"", b"{", b"NaN", b"[{}]", b"\xff\xfe", b'{"\xc3\xa4":1}']
        )
        self.frame(text, [])

    def fills(self) -> None:
        """As many values as go into the bytes that are allowed."""
        piece, size = self.draw.choice([b"{},", b"[],", b"1000,", b'"ab",']), self.draw.choice([1, 4, 6, 8])
        self.frame(b'{"units":[' + piece * ((size << 20) // len(piece) - 20) + b"1]}", [])

    def mutates(self) -> None:
        head, payloads, fds = self.valid()
        for _ in range(self.draw.randint(1, 3)):
            if not (places := list(_places(head))):
                break
            holder, key = self.draw.choice(places)
            if isinstance(holder, dict) and self.draw.random() < 0.2:
                del holder[key]
            elif isinstance(holder, dict) and self.draw.random() < 0.2:
                holder[self.draw.choice(["error", "unit", "media", "fatal", "x"])] = self.draw.choice(NASTY)
            else:
                holder[key] = self.draw.choice(NASTY)
        if self.draw.random() < 0.2:
            payloads = [self.draw.randbytes(self.draw.choice([0, 1, 1000]))] * self.draw.randint(0, 3)
        self.frame(json.dumps(head).encode(), payloads, fds if self.draw.random() < 0.8 else [])

    def breaks_off(self) -> None:
        head, payloads, _ = self.valid()
        text = json.dumps(head).encode()
        whole = struct.pack("!II", len(text), len(payloads)) + text + b"".join(payloads)
        self.send(whole[: self.draw.randint(0, len(whole) - 1)])
        self.sock.close()

    def babbles(self) -> None:
        self.send(self.draw.randbytes(self.draw.choice([1, 7, 8, 9, 100, 10_000])))

    def floods(self) -> None:
        """Until nobody takes it any more, with frames that nobody asked for."""
        for _ in range(5000):
            self.answers()

    def floods_fds(self) -> None:
        fds = strange_fds()
        head, payloads, _ = self.valid()
        text = json.dumps(head).encode()
        for _ in range(self.draw.randint(1, 50)):
            self.frame(text, payloads, [self.draw.choice(fds) for _ in range(self.draw.choice([1, 2, 5, 253]))])

    def sends_strange_fd(self) -> None:
        head, payloads, _ = self.valid()
        self.frame(json.dumps(head).encode(), payloads, [self.draw.choice(strange_fds())])

    def sends_open_memory(self) -> None:
        head, payloads, _ = self.valid()
        seals = self.draw.choice([0, SEALS & ~fcntl.F_SEAL_SHRINK, SEALS & ~fcntl.F_SEAL_WRITE])
        fd = memory(self.draw.choice([0, 99, 100, 101, 4096, 1 << 30]), seals)
        self.frame(json.dumps(head).encode(), payloads, [fd])
        self.changes(fd)

    def changes_memory(self) -> None:
        """Sealed, as it has to be: it cannot."""
        head, payloads, fds = self.valid()
        self.frame(json.dumps(head).encode(), payloads, fds)
        for fd in fds:
            self.changes(fd)

    def changes(self, fd: int) -> None:
        for _ in range(50):
            for change in (lambda: os.ftruncate(fd, 0), lambda: os.pwrite(fd, b"\xff" * 100, 0)):
                with contextlib.suppress(OSError):
                    change()
            time.sleep(0.001)

    def beats(self) -> None:
        """Progress without end, and no answer."""
        for count in range(10_000):
            self.beat(count)
            time.sleep(0.1)

    def races(self) -> None:
        """The same, as fast as it can."""
        for count in range(10_000_000):
            self.beat(count)

    def beat(self, count: int) -> None:
        fds = [memory(100)] if self.role == "decode" and count < 100 else []
        self.frame(b'{"%s": %d}' % (b"alive" if self.role == "engine" else b"progress", count), [], fds)

    def dribbles(self) -> None:
        """A byte every half second."""
        head, payloads, _ = self.valid()
        text = json.dumps(head).encode()
        for byte in struct.pack("!II", len(text), len(payloads)) + text:
            self.send(bytes([byte]))
            time.sleep(0.5)

    def prints(self) -> None:
        for _ in range(int(os.environ.get("HOSTILE_MB", "8"))):
            os.write(2, b"\x1b[2Jnot for a terminal\n" * 45_590)
        self.answers()

    def leaves_another(self) -> None:
        """With all that it has, in a session of its own, so that it outlives the group."""
        if os.fork() == 0:
            os.setsid()
            os.write(2, b"I am still here\n")
            time.sleep(20)
            os._exit(0)

    def closes(self) -> None:
        """Its channel, and does not end."""
        self.sock.close()
        time.sleep(20)

    def hangs(self) -> None:
        time.sleep(20)

    def dies(self) -> None:
        if self.draw.random() < 0.5:
            os.kill(os.getpid(), self.draw.choice([signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM]))
        os._exit(self.draw.choice([0, 1, 77, 78, 255]))


QUICK = (
    *("answers", "announces", "announces_json", "nests", "sends_no_object", "fills", "babbles", "floods", "floods_fds"),
    *("sends_strange_fd", "sends_open_memory", "changes_memory", "breaks_off", "leaves_another", "dies"),
    *("mutates",) * 8,
)
SLOW = ("dribbles", "prints", "closes", "hangs")


def strange_fds() -> list[int]:
    reads, writes = os.pipe()
    one, other = socket.socketpair()
    opened = [os.open(path, os.O_RDONLY) for path in ("/", "/dev/zero", "/dev/null", __file__)]
    return [reads, writes, one.detach(), other.detach(), *opened, os.memfd_create("empty")]


def memory(size: int, seals: int = SEALS) -> int:
    fd = os.memfd_create("unit", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def _places(value: Any) -> Any:
    """(dict or list, key) of everything in it."""
    pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    for key, inner in pairs:
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from _places(inner)


def main() -> None:
    draw = random.Random(int(os.environ.get("HOSTILE_SEED", "0")))
    hostile = Hostile(socket.socket(fileno=int(sys.argv[1])), os.environ["HOSTILE_AS"], draw)
    asked = os.environ.get("HOSTILE_DOES")
    name = asked or draw.choice(QUICK if draw.random() < 0.97 else SLOW)
    attack: Callable[[], None] = getattr(hostile, name)
    with contextlib.suppress(OSError):
        if draw.random() < 0.9:  # else it speaks before it is asked
            hostile.sock.recv(1 << 16)
        if hostile.role == "engine" and (name == "beats" or draw.random() < 0.7):
            hostile.frame(b'{"ready": {"slots": 2}}', [])
            hostile.sock.recv(1 << 16)
        if hostile.role in ("probe", "decode") and (asked or draw.random() < 0.9):
            hostile.frame(b'{"lacks": []}', [])
        attack()
        if name == "hangs" or draw.random() < 0.03:
            time.sleep(20)


if __name__ == "__main__":
    main()

"""Frames of JSON, bytes and file descriptors between a parent and its child, over a Unix socket. Knows nothing of
what they mean."""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_HEAD = struct.Struct("!II")  # bytes of JSON, number of payloads
_SIZE = struct.Struct("!Q")
_MAX_JSON = 64 << 20


@dataclass(frozen=True)
class Frame:
    """One message: a JSON object, any number of payloads, and file descriptors that came along (now ours)."""

    head: dict[str, Any]
    payloads: tuple[bytes, ...] = ()
    fds: tuple[int, ...] = ()


class Channel:
    """Frames over a connected Unix socket. `send` may be called from several threads, `recv` from one."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, head: dict[str, Any], payloads: Sequence[bytes | memoryview] = (), fds: Sequence[int] = ()) -> None:
        """Raises OSError (BrokenPipeError) when the other side is gone."""
        text = json.dumps(head).encode()
        with self._lock:
            lead = _HEAD.pack(len(text), len(payloads))
            if fds:
                socket.send_fds(self._sock, [lead], list(fds))
            else:
                self._sock.sendall(lead)
            self._sock.sendall(text)
            for payload in payloads:
                view = memoryview(payload).cast("B")
                self._sock.sendall(_SIZE.pack(len(view)))
                self._sock.sendall(view)

    def recv(self, timeout_s: float | None = None) -> Frame | None:
        """The next frame, or None when the other side closed.

        Raises TimeoutError when timeout_s pass without a byte.
        """
        fds = array.array("i")
        frame: Frame | None = None
        try:
            frame = self._recv(fds, timeout_s)
        except (ConnectionResetError, EOFError):
            return None
        finally:
            if frame is None:  # whoever never gets them cannot close them
                for fd in fds:
                    os.close(fd)
        return frame

    def _recv(self, fds: array.array[int], timeout_s: float | None) -> Frame | None:
        """fds: takes those that come along, also where the frame breaks off behind them."""
        lead = self._recv_lead(fds, timeout_s)
        if not lead:
            return None
        text_bytes, payload_count = _HEAD.unpack(lead)
        if text_bytes > _MAX_JSON:
            raise OSError(f"frame of {text_bytes} bytes of JSON")
        head = json.loads(self._recv_exact(text_bytes, timeout_s))
        payloads = tuple(
            bytes(self._recv_exact(_SIZE.unpack(self._recv_exact(_SIZE.size, timeout_s))[0], timeout_s))
            for _ in range(payload_count)
        )
        return Frame(head, payloads, tuple(fds))

    def _recv_lead(self, fds: array.array[int], timeout_s: float | None) -> bytes:
        ancillary_bytes = socket.CMSG_LEN(16 * fds.itemsize)
        self._wait_readable(timeout_s)
        # as all that Python opens, they are not for a process that is started meanwhile
        data, ancillary, _, _ = self._sock.recvmsg(_HEAD.size, ancillary_bytes, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        if data and len(data) < _HEAD.size:
            data += bytes(self._recv_exact(_HEAD.size - len(data), timeout_s))
        return data

    def _wait_readable(self, timeout_s: float | None) -> None:
        # poll, not settimeout: that would also bound the sends of other threads on the same socket
        if timeout_s is not None:
            poll = select.poll()
            poll.register(self._sock, select.POLLIN)
            if not poll.poll(max(0.0, timeout_s) * 1000):
                raise TimeoutError

    def _recv_exact(self, size: int, timeout_s: float | None) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            self._wait_readable(timeout_s)
            got = self._sock.recv_into(view)
            if got == 0:
                raise EOFError
            view = view[got:]
        return data

    def close(self) -> None:
        # shutdown first: it wakes a thread of ours that sits in recv, which close alone does not
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

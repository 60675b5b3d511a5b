"""Frames of JSON, bytes and file descriptors between a parent and its child, over a Unix socket. Knows nothing of
what they mean.

The child trusts its parent (`recv`). The parent trusts nothing that a child sends (`receive`): a frame is held to
bounds before anything is set aside for it, its memory grows with what has arrived and not with what was announced, it
has one deadline as a whole, and its JSON is checked before anybody sees it.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from operators.processes.messages import Bounds, Messages, values_in
from operators.processes.output import Output
from schemas.errors import ChildDied

_HEAD = struct.Struct("!II")  # bytes of JSON, number of payloads
_SIZE = struct.Struct("!Q")
_ZEROS = bytes(256 << 10)
_FD_BYTES = array.array("i").itemsize
_AGAIN_S = 0.005
_FROM_PARENT = Bounds(json_bytes=1 << 32, values=1 << 32, payloads=1 << 32, payload_bytes=1 << 64, fds=4, frame_s=None)
"""All that a head can announce."""


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


_JSON = json.JSONDecoder(parse_constant=_refuse)


@dataclass(frozen=True)
class Frame:
    """One message: a JSON object, any number of payloads, and file descriptors that came along (now ours)."""

    head: dict[str, Any]
    payloads: tuple[memoryview, ...] = ()
    fds: tuple[int, ...] = ()


class Channel:
    """Frames over a connected Unix socket. `send` may be called from several threads, `receive` from one.

    output: what the other side prints; it is taken while one waits here.
    """

    def __init__(self, sock: socket.socket, output: Output | None = None) -> None:
        self._sock = sock
        self._output = output
        self._sending = threading.RLock()
        self._reading = threading.Lock()

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(
        self,
        head: dict[str, Any],
        payloads: Sequence[bytes | memoryview] = (),
        fds: Sequence[int] = (),
        *,
        deadline: float | None = None,
        waiting: Callable[[], object] | None = None,
    ) -> None:
        """deadline: of time.monotonic(), for all of it. Without one, who sends takes nothing of what the other side
        prints: another thread has to. waiting: called now and then while the kernel takes no more file descriptors; it
        may send a frame itself. Raises TimeoutError, else OSError (BrokenPipeError) when the other side is gone.
        """
        text = json.dumps(head).encode()
        lead = _HEAD.pack(len(text), len(payloads))
        with self._sending:
            if fds:
                self._send_fds(lead, list(fds), deadline, waiting)
                self._send_all(text, deadline)
            else:
                self._send_all(lead + text, deadline)
            for payload in payloads:
                view = memoryview(payload).cast("B")
                self._send_all(_SIZE.pack(len(view)), deadline)
                self._send_all(view, deadline)

    def _send_fds(
        self, lead: bytes, fds: list[int], deadline: float | None, waiting: Callable[[], object] | None
    ) -> None:
        while True:
            if deadline is not None:
                self._wait(select.POLLOUT, deadline)
            try:
                socket.send_fds(self._sock, [lead], fds)
                return
            except OSError as error:
                # as many as it may have open lie in all sockets of this user, unread, whoever sent them (unix(7))
                if error.errno != errno.ETOOMANYREFS:
                    raise
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError
            if waiting is not None:
                waiting()
            time.sleep(_AGAIN_S)

    def recv(self) -> Frame | None:
        """The next frame of a parent; None when it closed."""
        return self._receive(None, None)

    def receive(self, messages: Messages, deadline: float | None) -> Frame | None:
        """The next frame of a child, one of these messages; None when it closed. deadline: of time.monotonic(), by
        which all of it has to be there; None waits for its first byte as long as it takes.

        Raises ChildDied and nothing else: timeout, or crashed for what is no message. Whatever was read is of no use
        then, and the child has to go.
        """
        began = time.monotonic()
        try:
            return self._receive(messages, deadline)
        except TimeoutError:
            within_s = messages.bounds.frame_s if deadline is None else max(0.0, deadline - began)
            raise ChildDied("timeout", f"gave no answer within {within_s:.3g} s") from None
        except (ValueError, RecursionError) as error:
            raise ChildDied("crashed", f"sent nonsense: {error}"[:300]) from error
        except OSError as error:  # the socket was closed under us, or it is none any more
            raise ChildDied("crashed", f"cannot be heard: {error}") from error

    def _receive(self, messages: Messages | None, deadline: float | None) -> Frame | None:
        bounds = messages.bounds if messages is not None else _FROM_PARENT
        fds = array.array("i")
        handed_on = False
        try:
            with self._reading:
                frame = self._read(fds, bounds, deadline)
            if messages is not None:
                frame = Frame(messages.checked(frame.head), frame.payloads, frame.fds)
            handed_on = True
            return frame
        except (ConnectionResetError, EOFError):
            return None
        finally:
            if not handed_on:  # whoever never gets them cannot close them
                for fd in fds:
                    os.close(fd)

    def _read(self, fds: array.array[int], bounds: Bounds, deadline: float | None) -> Frame:
        """fds: takes those that come along, also where the frame breaks off behind them. Raises EOFError."""
        lead = self._read_lead(fds, bounds, deadline)
        if bounds.frame_s is not None:
            last = time.monotonic() + bounds.frame_s
            deadline = last if deadline is None else min(last, deadline)
        lead += self._read_exact(_HEAD.size - len(lead), deadline)
        json_bytes, payload_count = _HEAD.unpack(lead)
        if json_bytes > bounds.json_bytes or payload_count > bounds.payloads:
            raise ValueError(f"a frame of {json_bytes} bytes of JSON and {payload_count} payloads")
        head = _parsed(self._read_exact(json_bytes, deadline), bounds)
        payloads = []
        left_bytes = bounds.payload_bytes
        for _ in range(payload_count):
            (size,) = _SIZE.unpack(self._read_exact(_SIZE.size, deadline))
            if size > left_bytes:
                raise ValueError(f"a payload of {size} bytes")
            left_bytes -= size
            payloads.append(memoryview(self._read_exact(size, deadline)).toreadonly())
        return Frame(head, tuple(payloads), tuple(fds))

    def _read_lead(self, fds: array.array[int], bounds: Bounds, deadline: float | None) -> bytes:
        """Its first bytes, 1 at least. File descriptors that come elsewhere, or that nobody may send, the kernel closes
        itself."""
        self._wait(select.POLLIN, deadline)
        space = socket.CMSG_SPACE(bounds.fds * _FD_BYTES) if bounds.fds else 0
        # as all that Python opens, they are not for a process that is started meanwhile
        data, ancillary, flags, _ = self._sock.recvmsg(_HEAD.size, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % _FD_BYTES])
        if not data:
            raise EOFError
        if len(fds) > bounds.fds or flags & socket.MSG_CTRUNC:
            raise ValueError(f"more than {bounds.fds} file descriptors")
        return data

    def _read_exact(self, size: int, deadline: float | None) -> bytearray:
        """Set aside as it arrives: what is announced may never come."""
        flags = 0 if deadline is None and self._output is None else socket.MSG_DONTWAIT
        data = bytearray()
        filled = 0
        while filled < size:
            if filled == len(data):
                data += _ZEROS[: size - filled]
            try:
                with memoryview(data) as view, view[filled:] as free:
                    arrived = self._sock.recv_into(free, 0, flags)
            except BlockingIOError:
                self._wait(select.POLLIN, deadline)
                continue
            if not arrived:
                raise EOFError
            filled += arrived
        return data

    def _send_all(self, data: bytes | memoryview, deadline: float | None) -> None:
        if deadline is None:
            self._sock.sendall(data)
            return
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)

    def _wait(self, event: int, deadline: float | None) -> None:
        """Until the socket is ready; what the other side prints is taken meanwhile. What is there already counts, even
        at the deadline. Raises TimeoutError."""
        # poll, not settimeout: that would also bound the sends of other threads on the same socket
        if deadline is None and self._output is None:
            return
        while True:
            printing = self._output.fd if self._output is not None else None
            if (sock := self._sock.fileno()) < 0:
                raise OSError(errno.EBADF, "the channel is closed")
            poll = select.poll()
            poll.register(sock, event)
            if printing is not None:
                poll.register(printing, select.POLLIN)
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = [fd for fd, _ in poll.poll(None if left_s is None else left_s * 1000)]
            if printing in ready and self._output is not None:
                self._output.take()
            if sock in ready:
                return
            if left_s == 0:
                raise TimeoutError

    def begins(self, within_s: float) -> bool:
        """Whether a frame begins, or the other side closes, within the time. Raises OSError."""
        try:
            self._wait(select.POLLIN, time.monotonic() + within_s)
        except TimeoutError:
            return False
        return True

    def shutdown(self) -> None:
        """Tell the other side that it is the end; a thread of ours that sits in here wakes up."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.shutdown()
        # a thread that is still in here would go on with a number that is another file by then
        with self._reading, self._sending:
            self._sock.close()


def _parsed(data: bytearray, bounds: Bounds) -> dict[str, Any]:
    """Raises ValueError, RecursionError."""
    text = data.decode("ascii")
    if values_in(text) > bounds.values:
        raise ValueError(f"JSON of more than {bounds.values} values")
    head = _JSON.decode(text)
    if type(head) is not dict:
        raise ValueError("JSON that is no object")
    return head

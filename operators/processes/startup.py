"""What a child does first: take up its limits, tie its life to its parent's, open the channel."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import sys

from operators.processes.channel import Channel
from operators.processes.child import Limits

_PR_SET_PDEATHSIG = 1


def parent_channel() -> Channel:
    """Called first in a child's main: take up the limits, tie our life to the parent's, open the channel."""
    fd, parent_pid, limits_json = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:  # the parent went before the tie was made
        os._exit(1)
    limits = Limits(**json.loads(limits_json))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.memory_mb is not None:
        size = limits.memory_mb << 20
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    if limits.cpu_s is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    return Channel(socket.socket(fileno=fd))

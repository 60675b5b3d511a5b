"""What a child does first: take up its limits, tie its life to its parent's, open the channel; and what it does next
where it meets strangers' files: lock itself down. Knows nothing of what it does then.

It asks the kernel to be killed when its parent goes. PR_SET_PDEATHSIG follows the *thread* that spawned, not the
process (prctl(2)); operators/processes/child.py spawns from one thread that lives as long as the process does.
"""

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
from operators.processes.isolation import (
    lock_down as lock_down,
)  # a child's second step, where it meets strangers' files

_PR_SET_PDEATHSIG = 1


def parent_channel() -> Channel:
    """Called first in a child's main, with the arguments that `spawn` gave it. Raises OSError."""
    fd, parent_pid, limits_json = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:  # the parent went before the tie was made
        os._exit(1)
    limits = Limits(**json.loads(limits_json))
    # not 0: a program that takes cores through a pipe (core_pattern) is still handed those of 0 bytes (core(5))
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    if limits.memory_mb is not None:
        size = limits.memory_mb << 20
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    return Channel(socket.socket(fileno=fd))

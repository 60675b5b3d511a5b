"""How this process ends when it is told to: by SIGINT, SIGTERM or SIGHUP, or because what it stands on is gone.

One sentence goes to stderr at once and nothing after it: what native libraries print of an end would bury it. The main
thread is interrupted by `Ended` and closes what it opened. Where it does not come to that within LIMIT_S (native code
that waits, an interrupt that a library swallowed), or is told again, the process exits on the spot; the rest is the
orphan reaper's. Knows nothing of Ray or commands.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

from operators.processes import orphan_reaper

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LIMIT_S = 5.0
_AGAIN_S = 1.0
"""A signal so soon after the first is the same one: timeout(1) sends it to the process and to its group."""
_INTERRUPT = signal.SIGUSR2

_lock = threading.Lock()
_shown = threading.Event()
_code: int | None = None
_reason = ""
_since = 0.0
_advice = ""
_raised = False


class Ended(KeyboardInterrupt):
    """The process was told to end. A KeyboardInterrupt, since libraries know to let that through."""


def listen() -> None:
    """From now on signals end this process as above. In the main thread, once. What is ignored stays so (nohup)."""
    signal.signal(_INTERRUPT, _interrupt)
    take_back()
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    # written to by the signal itself, also while the main thread is somewhere in native code
    signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reads,), name="signals", daemon=True).start()


def take_back() -> None:
    """After a library that put handlers of its own in place."""
    if _listens():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _interrupt)


@contextlib.contextmanager
def advising(advice: str) -> Iterator[None]:
    """What the sentence adds while this lasts: what is kept, how to go on."""
    global _advice
    before, _advice = _advice, f"; {advice}"
    try:
        yield
    finally:
        _advice = before


def unannounced(reason: str) -> str:
    """The sentence for whoever outlives this process, if it cannot say it itself."""
    return f"sightread: {reason}{_advice}"


def end(code: int, reason: str) -> None:
    """End this process from any of its threads. reason: as `Ray is gone`. Where nothing listens, the main thread is
    interrupted, and no more."""
    if not _listens():
        _thread.interrupt_main()
        return
    _tell(code, reason)
    signal.pthread_kill(threading.main_thread().ident or 0, _INTERRUPT)


def exit_reason() -> str | None:
    """Why this process is to end; None as long as it is not."""
    return None if _code is None else _reason


def exit_if_told() -> None:
    """Exit here and now if the process was told to end: what the interpreter would still do may hang in native code."""
    if interrupted := isinstance(sys.exc_info()[1], Ended):
        _shown.wait(LIMIT_S)  # the thread that shows it may be a moment behind
    if _code is not None or interrupted:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(1 if _code is None else _code)


def _listens() -> bool:
    return signal.getsignal(_INTERRUPT) is _interrupt


def _interrupt(*_: object) -> None:
    # once: what closes files and children on the way out is not to be interrupted again
    global _raised
    if not _raised:
        _raised = True
        _shown.wait(1.0)  # with the advice that holds where the main thread still is
        raise Ended


def _watch(reads: int) -> None:
    while True:
        for number in os.read(reads, 64):
            if number in SIGNALS:
                _tell(128 + number, f"ended by {signal.Signals(number).name}")


def _tell(code: int, reason: str) -> None:
    global _code, _reason, _since
    with _lock:
        if _code is not None:
            if time.monotonic() - _since > _AGAIN_S:
                os._exit(_code)
            return
        _code, _reason, _since = code, reason, time.monotonic()
    with contextlib.suppress(OSError):
        os.write(2, f"sightread: {reason}{_advice}\n".encode())
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    orphan_reaper.leave(word="")
    _shown.set()
    timer = threading.Timer(LIMIT_S, os._exit, (code,))
    timer.daemon = True
    timer.start()

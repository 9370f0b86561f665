"""Being told to stop: by Ctrl-C, by SIGTERM, or by the end of the terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CODE = 130  # with which a command ends that was told to stop
_asked = threading.Event()


@contextlib.contextmanager
def heard(hear: Callable[[], None]) -> Iterator[None]:
    """Call `hear` at each signal to stop while this lasts, in the main thread, which alone gets them.

    A signal that is ignored stays so (nohup). Where the terminal is gone, what is written to it goes nowhere, so that
    whatever is still to be saved is not disturbed by that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    terminal = [stream for stream in (1, 2) if os.isatty(stream)]
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def on(number: int, frame: object) -> None:
        if number == signal.SIGHUP:
            _leave(terminal)
        hear()

    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, on)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _asked.clear()


def interrupt() -> None:
    """What Python does at Ctrl-C, and a note of it."""
    _asked.set()
    raise KeyboardInterrupt


def check() -> None:
    """KeyboardInterrupt, if there was one: Python drops what is raised in a destructor or a weak reference's callback.

    Long work looks here now and then.
    """
    if _asked.is_set():
        raise KeyboardInterrupt


def _leave(streams: list[int]) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream)
    os.close(nowhere)

"""Work that is done beside other work, in a thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def alongside(
    work: Callable[[threading.Event], None], name: str, wake: Callable[[], None] | None = None
) -> Iterator[None]:
    """While this lasts do `work` in a thread of this name; at the end wait for it, and raise what broke it, if any.

    It is given an event that is set when this is over, after which it is to come to its end; `wake` is called then,
    where it waits for anything else.
    """
    over, broken = threading.Event(), []

    def run() -> None:
        try:
            work(over)
        except Exception as error:
            broken.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        if wake:
            wake()
        thread.join()
    if broken:
        raise broken[0]

"""Leaving a context before its end, while something else goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from slmx.search.start import undisturbed

T = TypeVar("T")


@contextlib.contextmanager
def leaving(context: contextlib.AbstractContextManager[T]) -> Iterator[tuple[T, Callable[[], None]]]:
    """A context and a function that begins to leave it, in a thread; at the end it has been left.

    Ending Ray is half a second of waiting, in which tables and graphs can be made.
    """
    left: list[Future[None]] = []
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(1, "leaving") as thread:
        value = stack.enter_context(context)

        def leave() -> None:
            if not left:
                left.append(thread.submit(stack.close))

        try:
            yield value, leave
        finally:
            with undisturbed():
                leave()
                left[0].result()

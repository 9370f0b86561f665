"""Ray's own process on this machine, without which nothing of a search goes on, and which nobody else misses."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from slmx.alongside import alongside
from slmx.errors import SlmxError

if TYPE_CHECKING:
    import threading


class NodeError(SlmxError):
    """Ray's process on this machine ended in the middle of the search in this directory."""

    code = 1

    def __init__(self, run: Path):
        self.run = run
        super().__init__(run)

    def __str__(self) -> str:
        return (
            "Ray's process on this machine was killed: is there enough memory? What was done is kept; go on with: "
            f"slmx resume {self.run}"
        )


@contextlib.contextmanager
def watched(lost: Callable[[], None]) -> Iterator[None]:
    """Call `lost`, in a thread, when the process that is Ray's node on this machine ends while this lasts.

    Tune would wait for ever for programs of which it hears no more. The node holds one end of a connection that is
    never used, so its end is known at once, whatever killed it.
    """
    here = ray.get_runtime_context().get_node_id()
    (place,) = (node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == here)
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(place)

        def watch(over: threading.Event) -> None:
            with contextlib.suppress(OSError):
                line.recv(1)
            if not over.is_set():
                lost()

        def wake() -> None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

        with alongside(watch, "node", wake):
            yield

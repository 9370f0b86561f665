"""A Ray cluster that is there already: joining it, what its nodes need of this machine, and whether they have it."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import slmx
from slmx.errors import SlmxError
from slmx.spec.dump import dump
from slmx.storage import Store

if TYPE_CHECKING:
    from slmx.spec.model import Spec

PATIENCE = 30.0  # seconds in which a cluster lets a process join
READY = 120.0  # seconds in which a node takes over the code, and imports torch
CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
PROBE = """
import logging, sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
except Exception as error:
    sys.exit(" ".join(str(error).split()))
"""


def ask(address: str) -> None:
    """SlmxError where no cluster can be joined at this address.

    Ray itself tries again for many minutes, deaf to Ctrl-C; so another process asks it, and gets so much time.
    """
    try:
        asked = subprocess.run(
            [sys.executable, "-c", PROBE, address], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise SlmxError(
            f"no Ray cluster answers at {address}; `ray start --head` prints the address of one, HOST:PORT"
        ) from None
    if asked.returncode:
        reason = " ".join(asked.stderr.strip().splitlines()[-1:])
        if "AuthToken" in asked.stderr:
            reason = "it asks for a token: export RAY_AUTH_MODE=token, with ~/.ray/auth_token as it is there"
        raise SlmxError(f"cannot join the Ray cluster at {address}: {reason}")


def modules(spec: Spec) -> list[str]:
    """The files and folders of the Python modules that a node needs to run this spec.

    These are slmx, and the modules in which the spec's own classes lie, with all that was imported from beside them.
    What is installed here is expected to be installed on every node.
    """
    places = {name: place for name in list(sys.modules) if (place := _place(name))}
    named = {re.split(r"[.:]", text)[0] for text in _texts(dump(spec)) if CLASS.fullmatch(text)}
    homes = {places[name].parent for name in named if name in places} - _installed()
    travelling = [place for name, place in places.items() if place.parent in homes and name != "slmx"]
    return [str(Path(slmx.__file__).parent), *sorted(map(str, travelling))]


def inspect(directory: Path, store: Store | None = None) -> None:
    """SlmxError where a node of the cluster cannot run a program of the run in this directory.

    `store`: what carries files between machines that do not share it.
    """
    uri = store.uri_of(directory) if store else None
    if store:
        store.push(directory / "spec.json")
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    asked = {}
    for node in others:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked[node["NodeManagerHostname"]] = _sees.options(num_cpus=0, scheduling_strategy=there).remote(directory, uri)
    for name, answer in asked.items():
        try:
            sees = ray.get(answer, timeout=READY)
        except GetTimeoutError:
            raise SlmxError(f"the node {name} of the Ray cluster does not answer") from None
        except RayError as error:
            reason = " ".join(str(error).strip().splitlines()[-1:])
            raise SlmxError(f"the node {name} of the Ray cluster cannot run a program: {reason}") from None
        if not sees and uri:
            raise SlmxError(f"the node {name} of the Ray cluster finds nothing at {uri}")
        if not sees:
            raise SlmxError(
                f"the node {name} of the Ray cluster cannot write in {directory}: results must go to a folder that all "
                "nodes share, by meta.storage or --data, or meta.storage must be a URI"
            )


@ray.remote
def _sees(directory: Path, uri: str | None) -> bool:
    """Whether a program could run here, and write there; with `uri`, whether it finds that."""
    import slmx.session

    assert slmx.session.torch.get_num_threads()  # torch is imported at its first use
    if uri:
        return Store.at(uri, Path()).exists()
    return (directory / "spec.json").is_file() and os.access(directory, os.W_OK)


def _place(name: str) -> Path | None:
    """The file or folder of a top-level module; None where it has none."""
    module = sys.modules.get(name)
    if "." in name or name == "__main__" or module is None:
        return None
    path = next(iter(getattr(module, "__path__", ())), None) or getattr(module, "__file__", None)
    return Path(path) if path else None


def _installed() -> set[Path]:
    """Where the modules lie that a package installer, or Python itself, brought."""
    places = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    return {Path(place) for place in places}


def _texts(value: Any) -> Iterator[str]:
    """All texts in plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)

"""A run's directory: where it lies, how far the run is, which spec and which code it is of.

The tables and models in it are written by slmx/record.py; the layout of data/ is in slmx/README.md.
"""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmx.errors import SlmxError, WriteError
from slmx.storage import is_uri, store_of
from slmx.whole import write_json

if TYPE_CHECKING:
    from slmx.spec.model import Spec

PACKAGES = (
    "torch", "numpy", "gymnasium", "envpool", "ale-py", "mujoco", "pydantic", "pandas", "plotly", "ray", "optuna",
)  # fmt: skip
OVER = ("DONE", "FAILED")  # states of a run that has come to its end
RUNGS, LINEAGE = "rungs.csv", "lineage.csv"  # what schedulers of a search note of each trial
SPACE = "space.json"  # the domains of a search: {path: {kind, args}}


def folder_of(data: Path | None, specs: Iterable[Spec]) -> Path:
    """Where results go: to `data`, if it is given, else where the specs' meta.storage says, else to the folder data.

    The latter too where meta.storage is a URI, to which they are copied.
    """
    folders = (spec.meta.storage for spec in specs)
    named = {"data" if folder is None or is_uri(folder) else folder for folder in folders}
    if data is None and len(named) > 1:
        raise SlmxError(f"meta.storage: one of {', '.join(sorted(named))} must hold all; choose it by --data")
    return data or Path(named.pop()).expanduser()


def make_directory(data: Path, name: str, storage: str | None = None) -> Path:
    """A new directory `{name}_{time}` under `data`, of which there is none at the URI `storage` if it is one.

    SlmxError where it cannot be written.
    """
    stamp = time.strftime("%Y%m%d_%H%M%S")
    try:
        data.mkdir(parents=True, exist_ok=True)
        for again in ("", *(f"_{i}" for i in range(2, 100))):  # two runs may begin in the same second
            directory = data / f"{name}_{stamp}{again}"
            if (store := store_of(storage, directory)) and store.exists():
                continue
            try:
                directory.mkdir()
            except FileExistsError:
                if directory.is_dir():
                    continue
                raise
            return directory
    except OSError as error:
        raise WriteError(f"to the data folder {data}", error) from error
    raise SlmxError(f"cannot find a free name for {name}_{stamp} in {data}")


def write_state(directory: Path, mode: str, state: str, **facts: Any) -> None:
    """Say in run.json how far a run is: RUNNING, DONE, STOPPED (by whoever ran it) or FAILED.

    `facts`: what else whoever resumes it must know.
    """
    write_json(directory / "run.json", {"mode": mode, "state": state, **facts}, sync=True)


def read_state(directory: Path) -> tuple[str, str]:
    """The mode of a run and how far it is. SlmxError where it is no run's directory."""
    known = read_facts(directory)
    return known["mode"], known["state"]


def has_ended(directory: Path) -> bool:
    """Whether nothing is left to do of a run; of one that has not begun there is no run.json."""
    return (directory / "run.json").exists() and read_state(directory)[1] in OVER


def read_facts(directory: Path) -> dict[str, Any]:
    """All that run.json says. SlmxError where it is no run's directory."""
    try:
        known = json.loads((directory / "run.json").read_text())
        return known | {"mode": str(known["mode"]), "state": str(known["state"])}
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise SlmxError(f"{directory}: not the directory of a run: its run.json is missing or broken") from error


@cache
def provenance() -> dict[str, Any]:
    """Which code ran where: versions of slmx and what it stands on, and the git commit, if there is one."""
    versions = {"python": platform.python_version()}
    versions |= {package: _version(package) for package in PACKAGES}
    return {"slmx": _version("slmx"), "git_sha": _git_sha(), "versions": versions, "machine": platform.machine()}


def _version(package: str) -> str:
    """The version of a package; some come with extras alone."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git_sha() -> str | None:
    here = Path(__file__).parent
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None


def write_spec(directory: Path, spec: dict[str, Any], backends: Sequence[str], fitness: dict[str, Any]) -> None:
    """The resolved spec, as plain data, with all it takes to run it again and to judge it years later."""
    content = {"spec": spec, "backend": list(backends), "fitness": fitness, **provenance()}
    write_json(directory / "spec.json", content)


def rewrite_spec(directory: Path, spec: dict[str, Any]) -> None:
    """Put another spec, as plain data, into a spec.json that is there."""
    path = directory / "spec.json"
    write_json(path, json.loads(path.read_text()) | {"spec": spec})


def settle(trial: Path, sessions: int, seed: int, state: str, reason: str) -> None:
    """Say how the sessions of a trial ended whose program could not say it: of those that had no end yet."""
    path = trial / "sessions.json"
    states = json.loads(path.read_text()) if path.exists() else []
    fresh = {"seed": seed, "state": "RUNNING", "reason": "", "frame": 0}
    states = states or [{"session": s, **fresh} for s in range(sessions)]
    open_ = [own for own in states if own["state"] == "RUNNING"]
    for own in open_:
        own |= {"state": state, "reason": reason}
    if open_:
        write_json(path, states, sync=True)


def is_culled(trial: Path) -> bool:
    """Whether a trial had left its program before that ended."""
    path = trial / "sessions.json"
    return path.exists() and any(own["state"] == "CULLED" for own in json.loads(path.read_text()))

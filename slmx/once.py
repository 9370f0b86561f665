"""A spec in a mode, once: what is finished is left as it is, what was left halfway is gone on with, all else is run."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmx import lab
from slmx.errors import SlmxError
from slmx.run_directory import read_state
from slmx.spec.dump import restore

if TYPE_CHECKING:
    from slmx.display import Display
    from slmx.spec.model import Spec

RANKS = {"DONE": 0, "STOPPED": 1, "RUNNING": 1, "FAILED": 2}


@dataclass(frozen=True)
class Outcome:
    """How it ended: DONE, FAILED (and why) or STOPPED; `earlier`: it was finished before and nothing was run."""

    state: str
    reason: str
    directory: Path | None
    seconds: float
    earlier: bool = False


def once(
    spec: Spec, mode: str, data: Path, quiet: bool = False, graphs: bool = True, display: Display | None = None
) -> Outcome:
    """Run a spec in mode train, search or dev, unless a run of exactly this spec under `data` is DONE.

    One that was stopped or killed goes on; one that FAILED is tried anew. What breaks is told as FAILED, and Ctrl-C as
    STOPPED: nothing is raised. `display` shows a training.
    """
    started = time.perf_counter()
    run_of = (lab.brief(spec), "train") if mode == "dev" else (spec, mode)
    before = find_runs(data, *run_of)
    left = min(before, key=lambda run: RANKS[before[run]], default=None)  # the newest of those that came furthest
    if left and before[left] == "DONE":
        return Outcome("DONE", "", left, 0.0, earlier=True)
    directory = left if left and before[left] != "FAILED" else None
    state, reason = "FAILED", ""
    try:
        ended = lab.resume(directory, quiet, graphs, display) if directory else None
        if ended is None and directory and read_state(directory)[1] == "DONE":  # another process was at it
            return Outcome("DONE", "", directory, 0.0, earlier=True)
        if ended is None:
            ended = _run(spec, mode, data, quiet, graphs, display)
        directory = ended.directory
        state = "STOPPED" if ended.interrupted else "FAILED" if ended.failed else "DONE"
        reason = first_reason(directory) if ended.failed else ""
    except KeyboardInterrupt:
        state = "STOPPED"
    except SlmxError as error:
        reason = str(error)
    except Exception as error:  # whatever breaks one run, the others go on
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
    directory = directory or next((run for run in find_runs(data, *run_of) if run not in before), None)
    return Outcome(state, reason, directory, time.perf_counter() - started)


def _run(
    spec: Spec, mode: str, data: Path, quiet: bool, graphs: bool, display: Display | None
) -> lab.Run | lab.SearchRun:
    if mode == "train":
        return lab.train(spec, data, quiet, graphs, display=display)
    return {"search": lab.search, "dev": lab.dev}[mode](spec, data, quiet, graphs)


def find_runs(data: Path, spec: Spec, mode: str) -> dict[Path, str]:
    """The runs of exactly this spec in a data folder with their states, the newest first."""
    found = {}
    for file in sorted(data.glob("*/run.json"), key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            kind, state = read_state(file.parent)
            if kind == mode and state in RANKS and _is_of(file.parent, spec):
                found[file.parent] = state
        except SlmxError:  # something else lies there, or what this version cannot read
            continue
    return found


def _is_of(directory: Path, spec: Spec) -> bool:
    from slmx.analysis.files import read_json

    raw: Any = read_json(directory / "spec.json").get("spec") or {}
    return raw.get("name") == spec.name and restore(raw) == spec


def first_reason(directory: Path) -> str:
    """Why the first session that failed of a run did."""
    from slmx.analysis.files import TrialFiles

    trials = sorted(directory.glob("trial_*/sessions.json"))
    sessions = (session for file in trials for session in TrialFiles(file.parent).sessions)
    return next((session.reason for session in sessions if session.reason), "")

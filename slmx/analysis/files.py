"""Reading what a run left in its data directory, and writing tables whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from slmx.analysis.standards import Standard, read_standards
from slmx.errors import SlmxError
from slmx.plain import value_at
from slmx.run_directory import LINEAGE
from slmx.whole import writing

FAILED = "FAILED"

Port = tuple[int, int]
"""(agent, env)"""


@dataclass(frozen=True)
class Session:
    """One seed of a trial and how it ended: a row of sessions.json."""

    session: int
    seed: int
    state: str
    reason: str
    frame: int

    @property
    def failed(self) -> bool:
        return self.state == FAILED


class TrialFiles:
    """A trial's directory, read when asked for. Every table is a DataFrame as written by the run."""

    def __init__(self, directory: Path):
        self.directory = directory

    @cached_property
    def sessions(self) -> list[Session]:
        """The sessions and their states, by number."""
        path = self.directory / "sessions.json"
        rows = read_json(path)
        try:
            sessions = [Session(**{**row, "reason": row["reason"] or ""}) for row in rows]
        except (TypeError, KeyError):
            sessions = []
        if not sessions:
            raise SlmxError(f"{path}: not what a run writes")
        return sorted(sessions, key=lambda session: session.session)

    @cached_property
    def record(self) -> dict[str, Any]:
        """The resolved spec with versions, seeds and fitness standards."""
        return read_record(self.directory)

    @cached_property
    def setting(self) -> dict[str, Any] | None:
        """The value of each searched path, where the trial is one of a search."""
        path = self.directory / "setting.json"
        return read_json(path) if path.exists() else None

    @cached_property
    def replay(self) -> dict[str, Any]:
        """The setting that repeats the trial's training.

        Of one of a population: what the setting had that it descends from, and all its stages since.
        """
        if not (self.directory / LINEAGE).exists():
            return self.setting or {}
        spec = self.record["spec"]
        began = {path: value_at(spec, path) for path in self.setting or {}}
        stages = {"meta.stages": spec["meta"]["stages"]} if spec["meta"]["stages"] else {}
        return {path: value for path, value in began.items() if value is not None} | stages

    @cached_property
    def values(self) -> dict[str, Any]:
        """The value that each searched path ended with."""
        replay = dict(self.replay)
        for stage in replay.pop("meta.stages", ()):
            replay |= stage["settings"]
        return replay

    @cached_property
    def standards(self) -> dict[str, Standard]:
        return read_standards(self.record.get("fitness") or {})

    @property
    def name(self) -> str:
        return self.record["spec"].get("name") or self.directory.resolve().parent.name

    @property
    def number(self) -> int:
        """The trial's number, trial_{t}, on which its random streams depend."""
        number = self.directory.resolve().name.removeprefix("trial_")
        if not number.isdecimal():
            raise SlmxError(f"{self.directory}: a trial's directory is called trial_0, trial_1, ...")
        return int(number)

    @cached_property
    def envs(self) -> list[str]:
        """Names of the environments, by index."""
        return [env["name"] for env in _listed(self.record["spec"]["env"])]

    @cached_property
    def agents(self) -> list[str]:
        """Names of the agents, by index."""
        return [agent.get("name") or f"agent {a}" for a, agent in enumerate(_listed(self.record["spec"]["agent"]))]

    def standard(self, env: int) -> Standard | None:
        return self.standards.get(self.envs[env])

    def label(self, agent: int, env: int) -> str:
        """How a port is called in graphs: the environment, and the agent where there are several."""
        env_name = self.envs[env] if self.envs.count(self.envs[env]) == 1 else f"{self.envs[env]} ({env})"
        agent_name = (
            self.agents[agent] if self.agents.count(self.agents[agent]) == 1 else f"{self.agents[agent]} ({agent})"
        )
        return f"{agent_name}, {env_name}" if len(self.agents) > 1 else env_name

    def rows(self, session: Session) -> pd.DataFrame:
        return self._table(f"session_{session.session}.csv", session, ("frame", "agent", "env", "return", "return_ma"))

    def episodes(self, session: Session) -> pd.DataFrame:
        return self._table(f"episodes_{session.session}.csv", session, ("frame", "agent", "env", "return", "length"))

    def evaluation(self, session: Session) -> pd.DataFrame:
        """The last evaluation alone: the last frame's rows of each agent and environment; empty if there is none."""
        columns = ("frame", "agent", "env", "return")
        name = f"eval_{session.session}.csv"
        if not (self.directory / name).exists():
            return pd.DataFrame(columns=list(columns))
        table = self._table(name, session, columns)
        if _of_one_port(table):
            return table.loc[table["frame"] == table["frame"].max()]
        return table.loc[table["frame"] == table.groupby(["agent", "env"])["frame"].transform("max")]

    def _table(self, name: str, session: Session, columns: tuple[str, ...]) -> pd.DataFrame:
        path = self.directory / name
        # a session that did not come to its end may have stopped before its first row
        if session.state != "DONE" and (not path.exists() or not path.stat().st_size):
            return pd.DataFrame(columns=list(columns))
        return read_table(path, columns)


def read_record(directory: Path) -> dict[str, Any]:
    """The spec.json of a run or a trial; SlmxError where it is missing or broken."""
    path = directory / "spec.json"
    record = read_json(path)
    if not (isinstance(record, dict) and isinstance(record.get("spec"), dict)):
        raise SlmxError(f"{path}: not what a run writes")
    return record


def newest(data: Path, benchmarks: bool = False) -> Path:
    """The directory of the run, or with `benchmarks` of the run or benchmark, in a data folder that began last."""
    names = ("spec.json", "benchmark.json") if benchmarks else ("spec.json",)
    began = {file.parent: file.stat().st_mtime for name in names for file in data.glob(f"*/{name}")}
    if not began:
        raise SlmxError(f"{data}: no runs here; train a spec first (slmx run SPEC_FILE) or name the directory of a run")
    return max(began, key=lambda run: (began[run], run.name))


def of_port(table: pd.DataFrame, port: Port) -> pd.DataFrame:
    """The rows of one agent in one environment."""
    if len(table) and _of_one_port(table):  # as nearly always, and much the quicker
        return table if (table["agent"].iat[0], table["env"].iat[0]) == port else table.iloc[:0]
    return table.loc[(table["agent"] == port[0]) & (table["env"] == port[1])]


def _of_one_port(table: pd.DataFrame) -> bool:
    """Whether all rows are of one agent in one environment."""
    agent, env = table["agent"].to_numpy(), table["env"].to_numpy()
    return bool((agent == agent[:1]).all() and (env == env[:1]).all())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def read_json(path: Path) -> Any:
    """A JSON file; SlmxError where it is missing or broken."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise SlmxError(f"{path}: no such file; is {path.parent} a data directory of a finished run?") from None
    except json.JSONDecodeError as error:
        raise SlmxError(f"{path}: not JSON: {error}") from None


def read_table(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """A table with at least `columns`; SlmxError where it is missing, empty or lacks one."""
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise SlmxError(f"{path}: no such file") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise SlmxError(f"{path}: not a table: {error}") from None
    if missing := [column for column in columns if column not in table]:
        raise SlmxError(f"{path}: no column {', '.join(missing)}")
    return table


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: readers see the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        with writing(path):
            write(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table whole; the same numbers give the same bytes (ten significant digits, empty where unknown)."""
    write_whole(path, lambda file: table.to_csv(file, index=False, float_format="%.10g", lineterminator="\n"))

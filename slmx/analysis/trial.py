"""One trial, from its files to its table (a row per session, agent and environment) and its row in experiment.csv."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from slmx import metric
from slmx.analysis import fitness
from slmx.analysis.files import FAILED, Port, Session, TrialFiles, of_port, write_table
from slmx.analysis.objective import further_objectives, objective_of, trial_score
from slmx.analysis.statistics import bootstrap_interval

TABLE = "trial.csv"
IDENTITY = ("session", "seed", "agent", "env", "state", "reason", "frame")

Vectors = dict[Port, dict[int, dict[str, float]]]
"""The fitness vector of each session that did not fail, by port and the session's number."""


def analyze_trial(trial: TrialFiles) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The trial's table (a row per session, agent and environment), and its row in experiment.csv."""
    vectors = session_vectors(trial)
    records = []
    for session in trial.sessions:
        identity = {"session": session.session, "seed": session.seed, "state": session.state, "reason": session.reason}
        identity["frame"] = session.frame
        # a trial in which no session left a table has no known ports
        if not vectors:
            records.append(identity)
        for (agent, env), own in vectors.items():
            records.append(identity | {"agent": agent, "env": env} | own.get(session.session, {}))
    table = pd.DataFrame(records, columns=[*IDENTITY, *metric.SESSION_COLUMNS])
    table[["agent", "env"]] = table[["agent", "env"]].astype("Int64")
    row = summarize(trial, trial.sessions, vectors)
    if trial.setting is not None:
        row["objective"] = trial_score(trial, table, row, objective_of(trial))
        row |= {name: trial_score(trial, table, row, other) for name, other in further_objectives(trial).items()}
    return table, row


def write_trial(trial: TrialFiles) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Likewise; the table is written as trial.csv."""
    table, row = analyze_trial(trial)
    write_table(table, trial.directory / TABLE)
    return table, row


def session_vectors(trial: TrialFiles) -> Vectors:
    """What the sessions of a trial reached."""
    rows = {session.session: trial.rows(session) for session in trial.sessions}
    vectors: Vectors = {port: {} for port in ports(rows.values())}
    for session in trial.sessions:
        if not session.failed:
            tables = rows[session.session], trial.episodes(session), trial.evaluation(session)
            for port, own in vectors.items():
                own[session.session] = fitness.session_fitness(curve_of(*tables, port), trial.standard(port[1]))
    return vectors


def summarize(trial: TrialFiles, sessions: Sequence[Session], vectors: Vectors) -> dict[str, Any]:
    """A trial's row, as if it had had these sessions: means over sessions by port, then over ports.

    What is in the environment's own units (returns, v4's strengths) is given only where all ports share one
    environment, with the 95% bootstrap interval of `final_return` over sessions.
    """
    failed = sum(session.failed for session in sessions)
    row: dict[str, Any] = {
        "trial": trial.number,
        "state": state_of(session.state for session in sessions),
        "sessions": len(sessions),
        "failed": failed,
        "frames": sum(session.frame for session in sessions),
    }
    finished = [session.session for session in sessions if not session.failed]
    by_port = [
        fitness.trial_fitness([own[number] for number in finished], failed, trial.standard(env))
        for (_, env), own in vectors.items()
    ]
    if not by_port:
        return row
    row |= {name: float(np.mean([means[name] for means in by_port])) for name in by_port[0]}
    if len({trial.envs[env] for _, env in vectors}) > 1:
        return row | dict.fromkeys(metric.RAW_COLUMNS, np.nan)
    standard = trial.standard(next(iter(vectors))[1])
    # ports of one session are not replicates: each session gives one number, the mean over its ports
    returns = np.mean([[own[number]["final_return"] for number in finished] for own in vectors.values()], axis=0)
    runs = fitness.fill_failed(returns, failed, np.inf if standard is None else standard.rand_return)
    row["final_return_low"], row["final_return_high"] = bootstrap_interval(runs)
    return row


def state_of(states: Iterable[str]) -> str:
    """FAILED if all sessions failed; else DONE, or what else befell a session that did not fail."""
    others = sorted(set(states) - {FAILED})
    return next((state for state in others if state != "DONE"), "DONE" if others else FAILED)


def ports(rows: Iterable[pd.DataFrame]) -> list[Port]:
    """The (agent, env) pairs of which any of the sessions whose rows these are left any."""
    found = {port for table in rows for port in zip(table["agent"].tolist(), table["env"].tolist(), strict=True)}
    return sorted((int(agent), int(env)) for agent, env in found)


def curve_of(rows: pd.DataFrame, episodes: pd.DataFrame, evaluation: pd.DataFrame, port: Port) -> fitness.Curve:
    """What one session left of one port, from its tables."""
    rows, episodes = of_port(rows, port), of_port(episodes, port)
    return fitness.Curve(
        returns=episodes["return"].to_numpy(float),
        lengths=episodes["length"].to_numpy(float),
        frames=episodes["frame"].to_numpy(float),
        checkpoint_returns=rows["return_ma"].to_numpy(float),
        checkpoint_frames=rows["frame"].to_numpy(float),
        checkpoint_steps=rows["opt_step"].to_numpy(float) if "opt_step" in rows else None,
        evaluation=of_port(evaluation, port)["return"].to_numpy(float),
    )

"""From the files of a run to its tables and graphs: trial.csv, experiment.csv, session and trial graphs.

Failed sessions: trial.csv shows their state and reason and no numbers. In a mean over a trial's sessions each stands
with the floor of `fitness.fill_failed` (0 or the worst finished session, whichever is less), so it can only make the
trial worse and never drops out; `sessions` and `failed` of experiment.csv say how many there were. A trial is FAILED if
all of them are.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from plotly.graph_objects import Figure

from slmx import metric
from slmx.analysis import fitness, graph
from slmx.analysis.files import FAILED, Port, Session, TrialFiles, of_port, read_table, write_table
from slmx.analysis.objective import cell, objective_of, ranked, short_names, trial_score
from slmx.analysis.statistics import bootstrap_interval
from slmx.errors import SlmxError

IDENTITY = ("session", "seed", "agent", "env", "state", "reason", "frame")
TRIAL_COLUMNS = (
    *("trial", "state", "sessions", "failed"),
    *("final_return", "final_return_low", "final_return_high", "return_ma"),
    *(*metric.SEED_COLUMNS, "consistency", "fitness"),
    *metric.V4_COLUMNS,
    *(f"{name}_corrected" for name in (*metric.SEED_COLUMNS, "consistency", "fitness", *metric.V4_COLUMNS)),
    "frames",
)


def analyze(directory: Path, graphs: bool = True, speed: bool = False) -> pd.DataFrame:
    """Make the tables and graphs of a run's or a trial's directory again, from its files alone.

    Returns the table of the level asked about: experiment.csv (a row per trial) for a run, trial.csv (a row per
    session, agent and environment) for a trial. `graphs` draws the session and trial graphs; `speed` also
    frames per second over frames. Of a search are drawn the experiment graph and the graphs of the best trial; those of
    another are drawn on being asked about that trial. Running it twice writes the same tables byte for byte. SlmxError
    if the directory is not of a run.
    """
    if (directory / "sessions.json").exists():
        trials = [TrialFiles(directory)]
    else:
        found = (path for path in directory.glob("trial_*") if path.name.removeprefix("trial_").isdecimal())
        begun = (path for path in found if (path / "sessions.json").exists())
        trials = [TrialFiles(path) for path in sorted(begun, key=lambda path: int(path.name.removeprefix("trial_")))]
    if not trials:
        raise SlmxError(f"{directory}: not a data directory: neither a run (trial_0/...) nor a trial (sessions.json)")
    figures: dict[Path, Figure] = {}
    tables, rows = [], []
    for trial in trials:
        table, row = analyze_trial(trial)
        write_table(table, trial.directory / "trial.csv")
        tables.append(table)
        rows.append(row)
    is_run = trials[0].directory != directory
    experiment = experiment_table(trials, rows)
    drawn = trials
    if is_run:
        write_table(experiment, directory / "experiment.csv")
        if "objective" in experiment:
            objective, best = objective_of(trials[0]), ranked(experiment, objective_of(trials[0]).sign)
            drawn = [trial for trial in trials if trial.number in best["trial"].tolist()[:1]]
            if graphs:
                paths = searched_paths(trials)
                shown = graph.experiment_table(experiment, short_names(paths))
                title, goal = f"{trials[0].name}, search", f"{objective.metric} ({objective.aggregate} of seeds)"
                figures[directory / "experiment_graph"] = graph.experiment_graph(shown, title, goal, objective.sign)
    for trial in drawn:
        if graphs:
            figures |= draw_trial(trial)
        if speed:
            figures[trial.directory / "speed_graph"] = draw_speed(trial)
    # one copy of plotly.js serves a whole run
    run = trials[0].directory.resolve().parent
    graph.write_figures(figures, run if (run / "spec.json").exists() else trials[0].directory)
    return experiment if is_run else tables[0]


def searched_paths(trials: list[TrialFiles]) -> list[str]:
    """The paths that a search went over; none where the trials are of no search."""
    return list(dict.fromkeys(path for trial in trials for path in trial.setting or ()))


def experiment_table(trials: list[TrialFiles], rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows of experiment.csv; those of a search with the objective and a column for each searched key."""
    if not any(trial.setting is not None for trial in trials):
        return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS))
    paths = searched_paths(trials)
    for trial, row in zip(trials, rows, strict=True):
        row |= {path: cell(value) for path, value in (trial.setting or {}).items()}
    columns = [*TRIAL_COLUMNS[:4], "objective", *paths, *TRIAL_COLUMNS[4:]]
    return pd.DataFrame(rows, columns=columns)


def analyze_trial(trial: TrialFiles) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The trial's table (a row per session, agent and environment), and its row in experiment.csv."""
    vectors: dict[Port, list[dict[str, float]]] = {port: [] for port in ports(trial)}
    records = []
    for session in trial.sessions:
        identity = {"session": session.session, "seed": session.seed, "state": session.state, "reason": session.reason}
        identity["frame"] = session.frame
        # a trial in which no session left a table has no known ports
        if not vectors:
            records.append(identity)
        for agent, env in vectors:
            vector = {}
            if not session.failed:
                vector = fitness.session_fitness(read_curve(trial, session, (agent, env)), trial.standard(env))
                vectors[agent, env].append(vector)
            records.append(identity | {"agent": agent, "env": env} | vector)
    table = pd.DataFrame(records, columns=[*IDENTITY, *metric.SESSION_COLUMNS])
    table[["agent", "env"]] = table[["agent", "env"]].astype("Int64")
    row = summarize(trial, vectors)
    if trial.setting is not None:
        row["objective"] = trial_score(trial, table, row)
    return table, row


def summarize(trial: TrialFiles, vectors: dict[Port, list[dict[str, float]]]) -> dict[str, Any]:
    """A trial's row: means over sessions by port, then over ports.

    What is in the environment's own units (returns, v4's strengths) is given only where all ports share one
    environment, with the 95% bootstrap interval of `final_return` over sessions.
    """
    failed = sum(session.failed for session in trial.sessions)
    row: dict[str, Any] = {
        "trial": trial.number,
        "state": state_of(session.state for session in trial.sessions),
        "sessions": len(trial.sessions),
        "failed": failed,
        "frames": sum(session.frame for session in trial.sessions),
    }
    by_port = [fitness.trial_fitness(vectors[port], failed, trial.standard(port[1])) for port in vectors]
    if not by_port:
        return row
    row |= {name: float(np.mean([means[name] for means in by_port])) for name in by_port[0]}
    if len({trial.envs[env] for _, env in vectors}) > 1:
        return row | dict.fromkeys(metric.RAW_COLUMNS, np.nan)
    standard = trial.standard(next(iter(vectors))[1])
    # ports of one session are not replicates: each session gives one number, the mean over its ports
    returns = np.mean([[vector["final_return"] for vector in of_port] for of_port in vectors.values()], axis=0)
    runs = fitness.fill_failed(returns, failed, np.inf if standard is None else standard.rand_return)
    row["final_return_low"], row["final_return_high"] = bootstrap_interval(runs)
    return row


def state_of(states: Iterable[str]) -> str:
    """FAILED if all sessions failed; else DONE, or what else befell a session that did not fail."""
    others = sorted(set(states) - {FAILED})
    return next((state for state in others if state != "DONE"), "DONE" if others else FAILED)


def ports(trial: TrialFiles) -> list[Port]:
    """The (agent, env) pairs of which any session of the trial left rows."""
    tables = [trial.rows(session)[["agent", "env"]] for session in trial.sessions]
    found = {(int(agent), int(env)) for table in tables for agent, env in table.drop_duplicates().to_numpy()}
    return sorted(found)


def read_curve(trial: TrialFiles, session: Session, port: Port) -> fitness.Curve:
    """What one session left of one port."""
    rows, episodes = of_port(trial.rows(session), port), of_port(trial.episodes(session), port)
    return fitness.Curve(
        returns=episodes["return"].to_numpy(float),
        lengths=episodes["length"].to_numpy(float),
        frames=episodes["frame"].to_numpy(float),
        checkpoint_returns=rows["return_ma"].to_numpy(float),
        checkpoint_frames=rows["frame"].to_numpy(float),
        checkpoint_steps=rows["opt_step"].to_numpy(float) if "opt_step" in rows else None,
        evaluation=of_port(trial.evaluation(session), port)["return"].to_numpy(float),
    )


def draw_trial(trial: TrialFiles) -> dict[Path, Figure]:
    """The session graphs and the trial graph, by path without suffix."""
    labels = {port: trial.label(*port) for port in ports(trial)}
    envs = {trial.envs[env] for _, env in labels}
    standard = trial.standards.get(next(iter(envs))) if len(envs) == 1 else None
    rows = {session.session: trial.rows(session) for session in trial.sessions}
    title = f"{trial.name}, trial {trial.number}"
    figures = {}
    for session in trial.sessions:
        ended = f"{session.state}: {session.reason}" if session.failed else session.state
        table = graph.session_table(rows[session.session], labels)
        figure = graph.session_graph(
            table, f"{title}, session {session.session}", f"seed {session.seed}, {ended}", standard
        )
        figures[trial.directory / f"session_{session.session}_graph"] = figure
    failed = {session.session for session in trial.sessions if session.failed}
    curves = graph.trial_table(rows, labels, failed)
    figures[trial.directory / "trial_graph"] = graph.trial_graph(curves, title, len(rows), len(failed), standard)
    return figures


def draw_speed(trial: TrialFiles) -> Figure:
    """Frames per second of the trial's program, from speed.csv."""
    table = read_table(trial.directory / "speed.csv", ("frame", "frames_per_second"))
    return graph.speed_graph(table, f"{trial.name}, trial {trial.number}")

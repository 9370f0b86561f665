"""From the files of a run to its tables and graphs: trial.csv, experiment.csv, session and trial graphs.

Failed sessions: trial.csv shows their state and reason and no numbers. In a mean over a trial's sessions each stands
with the floor of `fitness.fill_failed` (0 or the worst finished session, whichever is less), so it can only make the
trial worse and never drops out; `sessions` and `failed` of experiment.csv say how many there were. A trial is FAILED if
all of them are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure

from slmx import metric
from slmx.analysis import graph, validation
from slmx.analysis.files import TrialFiles, read_table, write_table
from slmx.analysis.objective import cell, further_objectives, objective_of, pareto_front, ranked
from slmx.analysis.rungs import write_rungs
from slmx.analysis.seen import see_search
from slmx.analysis.trial import TABLE, ports, write_trial
from slmx.analysis.validation_graph import validation_graph
from slmx.errors import SlmxError

TRIAL_COLUMNS = (
    *("trial", "state", "sessions", "failed"),
    *("final_return", "final_return_low", "final_return_high", "return_ma"),
    *(*metric.SEED_COLUMNS, "consistency", "fitness"),
    *metric.V4_COLUMNS,
    *(f"{name}_corrected" for name in (*metric.SEED_COLUMNS, "consistency", "fitness", *metric.V4_COLUMNS)),
    "frames",
)


def analyze(
    directory: Path, graphs: bool = True, speed: bool = False, known: Mapping[int, dict[str, Any]] | None = None
) -> pd.DataFrame:
    """Make the tables and graphs of a run's or a trial's directory again, from its files alone.

    Returns the table of the level asked about: experiment.csv (a row per trial) for a run, trial.csv (a row per
    session, agent and environment) for a trial. `graphs` draws the session and trial graphs; `speed` also
    frames per second over frames. Of a search are drawn the experiment graph and the graphs of the best trial; those of
    another are drawn on being asked about that trial, and so are the PNG files of its sessions. Running it twice writes
    the same tables byte for byte. `known`: what `analyze_trial` gave of trials, by number, that need not be asked
    again. SlmxError if the directory is not of a run.
    """
    is_run = not (directory / "sessions.json").exists()
    trials = read_trials(directory) if is_run else [TrialFiles(directory)]
    if not trials:
        raise SlmxError(f"{directory}: not a data directory: neither a run (trial_0/...) nor a trial (sessions.json)")
    # one copy of plotly.js serves a whole run
    run = trials[0].directory.resolve().parent
    home = run if (run / "spec.json").exists() else trials[0].directory
    with graph.Browser() if graphs or speed else contextlib.nullcontext() as browser:  # it takes a second to start
        tables, experiment = write_tables(trials, directory if is_run else None, not is_run, known or {})
        if is_run:
            write_rungs(directory, trials)
        compared = compare(directory)[1] if is_run else {}
        drawn = trials
        figures: dict[Path, Figure] = {}
        below: dict[Path, Figure] = {}
        pages: dict[Path, Figure] = {}
        if "objective" in experiment and is_run:
            drawn, seen = best_of(trials, experiment), see_search(directory, trials, experiment, searched_paths(trials))
            if graphs:
                figures[directory / "experiment_graph"] = graph.experiment_graph(seen)
                below[directory / "experiment_graph"] = graph.parallel_graph(seen)
        figures |= compared if graphs else {}
        for trial in drawn:
            if graphs:
                sessions, figure = draw_trial(trial)
                (pages if drawn is not trials else figures).update(sessions)
                figures |= figure
            if speed:
                figures[trial.directory / "speed_graph"] = draw_speed(trial)
        graph.write_figures(figures, home, browser, below, pages)
    return experiment if is_run else tables[0]


def best_of(trials: list[TrialFiles], experiment: pd.DataFrame) -> list[TrialFiles]:
    """The best trial of a search, if any has come to its end."""
    best = ranked(experiment, objective_of(trials[0]).sign)["trial"].tolist()[:1]
    return [trial for trial in trials if trial.number in best]


def analyze_validation(directory: Path, graphs: bool = True) -> pd.DataFrame:
    """Make the tables and the graph of a search's validation; returns validation.csv, empty where there is none."""
    table, figures = compare(directory)
    if graphs:
        graph.write_figures(figures, directory)
    return table


def compare(directory: Path) -> tuple[pd.DataFrame, dict[Path, Figure]]:
    """Write the tables of a search's validation, from what its trials left there and from experiment.csv.

    Returns the table of the comparison, and its figure by path without suffix.
    """
    trials = read_trials(directory / validation.NAME)
    if not trials:
        return pd.DataFrame(columns=list(validation.COLUMNS)), {}
    tables, tested = write_tables(trials, directory / validation.NAME, keep=True, known={})
    tuned = read_table(directory / "experiment.csv", ("trial", "objective"))
    table, runs = validation.comparison(tuned, tested, trials, tables), validation.run_table(trials, tables)
    write_table(table, directory / "validation.csv")
    write_table(runs, directory / "validation_runs.csv")
    figure = validation_graph(table, runs, trials)
    return table, {directory / "validation_graph": figure}


def read_trials(directory: Path) -> list[TrialFiles]:
    """The trials of a run that have begun, by number."""
    found = (path for path in directory.glob("trial_*") if path.name.removeprefix("trial_").isdecimal())
    begun = (path for path in found if (path / "sessions.json").exists())
    return [TrialFiles(path) for path in sorted(begun, key=lambda path: int(path.name.removeprefix("trial_")))]


def write_tables(
    trials: list[TrialFiles], run: Path | None, keep: bool, known: Mapping[int, dict[str, Any]]
) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """Write trial.csv of each trial, and where they are those of a run its experiment.csv; returns both.

    The tables of trials only if they are to be kept: a search may have thousands. Those whose rows are known were
    written by whoever knows.
    """
    tables, rows = [], []
    for trial in trials:
        if trial.number in known and (trial.directory / TABLE).exists() and not keep:
            rows.append(dict(known[trial.number]))
            continue
        table, row = write_trial(trial)
        tables += [table] if keep else []
        rows.append(row)
    experiment = experiment_table(trials, rows)
    if run is not None:
        write_table(experiment, run / "experiment.csv")
    return tables, experiment


def searched_paths(trials: list[TrialFiles]) -> list[str]:
    """The paths that a search went over; none where the trials are of no search."""
    return list(dict.fromkeys(path for trial in trials for path in trial.setting or ()))


def experiment_table(trials: list[TrialFiles], rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows of experiment.csv; those of a search with the objective and a column for each searched key."""
    if not any(trial.setting is not None for trial in trials):
        return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS))
    paths = searched_paths(trials)
    for trial, row in zip(trials, rows, strict=True):
        row |= {path: cell(value) for path, value in trial.values.items()}
    further = further_objectives(trials[0])
    columns = [*TRIAL_COLUMNS[:4], "objective", *further, *paths, *TRIAL_COLUMNS[4:]]
    table = pd.DataFrame(rows, columns=columns)
    if further:
        signs = {"objective": objective_of(trials[0]).sign} | {name: other.sign for name, other in further.items()}
        table.insert(columns.index(paths[0]), "pareto", pareto_front(table, signs))
    return table


def draw_trial(trial: TrialFiles) -> tuple[dict[Path, Figure], dict[Path, Figure]]:
    """The session graphs, and the trial graph, by path without suffix."""
    rows = {session.session: trial.rows(session) for session in trial.sessions}
    labels = {port: trial.label(*port) for port in ports(rows.values())}
    envs = {trial.envs[env] for _, env in labels}
    standard = trial.standards.get(next(iter(envs))) if len(envs) == 1 else None
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
    drawn = graph.trial_graph(curves, title, len(rows), len(failed), standard)
    return figures, {trial.directory / "trial_graph": drawn}


def draw_speed(trial: TrialFiles) -> Figure:
    """Frames per second of the trial's program, from speed.csv."""
    table = read_table(trial.directory / "speed.csv", ("frame", "frames_per_second"))
    return graph.speed_graph(table, f"{trial.name}, trial {trial.number}")

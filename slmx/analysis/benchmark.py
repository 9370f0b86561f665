"""From the files of a benchmark to its tables and graph: benchmark.csv, benchmark_aggregate.csv, benchmark_graph.

A score is a final greedy return on the scale of its environment: random play is 0, the standard 1. Each session (seed)
gives one. A failed session stands with the floor of `fitness.fill_failed`, and in the aggregate the sessions of a cell
that FAILED as a whole count as random play: nothing that fails drops out of a mean.

The aggregate of an algorithm is the interquartile mean over all its sessions in the environments which all algorithms
with such actions share, its interval from a bootstrap that draws sessions within each environment. Source: Agarwal et
al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice", arXiv:2108.13264.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slmx.analysis import files, fitness
from slmx.analysis.benchmark_graph import benchmark_graph
from slmx.analysis.files import FAILED, TrialFiles, read_json, write_table
from slmx.analysis.graph import write_figures
from slmx.analysis.statistics import bootstrap_interval, iqm, mean, stratified_interval
from slmx.analysis.trial import analyze_trial
from slmx.errors import SlmxError
from slmx.run_directory import read_state

RECORD = "benchmark.json"
OPEN = "OPEN"
"""The state of a cell that has not begun."""
CELL_COLUMNS = (
    *("algorithm", "env", "actions", "spec", "made_for", "mode", "state", "reason"),
    *("sessions", "failed", "max_frame", "frames"),
    *("final_return", "final_return_low", "final_return_high", "return_ma", "score", "score_low", "score_high"),
)
COUNTS = ["sessions", "failed", "max_frame", "frames"]
AGGREGATE_COLUMNS = ("actions", "algorithm", "environments", "sessions", "iqm", "iqm_low", "iqm_high", "mean")

Scores = dict[tuple[str, str], NDArray[np.float64]]
"""Scores of all sessions of each (algorithm, environment) that has them."""


def is_benchmark_run(directory: Path) -> bool:
    """Whether a directory is of a benchmark."""
    return (directory / RECORD).is_file()


def analyze_benchmark(directory: Path, graphs: bool = True) -> pd.DataFrame:
    """Make the tables and the graph of a benchmark again, from the files of its runs alone; the table of its cells.

    Running it twice writes the same tables byte for byte. SlmxError if the directory is not of a benchmark.
    """
    record = read_record(directory)
    runs = find_runs(directory)
    rows, scores = [], Scores()
    for cell in record["cells"]:
        row, own = cell_row(cell, runs)
        rows.append(row)
        if len(own):
            scores[cell["algorithm"], cell["env"]] = own
    envs = list(dict.fromkeys(row["env"] for row in rows))  # cells that were added later join their environment's
    rows = sorted(rows, key=lambda row: envs.index(row["env"]))
    table = pd.DataFrame(rows, columns=list(CELL_COLUMNS))
    table[COUNTS] = table[COUNTS].astype("Int64")
    aggregated = aggregate(table, scores)
    write_table(table, directory / "benchmark.csv")
    write_table(aggregated, directory / "benchmark_aggregate.csv")
    if graphs:
        figure = benchmark_graph(table, aggregated, f"{record['name']}, benchmark")
        write_figures({directory / "benchmark_graph": figure}, directory)
    return table


def read_record(directory: Path) -> dict[str, Any]:
    """What benchmark.json says: the benchmark's name and its cells."""
    path = directory / RECORD
    record = read_json(path)
    if not (isinstance(record, dict) and isinstance(record.get("cells"), list)):
        raise SlmxError(f"{path}: not what a benchmark writes")
    return record


def find_runs(directory: Path) -> dict[str, Path]:
    """The runs below a benchmark's directory by the name of their spec; of several the one that came furthest."""
    ranks = {"DONE": 0, "STOPPED": 1, "RUNNING": 1}
    found: dict[str, tuple[int, Path]] = {}
    # names end in the time at which the run began: the newest come first
    for run in sorted((file.parent for file in directory.glob("*/run.json")), key=lambda run: run.name, reverse=True):
        try:
            rank, name = ranks.get(read_state(run)[1], 2), files.read_record(run)["spec"]["name"]
        except SlmxError:  # what cannot be read is as if it had not begun
            continue
        if name not in found or rank < found[name][0]:
            found[name] = rank, run
    return {name: run for name, (_, run) in found.items()}


def cell_row(cell: dict[str, Any], runs: dict[str, Path]) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """A cell's row of benchmark.csv, and the scores of its sessions; none where it has none (yet)."""
    spec = cell["spec"]
    row: dict[str, Any] = {key: cell[key] for key in ("algorithm", "env", "actions", "made_for", "mode")}
    row |= {"spec": cell["source"], "max_frame": spec["env"][0]["max_frame"], "state": OPEN, "reason": ""}
    run, scores = runs.get(f"{spec['name']}_best" if cell["mode"] == "search" else spec["name"]), np.array([])
    if run is None:
        searched = runs.get(spec["name"])
        state = read_state(searched)[1] if searched else OPEN
        # a search that is done waits for the training of its best
        row["state"] = state if state not in ("DONE", OPEN) else FAILED if cell["error"] else OPEN
    else:
        try:
            numbers, scores = run_row(TrialFiles(run / "trial_0"))
            row |= numbers
        except SlmxError as error:
            row |= {"state": FAILED, "reason": str(error)}
    if row["state"] != "DONE":
        row["reason"] = cell["error"] or row["reason"]
    if row["state"] == FAILED:
        scores = np.zeros(spec["meta"]["max_session"])
    return row, scores


def run_row(trial: TrialFiles) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """What a training says of its cell, and the scores of its sessions; neither numbers nor scores before its end."""
    sessions, means = analyze_trial(trial)
    row = {key: means[key] for key in ("state", "sessions", "failed", "frames")}
    row["reason"] = next((session.reason for session in trial.sessions if session.reason), "")
    standard, none = trial.standard(0), np.array([])
    if row["state"] != "DONE":
        return row, none
    row |= {key: means[key] for key in ("final_return", "final_return_low", "final_return_high", "return_ma")}
    if standard is None or standard.std_return is None:
        return row, none
    finished = sessions.loc[sessions["state"] != FAILED, "final_return"].to_numpy(float)
    returns = fitness.fill_failed(finished, row["failed"], standard.rand_return)
    scores = fitness.local_strength(returns, standard, clip=False)
    low, high = bootstrap_interval(scores)
    return row | {"score": float(mean(scores)), "score_low": low, "score_high": high}, scores


def aggregate(table: pd.DataFrame, scores: Scores) -> pd.DataFrame:
    """One score an algorithm and kind of actions: benchmark_aggregate.csv.

    Only algorithms all of whose cells have ended are compared, in the environments that all of these share.
    """
    rows = []
    for actions in dict.fromkeys(table["actions"]):
        cells = table.loc[table["actions"] == actions, ["algorithm", "env", "state"]].to_dict("records")
        open_ = {cell["algorithm"] for cell in cells if cell["state"] not in ("DONE", FAILED)}
        complete = [algorithm for algorithm in dict.fromkeys(c["algorithm"] for c in cells) if algorithm not in open_]
        envs = dict.fromkeys(cell["env"] for cell in cells)
        shared = [env for env in envs if all((algorithm, env) in scores for algorithm in complete)]
        for algorithm in complete if shared else []:
            strata = [scores[algorithm, env] for env in shared]
            pooled = np.concatenate(strata)
            low, high = stratified_interval(strata, iqm)
            numbers = {"iqm": float(iqm(pooled)), "iqm_low": low, "iqm_high": high, "mean": float(mean(pooled))}
            rows.append(
                {"actions": actions, "algorithm": algorithm, "environments": " ".join(shared), "sessions": len(pooled)}
                | numbers
            )
    return pd.DataFrame(rows, columns=list(AGGREGATE_COLUMNS))

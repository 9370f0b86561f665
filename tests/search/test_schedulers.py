"""Searches with a scheduler from end to end, on Ray."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from slmx import lab, play
from slmx.analysis.analyze import analyze
from slmx.search import start
from slmx.spec.check import check_one
from tests.command import call
from tests.search.specs import Keys, raw_of, spec_of

SPACE: Keys = {"agent.algorithm.gamma__uniform": [0.9, 0.99], "agent.net.optim_spec.lr__loguniform": [1e-4, 1e-1]}
HALVING: Keys = {"name": "halving", "eta": 2, "grace": 0.2}
PBT: Keys = {"name": "pbt", "interval": 80, "quantile": 0.4}


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    """One Ray for all searches of this module."""
    with start.local_ray():
        yield


def test_a_halved_search_says_who_left_and_repeats(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    raw = raw_of(SPACE, meta={"max_trial": 8, "max_member": 6, "scheduler_spec": HALVING, "log_frequency": 40})
    (tmp_path / "spec.json").write_text(json.dumps({"tiny": raw}))
    assert call(monkeypatch, "run", tmp_path / "spec.json", "search", "--data", tmp_path / "data", "--no-graphs") == 0
    table = pd.read_csv(next((tmp_path / "data").glob("*/experiment.csv")))
    culled = (table["state"] == "CULLED").sum()
    assert 0 < culled < 8 and set(table["state"]) == {"CULLED", "DONE"} and table["state"][0] == "DONE"
    assert f"{9 - culled} of 9 trials done, 0 running, {culled} culled" in capsys.readouterr().out
    request.getfixturevalue("without_ray")
    again = lab.search(spec_of(SPACE, meta=raw["meta"]), tmp_path / "again", quiet=True, graphs=False)
    for name in ("experiment.csv", "rungs.csv"):
        assert (again.directory / name).read_bytes() == next((tmp_path / "data").glob(f"*/{name}")).read_bytes()


@pytest.mark.usefixtures("without_ray")
def test_a_searcher_that_learns_hears_of_settings_that_left(tmp_path: Path) -> None:
    meta = {"max_trial": 7, "max_member": 4, "scheduler_spec": HALVING, "log_frequency": 40}
    run = lab.search(spec_of(SPACE, meta=meta | {"search_spec": {"name": "optuna"}}), tmp_path, quiet=True, graphs=True)
    assert set(run.table["state"]) == {"CULLED", "DONE"} and run.best is not None
    assert (run.directory / "experiment_graph.html").exists()
    table = run.directory / "experiment.csv"
    before = table.read_bytes(), (run.directory / "rungs.csv").read_bytes()
    analyze(run.directory, graphs=False)
    assert (table.read_bytes(), (run.directory / "rungs.csv").read_bytes()) == before


@pytest.mark.usefixtures("without_ray")
def test_the_schedule_of_a_population_s_best_is_validated_and_saved(tmp_path: Path) -> None:
    meta = {"max_trial": 4, "scheduler_spec": PBT, "log_frequency": 40, "validate": {"top": 5, "sessions": 2}}
    run = lab.search(spec_of(SPACE, meta=meta), tmp_path, quiet=True, graphs=False)
    lineage = pd.read_csv(run.directory / "lineage.csv")
    assert (run.table["state"] == "DONE").all() and lineage["source"].notna().any()
    staged = {number for number in range(5) if play.read_trial(run.directory / f"trial_{number}")[0].meta.stages}
    tested = set(run.validation["trial"])
    assert staged and tested == set(range(5))
    for number in tested:
        own, _ = play.read_trial(run.directory / f"trial_{number}")
        fresh, _ = play.read_trial(run.directory / "validation" / f"trial_{number}")
        assert fresh.agent == own.agent and fresh.meta.stages == own.meta.stages
        assert fresh.meta.scheduler_spec is None and fresh.meta.seed != own.meta.seed
    assert run.best is not None
    best, _ = play.read_trial(run.directory / f"trial_{run.validation['trial'].iloc[0]}")
    assert check_one(run.best).meta.stages == best.meta.stages
    assert not lab.train(check_one(run.best), tmp_path, quiet=True, graphs=False).failed

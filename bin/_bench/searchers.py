"""Searchers against random search: how good the setting is that each of them finds, over many repeats."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import toy
from scipy.stats import mannwhitneyu
from speed import progress

from slmx.run_directory import make_directory
from slmx.search import on_tune, start
from slmx.search.experiment import searcher_of
from slmx.search.job import Order
from slmx.search.journal import Ended
from slmx.search.plan import Plan
from slmx.search.search import Search
from slmx.spec.build import build
from slmx.spec.model import Spec

PENDING = 8  # settings of a program
BAR = 0.01
CONTENDERS: dict[str, dict[str, Any]] = {
    "random": {"name": "random"},
    "optuna": {"name": "optuna"},
    "cmaes": {"name": "optuna", "sampler": "cmaes"},
    "gp": {"name": "optuna", "sampler": "gp"},
    "hyperopt": {"name": "hyperopt"},
    "nevergrad": {"name": "nevergrad"},
    "bohb": {"name": "bohb"},
}


@dataclass
class Together:
    """Many searches in one: whichever has something to do hands out the next program, so workers start but once."""

    searches: list[Search]
    owners: dict[str, Search] = field(default_factory=dict)

    @property
    def spec(self) -> Spec:
        """Of any of them: they differ in who searches alone."""
        return self.searches[0].spec

    @property
    def running(self) -> dict[str, Any]:
        return {program: own for search in self.searches for program, own in search.running.items()}

    def order(self, program: str) -> Order | None:
        for search in self.searches:
            if (order := search.order(program)) is not None:
                self.owners[program] = search
                return order
        return None

    def hear(self, program: str, progress: Mapping[str, Any]) -> None:
        self.owners[program].hear(program, progress)

    def wake(self, program: str) -> None:
        self.owners[program].wake(program)

    def end(self, program: str, ended: list[Ended], frames: int) -> None:
        self.owners[program].end(program, ended, frames)

    def lose(self, program: str, reason: str) -> None:
        self.owners[program].lose(program, reason)

    def stop(self) -> None:
        for search in self.searches:
            search.stop()


def bench_searchers(names: list[str], settings: int, repeats: int, quick: bool) -> int:
    """Search a noisy toy again and again, and print the table; 1 if Optuna is not surely better than random, else 0."""
    if unknown := [name for name in names if name not in CONTENDERS]:
        sys.exit(f"unknown searcher {', '.join(unknown)}; known: {', '.join(CONTENDERS)}")
    repeats = 3 if quick else repeats
    found = find(["random", *names], settings, repeats)
    print(
        f"\ntrue return of the setting that {settings} noisy trials found best, {PENDING} a program; {repeats} repeats;"
    )
    print("p: of doing so well by luck if random search were as good (Mann-Whitney, one-sided)")
    print(f"  {'':12}{'mean':>8}{'sd':>8}{'worst':>8}{'best':>8}{'p':>12}")
    values = {}
    for name, own in found.items():
        values[name] = float(mannwhitneyu(own, found["random"], alternative="greater").pvalue)
        p = "" if name == "random" else f"{values[name]:.2g}"
        print(f"  {name:12}{np.mean(own):8.3f}{np.std(own, ddof=1):8.3f}{min(own):8.3f}{max(own):8.3f}{p:>12}")
    if quick:
        print("\na glance: the bar is for whole runs")
        return 0
    missed = "optuna" in values and values["optuna"] >= BAR
    print(f"\nbar: optuna better than random, p < {BAR}: {'missed' if missed else 'met'}")
    return int(missed)


def find(names: list[str], settings: int, repeats: int) -> dict[str, list[float]]:
    """The true returns of what each searcher found best, one for each repeat."""
    silent = contextlib.redirect_stdout(io.StringIO())  # Tune prints what it is about to do
    with tempfile.TemporaryDirectory(prefix="slmx") as data, silent, start.local_ray() as folder:
        workers = on_tune.workers(spec_of("random", settings, 0).meta.resources)
        searches = {
            (name, seed): search_of(name, settings, seed, Path(data), workers)
            for seed in range(repeats)
            for name in names
        }
        together: Any = Together(list(searches.values()))

        said = [0]

        def show() -> None:
            finished = sum(search.finished for search in searches.values())
            if finished > said[-1]:
                said.append(finished)
                progress(f"{finished} of {len(searches)} searches")

        on_tune.run(together, spec_of("random", settings, 0).meta.resources, workers, folder, show)
    progress("")
    found: dict[str, list[float]] = {name: [] for name in names}
    for (name, _), search in searches.items():
        assert search.best is not None and search.finished
        found[name].append(worth(search))
    return found


def search_of(name: str, settings: int, seed: int, data: Path, workers: int) -> Search:
    """One search, as `slmx run ... search` makes it."""
    spec = spec_of(name, settings, seed)
    standard = {"rand_return": -0.1, "std_return": None, "std_frame": None, "source": "made up"}
    plan = Plan(spec, searcher_of(spec), PENDING)
    return Search(spec, make_directory(data, spec.name), plan, ["gymnasium"], {"toy:Once": standard}, workers)


def spec_of(name: str, settings: int, seed: int) -> Any:
    """The spec of one search."""
    meta = {
        "search_spec": CONTENDERS[name], "max_session": 1, "max_trial": settings, "max_member": PENDING, "seed": seed,
        "eval_episode": 1, "validate": None,
    }  # fmt: skip
    agent = {"name": "guess", "algorithm": {"name": "toy:Guess"}}
    raw = {"agent": agent, "env": {"name": "toy:Once", "max_frame": 2}, "meta": meta, "search": toy.SEARCH}
    return build(f"{name}_{seed}", raw)


def worth(search: Search) -> float:
    """The true return of the setting that a search calls its best."""
    assert search.best is not None
    setting = search.best[1].setting
    return float(toy.true_return(*(setting[f"agent.0.algorithm.{key}"] for key in toy.KEYS)))

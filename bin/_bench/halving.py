"""What successive halving saves of a search's frames, and what it costs of what the search finds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from settings import spec

SPACE = {
    "agent.net.optim_spec.lr__loguniform": [1e-5, 1e-1],
    "agent.algorithm.gamma__uniform": [0.8, 0.999],
    "agent.algorithm.entropy_coef__loguniform": [1e-4, 0.3],
}
SHARE = 0.4  # of the full search's frames, at most
FRESH = 10  # seeds on which the best setting of each search is trained again


class Found(NamedTuple):
    """What a search found: the objective of its best trial, what that setting reaches on fresh seeds, and the frames.

    A tuned objective is the better the more settings come to the end, for it is the best of so many; on fresh seeds
    many and few are compared fairly. `error` is the standard error of that.
    """

    tuned: float
    test: float
    error: float
    frames: int


def bench_halving(settings: int, sessions: int, frames: int, seeds: int, data: Path) -> int:
    """Search PPO on CartPole with and without halving, from several seeds; 1 if a bar was missed, else 0."""
    print(f"{settings} settings of PPO on CartPole-v1 x {sessions} sessions x {frames:,} frames")
    print(f"best setting: objective of the search -> mean ± standard error on {FRESH} fresh seeds")
    print(f"{'seed':>6}{'all to the end':>30}{'halved':>30}{'frames':>10}")
    pairs = []
    for seed in range(seeds):
        full, halved = (
            find(settings, sessions, frames, seed, data, scheduler) for scheduler in (None, {"name": "halving"})
        )
        pairs.append((full, halved))
        cells = [f"{found.tuned:.2f} -> {found.test:.2f} ± {found.error:.2f}" for found in (full, halved)]
        print(f"{seed:6}{cells[0]:>30}{cells[1]:>30}{halved.frames / full.frames:10.1%}", flush=True)
    worse = sum(full.test - halved.test for full, halved in pairs) / seeds
    error = math.sqrt(sum(full.error**2 + halved.error**2 for full, halved in pairs)) / seeds
    share = sum(halved.frames for _, halved in pairs) / sum(full.frames for full, _ in pairs)
    print(f"halved: worse by {worse:.2f} ± {error:.2f}, with {share:.1%} of the frames")
    if worse > error:
        print("MISSED: it is worse by more than one standard error of the difference")
    if share > SHARE:
        print(f"MISSED: more than {SHARE:.0%} of the frames")
    return int(worse > error or share > SHARE)


def find(settings: int, sessions: int, frames: int, seed: int, data: Path, scheduler: dict[str, Any] | None) -> Found:
    """Search once."""
    from slmx.lab import search
    from slmx.spec.build import build

    raw = spec("PPO", "CartPole-v1", frames)
    meta = {"max_session": sessions, "max_trial": settings, "seed": seed, "eval_episode": 20}
    meta |= {"scheduler_spec": scheduler, "validate": {"top": 1, "sessions": FRESH}}
    raw |= {"search": SPACE, "meta": raw["meta"] | meta}
    run = search(build("halving" if scheduler else "full", raw), data, quiet=True, graphs=False)
    best = run.table.loc[run.table["objective"].astype(float).idxmax()]
    tested = pd.read_csv(run.directory / "validation_runs.csv")
    values = tested.loc[tested["trial"] == best["trial"], "value"]
    return Found(float(best["objective"]), float(values.mean()), float(values.sem()), int(run.table["frames"].sum()))

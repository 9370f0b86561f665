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


class Found(NamedTuple):
    """The objective of a search's best trial with its standard error over seeds, and the frames of all trials."""

    best: float
    error: float
    frames: int


def bench_halving(settings: int, sessions: int, frames: int, seeds: int, data: Path) -> int:
    """Search PPO on CartPole with and without halving, from several seeds; 1 if a bar was missed, else 0."""
    print(f"{settings} settings of PPO on CartPole-v1 x {sessions} sessions x {frames:,} frames")
    print(
        f"{'seed':>6}{'all to the end':>22}{'halved':>22}{'frames':>10}   best objective ± standard error over sessions"
    )
    pairs = []
    for seed in range(seeds):
        full, halved = (
            find(settings, sessions, frames, seed, data, scheduler) for scheduler in (None, {"name": "halving"})
        )
        pairs.append((full, halved))
        cells = [f"{found.best:.2f} ± {found.error:.2f}" for found in (full, halved)]
        print(f"{seed:6}{cells[0]:>22}{cells[1]:>22}{halved.frames / full.frames:10.1%}", flush=True)
    worse = sum(full.best - halved.best for full, halved in pairs) / seeds
    error = math.sqrt(sum(full.error**2 + halved.error**2 for full, halved in pairs)) / seeds
    share = sum(halved.frames for _, halved in pairs) / sum(full.frames for full, _ in pairs)
    print(f"worse by {worse:.2f} ± {error:.2f}, with {share:.1%} of the frames")
    if worse > error:
        print("MISSED: the objective is worse by more than the standard error of the difference")
    if share > SHARE:
        print(f"MISSED: more than {SHARE:.0%} of the frames")
    return int(worse > error or share > SHARE)


def find(settings: int, sessions: int, frames: int, seed: int, data: Path, scheduler: dict[str, Any] | None) -> Found:
    """Search once."""
    from slmx.lab import search
    from slmx.spec.build import build

    raw = spec("PPO", "CartPole-v1", frames)
    meta = {"max_session": sessions, "max_trial": settings, "seed": seed, "eval_episode": 20, "validate": None}
    raw |= {"search": SPACE, "meta": raw["meta"] | meta | {"scheduler_spec": scheduler}}
    run = search(build("halving" if scheduler else "full", raw), data, quiet=True, graphs=False)
    best = run.table["objective"].astype(float).idxmax()
    trial = pd.read_csv(run.directory / f"trial_{run.table['trial'][best]}" / "trial.csv")
    error = trial["final_return"].sem() if len(trial) > 1 else 0.0
    return Found(float(run.table["objective"][best]), float(error), int(run.table["frames"].sum()))

"""A tiny spec with a search block."""

from __future__ import annotations

from typing import Any

from slmx.spec.build import build
from slmx.spec.model import Spec

Keys = dict[str, Any]

AGENT: Keys = {
    "name": "ppo",
    "algorithm": {"name": "PPO", "time_horizon": 16, "minibatch_size": 32, "training_epoch": 1},
    "memory": {"name": "Rollout"},
    "net": {"type": "MLP", "hid_layers": [8], "optim_spec": {"name": "Adam", "lr": 0.003}},
}


def raw_of(search: Keys, env: Keys | None = None, meta: Keys | None = None, agent: Keys | None = None) -> Keys:
    """Two sessions of PPO with two bodies in CartPole, for a few hundred frames, in float64; no validation."""
    settings: Keys = {"max_session": 2, "max_trial": 3, "eval_episode": 2, "dtype": "float64", "log_frequency": 80}
    settings["validate"] = None
    env = {"max_frame": 320, **(env or {})}
    if "name" not in env:
        # gymnasium's, for each search has workers, and to import envpool takes them longer than all that they do here
        env = {"name": "CartPole-v1", "backend": "gymnasium", **env}
    return {"agent": agent or AGENT, "env": env, "body": {"num": 2}, "meta": settings | (meta or {}), "search": search}


def spec_of(search: Keys, env: Keys | None = None, meta: Keys | None = None, agent: Keys | None = None) -> Spec:
    """The same, built."""
    return build("tiny", raw_of(search, env, meta, agent))

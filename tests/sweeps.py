"""Small specs for benchmarks and schedules: two sessions, a few hundred frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Keys = dict[str, Any]

NET: Keys = {"type": "MLP", "hid_layers": [8], "optim_spec": {"name": "Adam", "lr": 0.003}}
AGENTS: dict[str, Keys] = {
    "PPO": {
        "algorithm": {"name": "PPO", "time_horizon": 16, "minibatch_size": 32, "training_epoch": 1},
        "memory": {"name": "Rollout"},
        "net": NET,
    },
    "A2C": {"algorithm": {"name": "A2C", "time_horizon": 16}, "memory": {"name": "Rollout"}, "net": NET},
    "DQN": {
        "algorithm": {"name": "DQN", "training_start_step": 64, "training_frequency": 8},
        "memory": {"name": "Replay", "max_size": 1000},
        "net": NET,
    },
}
STEEP: Keys = NET | {"optim_spec": {"name": "SGD", "lr": 1e30}}
"""A network whose losses soon are no numbers."""


def raw_of(algorithm: str, env: str = "CartPole-v1", net: Keys = NET, **more: Any) -> Keys:
    """A spec of one algorithm in one environment."""
    return {
        "agent": {"name": algorithm.lower()} | AGENTS[algorithm] | {"net": net},
        "env": {"name": env, "max_frame": 320},
        "body": {"num": 2},
        "meta": {"max_session": 2, "eval_episode": 2, "log_frequency": 80, "validate": None},
    } | more


def write(path: Path, content: Any) -> Path:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path

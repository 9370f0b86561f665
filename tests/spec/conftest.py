"""A sound spec to break, and a file to break it in."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PPO: dict[str, Any] = {
    "agent": [
        {
            "name": "ppo",
            "algorithm": {
                "name": "PPO",
                "gamma": 0.99,
                "lam": 0.95,
                "clip_eps": {"name": "linear_decay", "start_val": 0.2, "end_val": 0.1, "end_step": 10000},
                "entropy_coef": 0.01,
                "val_loss_coef": 0.5,
                "time_horizon": 128,
                "minibatch_size": 256,
                "training_epoch": 4,
            },
            "memory": {"name": "Rollout"},
            "net": {
                "type": "MLP",
                "hid_layers": [64, 64],
                "hid_layers_activation": "tanh",
                "clip_grad_val": 0.5,
                "optim_spec": {"name": "Adam", "lr": 0.0003},
            },
        }
    ],
    "env": [{"name": "CartPole-v1", "max_frame": 100000}],
    "body": {"product": "outer", "num": 8},
    "meta": {"max_session": 4, "max_trial": 16, "seed": 0},
    "search": {"agent": [{"algorithm": {"gamma__uniform": [0.9, 0.999]}}]},
}
DQN: dict[str, Any] = {
    "agent": {
        "name": "dqn",
        "algorithm": {"name": "DQN", "double": True, "update_type": "polyak", "polyak_coef": 0.01},
        "memory": {"name": "PrioritizedReplay", "max_size": 10000, "batch_size": 64},
        "net": {"type": "MLP", "dueling": True, "optim_spec": {"name": "Adam", "lr": 0.001}},
    },
    "env": {"name": "CartPole-v1", "max_frame": 1e5},
}


@pytest.fixture
def ppo() -> dict[str, Any]:
    """A sound PPO spec with a search."""
    return copy.deepcopy(PPO)


@pytest.fixture
def dqn() -> dict[str, Any]:
    """A sound DQN spec: one agent and one environment as objects, no body, meta or search."""
    return copy.deepcopy(DQN)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a spec file and returns its path."""

    def write(content: Any, name: str = "spec.json") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write

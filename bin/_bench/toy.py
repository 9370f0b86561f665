"""A trial that takes no time: its return is a noisy function of four of its algorithm's hyperparameters."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor

from slmx.algorithm.base import Algorithm
from slmx.member.hyper import NamedHyper, PerMember

BEST = (0.3, 0.7, 0.6, 0.25)  # where the true return is greatest, each in [0, 1]
NOISE = 0.1  # its standard deviation over sessions; the true return lies between -0.5 and 0.8
KEYS = ("first", "second", "third", "fourth")
SEARCH = {
    "agent.algorithm.first__uniform": [0.0, 1.0],
    "agent.algorithm.second__loguniform": [1e-4, 1.0],
    "agent.algorithm.third__uniform": [0.0, 1.0],
    "agent.algorithm.fourth__loguniform": [1e-4, 1.0],
}


def true_return(first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """What a setting is worth: the less, the further it lies from the best, whatever the direction."""
    places = first, 1 + _log10(second) / 4, third, 1 + _log10(fourth) / 4
    distance = sum((place - best) ** 2 for place, best in zip(places, BEST, strict=True))
    return 0.8 - 0.8 * distance**0.5


def _log10(x: Any) -> Any:
    return torch.log10(x) if isinstance(x, Tensor) else math.log10(x)


class Guess(Algorithm):
    """Acts as well as its hyperparameters are good, give or take the luck of its session; learns nothing."""

    learns = False
    actions = ("continuous",)

    class Hyper(NamedHyper):
        """Four numbers to be searched."""

        first: PerMember = Field(0.9, ge=0, le=1, description="best at 0.3")
        second: PerMember = Field(1e-3, ge=1e-4, le=1, description="best at 0.063")
        third: PerMember = Field(0.1, ge=0, le=1, description="best at 0.6")
        fourth: PerMember = Field(0.5, ge=1e-4, le=1, description="best at 0.001")

    def build(self) -> None:
        luck = self.setting.streams("luck").normal(1)
        self.worth = true_return(self.hp.first, self.hp.second, self.hp.third, self.hp.fourth) + NOISE * luck

    def explore(self, port: int, obs: Tensor) -> Tensor:
        return self.worth[..., None].expand(-1, obs.shape[1], 1)

    exploit = explore


class Once(gymnasium.Env):
    """One step, whose reward is the action."""

    def __init__(self, render_mode: str | None = None):
        self.observation_space = spaces.Box(0, 1, (1,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.zeros(1, np.float32), float(action[0]), True, False, {}

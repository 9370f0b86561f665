"""Probe environments: the smallest problems of which each can be solved only if one more part of learning is right.

After Andy Jones, "Debugging reinforcement learning systems". Every value is known exactly. A spec names them as
`tests.probes:Constant` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

Observed = tuple[np.ndarray, dict[str, Any]]
Stepped = tuple[np.ndarray, float, bool, bool, dict[str, Any]]


class Probe(gymnasium.Env):
    """Observations are `size` numbers, actions two to choose from."""

    size = 1

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1, 1, (self.size,), np.float32)
        self.action_space: spaces.Space = spaces.Discrete(2)
        self.now = np.zeros(self.size, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Observed:
        super().reset(seed=seed)
        self.now = self.first()
        return self.now, {}

    def first(self) -> np.ndarray:
        """The first observation of an episode."""
        return np.ones(self.size, np.float32)

    def coin(self) -> np.ndarray:
        """-1 or 1."""
        return np.array([2 * self.np_random.integers(2) - 1], np.float32)


class Constant(Probe):
    """One step, reward 1: the value is 1. Can values be learned at all?"""

    def step(self, action: int) -> Stepped:
        return self.now, 1.0, True, False, {}


class Echo(Probe):
    """One step, the reward is the observation. Does the value follow what is seen?"""

    def first(self) -> np.ndarray:
        return self.coin()

    def step(self, action: int) -> Stepped:
        return self.now, float(self.now[0]), True, False, {}


class Delayed(Probe):
    """Two steps, observing 0 and 1, reward 1 at the end: the first value is gamma. Is the future discounted?"""

    def first(self) -> np.ndarray:
        return np.zeros(1, np.float32)

    def step(self, action: int) -> Stepped:
        last, self.now = bool(self.now[0]), np.ones(1, np.float32)
        return self.now, float(last), last, False, {}


class Choice(Probe):
    """One step; action 1 is worth 1, action 0 is worth -1. Does the policy follow the rewards?"""

    def step(self, action: int) -> Stepped:
        return self.now, 2.0 * action - 1, True, False, {}


class Match(Probe):
    """One step; the action that matches the sign of the observation is worth 1, the other -1. Both together."""

    def first(self) -> np.ndarray:
        return self.coin()

    def step(self, action: int) -> Stepped:
        return self.now, float(self.now[0]) * (2.0 * action - 1), True, False, {}


class Aim(Probe):
    """One step; a continuous action, best at half the observation, which is -1 or 1; the reward is 1 there.

    Actions have no bounds: where wide distributions are clipped, the best mean lies further out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)

    def first(self) -> np.ndarray:
        return self.coin()

    def step(self, action: np.ndarray) -> Stepped:
        return self.now, 1 - float(action[0] - 0.5 * self.now[0]) ** 2, True, False, {}


class Combination(Probe):
    """One step with several choices at once; the reward is the share of those that are what is observed, in one-hots.

    Actions are of 2, 3 and 4 choices; where `binary`, of four switches.
    """

    def __init__(self, binary: bool = False) -> None:
        super().__init__()
        dials = spaces.MultiDiscrete([2, 3, 4], start=[0, -1, 5])
        self.action_space = spaces.MultiBinary(4) if binary else dials
        self.nvec, self.start = (np.full(4, 2), 0) if binary else (dials.nvec, dials.start)
        self.observation_space = spaces.Box(0, 1, (int(self.nvec.sum()),), np.float32)

    def first(self) -> np.ndarray:
        self.right = self.np_random.integers(self.nvec)
        return np.concatenate([np.eye(n)[i] for n, i in zip(self.nvec, self.right, strict=True)]).astype(np.float32)

    def step(self, action: np.ndarray) -> Stepped:
        return self.now, float(np.mean(action - self.start == self.right)), True, False, {}


class Ending(Probe):
    """Two states, of which an episode begins in either and always goes to the second, where the reward is 1.

    It ends after `steps` steps, terminated or truncated. Terminated after one step, the values are 0 and 1. Truncated
    they are gamma / (1 - gamma) and 1 / (1 - gamma), whatever `steps`; less where the first observation of the next
    episode is taken for the successor. Observations are one-hot.
    """

    size = 2

    def __init__(self, how: Literal["terminated", "truncated"], steps: int = 1, continuous: bool = False) -> None:
        super().__init__()
        if continuous:
            self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.how, self.steps, self.time = how, steps, 0

    def first(self) -> np.ndarray:
        self.time = 0
        return np.eye(2, dtype=np.float32)[self.np_random.integers(2)]

    def step(self, action: Any) -> Stepped:
        reward, self.now = float(self.now[1]), np.array([0, 1], np.float32)
        self.time += 1
        end = self.time == self.steps
        return self.now, reward, end and self.how == "terminated", end and self.how == "truncated", {}


class Turn(Ending):
    """The same states, truncated after every step; an action is worth 1 where it is the state's number, else -1.

    The best actions differ, so the action that begins the next episode says nothing about the state that was cut off.
    """

    def __init__(self) -> None:
        super().__init__("truncated")

    def step(self, action: int) -> Stepped:
        right = self.now[int(action)] == 1
        now, _, terminated, truncated, rest = super().step(action)
        return now, 1.0 if right else -1.0, terminated, truncated, rest


class Recall(Probe):
    """The first observation is -1 or 1, then 0 for `delay` steps; the action of the last is worth 1 where it fits.

    Otherwise it is worth -1. Who does not remember the first observation can do no better than 0 on average.
    The second number observed tells that the last step has come.
    """

    size = 2

    def __init__(self, delay: int = 3) -> None:
        super().__init__()
        self.delay, self.time, self.right = delay, 0, 0

    def first(self) -> np.ndarray:
        self.time, self.right = 0, int(self.np_random.integers(2))
        return np.array([2 * self.right - 1, 0], np.float32)

    def step(self, action: int) -> Stepped:
        end = self.time == self.delay
        self.time += 1
        self.now = np.array([0, self.time == self.delay], np.float32)
        return self.now, float(2 * (action == self.right) - 1) if end else 0.0, end, False, {}


class Counter(Probe):
    """Observes its own number and the time since the beginning of the episode; the reward tells both and the action.

    Episodes last 2 to 4 steps, as their number says, and every third is truncated. What follows is known for every
    transition, so one that was never emitted can be told.
    """

    size = 2

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.episode = -1

    def first(self) -> np.ndarray:
        self.episode += 1
        if self.episode == 0:
            self.who = int(self.np_random.integers(1000)) * 1000
        return np.array([self.who + self.episode, 0], np.float32)

    def step(self, action: int) -> Stepped:
        self.now = self.now + np.array([0, 1], np.float32)
        end, truncated = bool(self.now[1] == 2 + self.episode % 3), self.episode % 3 == 2
        return self.now, float(10 * self.now[1] + action), end and not truncated, end and truncated, {}


class Drift(Probe):
    """A point that drifts and is pushed; the reward is its nearness to 0.

    Episodes end by chance, with probability `end` at each step, terminated or truncated. `sick` maps
    seeds to the reward (`"nan"`, `"inf"`) that such an environment gives from its 20th step on. With `image` it is
    seen as the brightness of two halves of an image. `actions`: "discrete" and "multidiscrete" push it to and fro,
    "continuous" ones wherever they point.
    """

    size = 2

    def __init__(
        self,
        actions: Literal["discrete", "continuous", "multidiscrete"] = "discrete",
        sick: Mapping[str, str] | None = None,
        end: float = 0.25,
        image: bool = False,
    ) -> None:
        super().__init__()
        self.actions = actions
        if actions == "continuous":
            self.action_space = spaces.Box(-1, 1, (2,), np.float32)
        if actions == "multidiscrete":
            self.action_space = spaces.MultiDiscrete([[2, 3]])
        if image:
            self.observation_space = spaces.Box(0, 255, (6, 6, 1), np.uint8)
        self.image = image
        self.sick, self.poison, self.end, self.time = sick or {}, None, end, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Observed:
        if str(seed) in self.sick:
            self.poison = float(self.sick[str(seed)])
        super().reset(seed=seed)
        return self.seen(), {}

    def seen(self) -> np.ndarray:
        """What is observed of the point."""
        if not self.image:
            return self.now
        return np.repeat(127.5 * (1 + self.now), 18).astype(np.uint8).reshape(6, 6, 1)

    def first(self) -> np.ndarray:
        return self.np_random.uniform(-0.5, 0.5, 2).astype(np.float32)

    def step(self, action: Any) -> Stepped:
        self.time += 1
        push = (2.0 * action - 1, 0.0) if self.actions == "discrete" else np.ravel(action).tolist()
        if self.actions == "multidiscrete":
            push = (2.0 * push[0] - 1, push[1] - 1.0)
        *wind, end, late = self.np_random.random(4).tolist()
        moved = [0.9 * x + 0.2 * p + 0.4 * w - 0.2 for x, p, w in zip(self.now.tolist(), push, wind, strict=True)]
        self.now = np.array([min(max(x, -1.0), 1.0) for x in moved], np.float32)
        reward = 1 - sum(abs(x) for x in self.now.tolist())
        if self.poison is not None and self.time >= 20:
            reward = self.poison
        return self.seen(), reward, end < self.end and late >= 0.4, end < self.end and late < 0.4, {}


class Catch(gymnasium.Env):
    """A ball falls from a random place; it is worth 1 to be below it in the end, else -1 (bsuite, arXiv:1908.03568).

    Images of `size` x `size` with a ball and a paddle of `width`; actions are left, stay, right.
    """

    def __init__(self, size: int = 10, width: int = 1) -> None:
        self.observation_space = spaces.Box(0, 255, (size, size, 1), np.uint8)
        self.action_space = spaces.Discrete(3)
        self.size, self.width = size, width

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Observed:
        super().reset(seed=seed)
        self.row, self.column, self.paddle = 0, int(self.np_random.integers(self.size)), self.size // 2
        return self.seen(), {}

    def step(self, action: int) -> Stepped:
        self.row += 1
        self.paddle = min(max(self.paddle + int(action) - 1, 0), self.size - self.width)
        end = self.row == self.size - 1
        caught = 0 <= self.column - self.paddle < self.width
        return self.seen(), (1.0 if caught else -1.0) if end else 0.0, end, False, {}

    def seen(self) -> np.ndarray:
        """The picture of ball and paddle."""
        image = np.zeros((self.size, self.size, 1), np.uint8)
        image[self.row, self.column] = image[-1, self.paddle : self.paddle + self.width] = 255
        return image

"""The contract of every environment: members x rows of it at once, exact successors, explicit resets."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from slmx.env.spec import EnvSpec


@dataclass(slots=True)
class Step:
    """What one action led to, for every row. Arrays (or tensors) `[M, B, ...]`.

    `next_obs` is the true successor, at the end of an episode too; `obs` is what to act on next: the first observation
    of the new episode where one ended, else the successor. Where none ended they are the same object.
    `terminated` and `truncated` are never both true: a terminal state is terminal, whatever the time.
    `over`: where a whole game ended, if episodes are parts of games; it is for the tables, learners do not see it.
    """

    obs: Any
    next_obs: Any
    reward: Any
    terminated: Any
    truncated: Any
    over: Any = None

    @property
    def done(self) -> Any:
        """Where an episode ended, either way: bool `[M, B]`."""
        return self.terminated | self.truncated

    @property
    def finished(self) -> Any:
        """Where that ended which tables count: a whole game, or an episode; bool `[M, B]`."""
        return self.done if self.over is None else self.over

    def cut(self) -> Step:
        """The same with every running episode cut off."""
        return Step(self.next_obs, self.next_obs, self.reward, self.terminated, ~self.terminated)

    def map(self, convert: Callable[[Any], Any]) -> Step:
        """Every array converted (to tensors, to a device); `obs` stays the same object as `next_obs` where it was."""
        next_obs = convert(self.next_obs)
        obs = next_obs if self.obs is self.next_obs else convert(self.obs)
        return Step(obs, next_obs, convert(self.reward), convert(self.terminated), convert(self.truncated))


@dataclass(frozen=True, slots=True)
class Spaces:
    """What is known of an environment before it runs.

    `obs_space`: a float32 vector `[D]` without bounds, or a uint8 image `[C, H, W]`. `action_space`: Discrete from 0,
    MultiDiscrete from 0 with one axis, or a flat float32 Box. `slots`: rows of one copy (1 for a single agent).
    `max_t`: steps until truncation, if known.
    """

    backend: str
    obs_space: Box
    action_space: Discrete | MultiDiscrete | Box
    slots: int = 1
    max_t: int | None = None
    reward_threshold: float | None = None

    @property
    def kind(self) -> str:
        """What actions are: "discrete", one choice; "multidiscrete", several choices at once; or "continuous"."""
        if isinstance(self.action_space, Box):
            return "continuous"
        return "multidiscrete" if isinstance(self.action_space, MultiDiscrete) else "discrete"

    @property
    def choices(self) -> tuple[int, ...]:
        """Among how many each component of a multidiscrete action chooses; empty where actions are of another kind."""
        return tuple(self.action_space.nvec.tolist()) if isinstance(self.action_space, MultiDiscrete) else ()

    @property
    def action_size(self) -> int:
        """How many there are to choose from, in all components together; or the dimensions of a continuous action."""
        if isinstance(self.action_space, Discrete):
            return int(self.action_space.n)
        return sum(self.choices) or math.prod(self.action_space.shape)


class Env(ABC):
    """`M` members, each with its own copies of one environment, stepped together.

    A copy has `slots` rows (1 for a single agent), so a member has `rows = copies * slots`; row `c * slots + s` is slot
    `s` of copy `c`. Every copy has its own seed and random stream, so what happens in it depends on no other copy.

    A backend provides the class methods and the five methods at the end, which work on all copies in one flat axis
    `N = M * copies` (and `N * slots` rows), member by member. The slots of a copy end together. They give whole
    observations, of which agents see what the spec calls visible.
    """

    backend: ClassVar[str]
    package: ClassVar[tuple[str, str] | None] = None  # what must be installed for it, and the extra that brings it

    def __init__(self, spec: EnvSpec, seeds: np.ndarray, render_mode: str | None = None, threads: int = 1):
        """seeds: int `[M, copies]` in [0, 2**31). threads: of a backend that has any; numbers do not depend on it."""
        spaces = self.describe(spec)
        if seeds.ndim != 2 or not seeds.size or seeds.min() < 0 or seeds.max() >= 2**31:
            raise ValueError(f"seeds must be an array [members, copies] in [0, 2**31), not {seeds!r}")
        self.members, self.copies = seeds.shape
        self.slots = spaces.slots
        self.rows = self.copies * self.slots
        self.obs_space, self.action_space = spaces.obs_space, spaces.action_space
        self.max_t = spaces.max_t
        self._visible = spec.visible
        self._action_shape: tuple[int, ...] = spaces.action_space.shape or ()
        self.render_mode = render_mode
        self._over: np.ndarray | None = None  # a backend says here where games ended, if they have several episodes

    @classmethod
    @abstractmethod
    def names(cls) -> list[str]:
        """The ids this backend knows."""

    @classmethod
    @abstractmethod
    def takes(cls, spec: EnvSpec) -> bool:
        """Whether an environment that it has can be run with the spec's other keys."""

    @classmethod
    @abstractmethod
    def describe(cls, spec: EnvSpec) -> Spaces:
        """The spaces of an environment that it has. SpecError for keys it cannot run it with."""

    @classmethod
    def renders(cls, spec: EnvSpec) -> bool:
        """Whether there are pictures of an environment that it has."""
        return True

    @classmethod
    def has(cls, name: str) -> bool:
        """Whether this backend has the environment."""
        return name in cls.names()

    def reset(self) -> np.ndarray:
        """Begin an episode in every copy; the first call begins at the seeds, later ones go on in the random streams.

        Returns observations `[M, B, ...]`.
        """
        return self._fold(self._see(self._begin()))

    def step(self, action: np.ndarray) -> Step:
        """Act in every row; copies whose episode ended are reset at once, so `obs` can always be acted on.

        action: int `[M, B]` or `[M, B, n]`, or float `[M, B, A]`. Continuous actions are clipped to the bounds of the
        action space (an unbounded policy keeps its own action in memory); one that is not a number becomes 0, because a
        member that has diverged must not take down the physics that others share.
        """
        expected = (self.members, self.rows, *self._action_shape)
        if action.shape != expected:
            raise ValueError(f"actions must be {expected}, not {action.shape}")
        if isinstance(self.action_space, Box):
            action = np.clip(np.nan_to_num(action), self.action_space.low, self.action_space.high)
        successor, reward, terminated, truncated = self._advance(action.reshape(-1, *self._action_shape))
        successor = self._see(successor)
        truncated = truncated & ~terminated
        obs = next_obs = self._fold(successor)
        ended = np.flatnonzero((terminated | truncated)[:: self.slots])
        if ended.size:
            started = successor.copy()
            started.reshape(-1, self.slots, *successor.shape[1:])[ended] = self._see(self._restart(ended))
            obs = self._fold(started)
        reward = reward.astype(np.float32, copy=False)
        over = None if self._over is None else self._fold(self._over)
        return Step(obs, next_obs, self._fold(reward), self._fold(terminated), self._fold(truncated), over)

    def render(self) -> np.ndarray:
        """The picture of copy 0 of member 0: uint8 `[H, W, 3]`. Needs `render_mode="rgb_array"` at making."""
        if self.render_mode is None:
            raise RuntimeError('made without render_mode="rgb_array"')
        return self._picture()

    def _see(self, obs: np.ndarray) -> np.ndarray:
        """What agents see of whole observations."""
        return obs if self._visible is None else obs[..., self._visible]

    def _fold(self, flat: np.ndarray) -> np.ndarray:
        return flat.reshape(self.members, self.rows, *flat.shape[1:])

    @abstractmethod
    def _begin(self) -> np.ndarray:
        """Reset all copies: observations `[N * slots, ...]`."""

    @abstractmethod
    def _advance(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Step all copies, resetting none: successors, rewards, terminated, truncated, each `[N * slots, ...]`."""

    @abstractmethod
    def _restart(self, ended: np.ndarray) -> np.ndarray:
        """Reset the copies with these indices, in that order: observations `[len(ended), slots, ...]`."""

    @abstractmethod
    def _picture(self) -> np.ndarray:
        """A picture of the first copy."""

    @abstractmethod
    def close(self) -> None:
        """Release what the environments hold."""

"""Environments of envpool (C++): classic control, Box2D, MuJoCo, Atari, MiniGrid and more; one pool for all members."""

from __future__ import annotations

import warnings
from typing import Any, cast

import envpool
import numpy as np
from envpool.registration import registry

from slmx.env.base import Env, Spaces
from slmx.env.flatten import action_start, flat_action_space, flat_obs_space, flatten, visible_space
from slmx.env.spec import RESERVED, THREADS, EnvSpec
from slmx.errors import SlmxError, SpecError, did_you_mean

# envpool calls every end at the last allowed step a truncation, even where the state is terminal, and learning would
# bootstrap from it. In these families the limit is nothing but a limit, so it is kept here, and the pool's lies one
# beyond. Elsewhere it enters the rewards (MiniGrid) or may, and stays with the pool.
LIMIT_ONLY = {"envpool.classic_control", "envpool.box2d", "envpool.mujoco.gym", "envpool.toy_text"}
UNLIMITED = 2**31 - 1
ATARI = "envpool.atari"
# Families that draw nothing, or whose renderer ends the whole process where there is no GL context.
WITHOUT_PICTURES = ("envpool.mujoco", "envpool.toy_text")
NOT_KWARGS = {
    *RESERVED,
    "base_path",
    "gym_reset_return_info",
    "max_num_players",
    "reward_threshold",
    "thread_affinity_offset",
}


class EnvpoolEnv(Env):
    """One pool of all copies. Where an episode ended, the pool resets in a further call for those copies alone."""

    backend = "envpool"

    def __init__(self, spec: EnvSpec, seeds: np.ndarray, render_mode: str | None = None, threads: int = 1):
        super().__init__(spec, seeds, render_mode, threads)
        family = registry.specs[spec.name][0]
        if render_mode is not None and not self.renders(spec):
            raise SlmxError(f'envpool cannot be trusted to render {spec.name}; use the backend "gymnasium"')
        self._limit = self.max_t if family in LIMIT_ONLY and self.max_t is not None else UNLIMITED
        pool_limit = self.max_t if self._limit == UNLIMITED else self._limit + 1
        options = _asked(spec)
        self._is_atari, self._episodic_life = family == ATARI, bool(options.get("episodic_life"))
        self._lives = np.zeros(seeds.size, np.int64)
        if pool_limit is not None:
            options["max_episode_steps"] = pool_limit
        if render_mode is not None:
            options["render_mode"] = render_mode
        with warnings.catch_warnings():
            _ignore_precision()
            self._pool = envpool.make(
                spec.name, "gymnasium", num_envs=seeds.size, seed=seeds.ravel().tolist(), num_threads=threads, **options
            )
            self._raw_obs_space, raw_action_space = self._pool.observation_space, self._pool.action_space
        self._flat_obs_space = flat_obs_space(self._raw_obs_space)
        self._action_start = action_start(raw_action_space)
        self._raw_action = tuple(raw_action_space.shape), raw_action_space.dtype
        self._elapsed = np.zeros(seeds.size, np.int64)

    @classmethod
    def names(cls) -> list[str]:
        return envpool.list_all_envs()

    @classmethod
    def has(cls, name: str) -> bool:
        return name in registry.specs

    @classmethod
    def takes(cls, spec: EnvSpec) -> bool:
        return not spec.wrappers and spec.kwargs.keys() <= _options(spec.name).keys()

    @classmethod
    def renders(cls, spec: EnvSpec) -> bool:
        return not registry.specs[spec.name][0].startswith(WITHOUT_PICTURES)

    @classmethod
    def describe(cls, spec: EnvSpec) -> Spaces:
        if spec.wrappers:
            raise SpecError("wrappers", 'only the backend "gymnasium" has wrappers')
        if spec.workers:
            raise SpecError("workers", THREADS.format(cls.backend), 'or choose the backend "gymnasium"')
        options = _options(spec.name)
        for key, value in spec.kwargs.items():
            if key not in options:
                raise SpecError(
                    f"kwargs.{key}", f"envpool's {spec.name} has no such option", did_you_mean(key, options)
                )
            kind = type(options[key])
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise SpecError(f"kwargs.{key}", f"must be of type {kind.__name__}, not {value!r}")
        if spec.atari is not None and registry.specs[spec.name][0] != ATARI:
            raise SpecError("atari", f"{spec.name} is no Atari game")
        found = _pool_spec(spec.name, _asked(spec))
        if found.config.max_num_players > 1:
            raise SpecError("name", f"{spec.name} has several players")
        with warnings.catch_warnings():
            _ignore_precision()
            obs_space, action_space = found.gymnasium_observation_space, found.gymnasium_action_space
        own_limit = found.config.max_episode_steps
        return Spaces(
            backend=cls.backend,
            obs_space=visible_space(flat_obs_space(obs_space), spec.visible),
            action_space=flat_action_space(action_space),
            max_t=spec.max_t or (own_limit if own_limit < UNLIMITED else None),
            reward_threshold=found.reward_threshold,
        )

    def close(self) -> None:
        self._pool.close()

    def _begin(self) -> np.ndarray:
        self._elapsed[:] = 0
        obs, told = self._pool.reset()
        if self._is_atari:
            self._lives[:] = told["lives"]
        return flatten(self._raw_obs_space, obs)

    def _advance(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        shape, dtype = self._raw_action
        action = (action + self._action_start).astype(dtype, copy=False).reshape(-1, *shape)
        obs, reward, terminated, truncated, told = self._pool.step(action)
        self._elapsed += 1
        self._pool_ended = terminated | truncated
        if self._is_atari:
            terminated = terminated | self._ends_of_atari(told, truncated)
        return flatten(self._raw_obs_space, obs), reward, terminated, truncated | (self._elapsed >= self._limit)

    def _restart(self, ended: np.ndarray) -> np.ndarray:
        # The pool resets what it ended itself, ignoring the action: a forced reset would begin a new game after every
        # lost life of an Atari game with episodic_life. What was ended by the limit kept here has to be forced.
        obs = np.empty((len(ended), 1, *self._flat_obs_space.shape), self._flat_obs_space.dtype)
        by_pool = self._pool_ended[ended]
        self._elapsed[ended] = 0
        shape, dtype = self._raw_action
        if by_pool.any():
            which = ended[by_pool]
            obs[by_pool] = self._place(which, self._pool.step(np.zeros((len(which), *shape), dtype), which))
        if not by_pool.all():
            which = ended[~by_pool]
            obs[~by_pool] = self._place(which, self._pool.reset(which))
        return obs

    def _place(self, which: np.ndarray, answer: tuple) -> np.ndarray:
        """The observations of a partial answer, in the order of `which`."""
        if not np.array_equal(answer[-1]["env_id"], which):
            raise RuntimeError(f"envpool answered for {answer[-1]['env_id']} instead of {which}")
        if self._is_atari:
            self._lives[which] = answer[-1]["lives"]
        return flatten(self._raw_obs_space, answer[0])[:, None]

    def _ends_of_atari(self, told: dict[str, Any], truncated: np.ndarray) -> np.ndarray:
        """Which games are in a terminal state, those at the limit too; notes which are over."""
        terminal = told["terminated"] > 0
        if self._episodic_life:
            self._over = terminal | truncated
            terminal = terminal | (truncated & (told["lives"] < self._lives))
            self._lives[:] = told["lives"]
        return terminal

    def _picture(self) -> np.ndarray:
        return cast(np.ndarray, self._pool.render(0))[0]


def _asked(spec: EnvSpec) -> dict[str, Any]:
    """The options with which the spec's keys make the environment."""
    atari = {} if spec.atari is None else spec.atari.model_dump(exclude={"reward_clip"})
    return {**spec.kwargs, **atari}


def _pool_spec(name: str, kwargs: dict[str, Any]) -> Any:
    try:
        return envpool.make_spec(name, **kwargs)
    except ImportError as error:
        raise SpecError("name", f"{name} cannot be loaded: {error}") from error
    except (TypeError, ValueError, RuntimeError) as error:
        if not kwargs:
            raise
        raise SpecError("kwargs", f"refused by envpool: {error}") from error


def _options(name: str) -> dict[str, Any]:
    """What the environment can be made with, and the defaults."""
    defaults = _pool_spec(name, {}).config._asdict()
    return {key: value for key, value in defaults.items() if key not in NOT_KWARGS}


def _ignore_precision() -> None:
    """envpool gives float64 bounds for float32 spaces; gymnasium warns of each."""
    warnings.filterwarnings("ignore", message=".*precision lowered.*")

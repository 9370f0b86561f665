"""Atari games in the Arcade Learning Environment's own vector environment (ale-py, an extra)."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete

from slmx.env.base import Env, Spaces
from slmx.env.flatten import visible_space
from slmx.env.spec import AtariSpec, EnvSpec
from slmx.errors import SlmxError, SpecError

LIMIT = 27_000  # steps until a game is truncated, where the spec sets no limit, as in envpool
FOR_TWO = {"combat", "joust", "maze_craze", "warlords"}  # without a second player the whole process ends
NEVER = 2**30  # frames; the limit is kept here, for there it would hide terminal states


class AleEnv(Env):
    """All copies in one `AtariVectorEnv`, by the names that envpool has: "Pong-v5".

    With episodic life, an episode that ends with a lost life goes on in the next one where it stands: pictures of the
    old life are still in its first stacks, and FIRE is pressed where games begin, not where lives do. (ALE's own
    `episodic_life` would begin a new game, and that only with the next step.)
    """

    backend = "ale"
    package = "ale_py", "atari"

    def __init__(self, spec: EnvSpec, seeds: np.ndarray, render_mode: str | None = None, threads: int = 1):
        super().__init__(spec, seeds, render_mode, threads)
        if render_mode is not None:
            raise SlmxError(f'ALE\'s vector environment does not render {spec.name}; use the backend "envpool"')
        from ale_py.vector_env import AtariVectorEnv

        self._games = AtariVectorEnv(
            _games()[spec.name], seeds.size, num_threads=threads, reward_clipping=False,
            max_num_frames_per_episode=NEVER, **_options(spec),
        )  # fmt: skip
        self._episodic_life = spec.atari is not None and spec.atari.episodic_life
        self._seeds: np.ndarray | None = seeds.ravel()
        self._elapsed = np.zeros(seeds.size, np.int64)

    @classmethod
    def names(cls) -> list[str]:
        return list(_games())

    @classmethod
    def takes(cls, spec: EnvSpec) -> bool:
        return not spec.wrappers and not spec.kwargs

    @classmethod
    def renders(cls, spec: EnvSpec) -> bool:
        return False

    @classmethod
    def describe(cls, spec: EnvSpec) -> Spaces:
        if spec.kwargs:
            raise SpecError("kwargs", 'the backend "ale" has none', 'how a game is seen and played is "atari"')
        options = _options(spec)
        pictures = options["stack_num"] * (1 if options["grayscale"] else 3)
        images = Box(0, 255, (pictures, options["img_height"], options["img_width"]), np.uint8)
        return Spaces(
            backend=cls.backend,
            obs_space=visible_space(images, spec.visible),
            action_space=Discrete(_actions(spec.name, options["full_action_space"])),
            max_t=spec.max_t or LIMIT,
        )

    def close(self) -> None:
        del self._games

    def _begin(self) -> np.ndarray:
        obs, told = self._games.reset(seed=self._seeds)
        self._seeds = None
        self._elapsed[:] = 0
        return self._note(obs, told)

    def _advance(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        before = self._lives
        obs, reward, terminated, _, told = self._games.step(action)
        self._elapsed += 1
        truncated = self._elapsed >= (self.max_t or LIMIT)
        self._ended = terminated | truncated
        obs = self._note(obs, told)
        if self._episodic_life:
            self._over = self._ended
            # a game may go on for some frames without a life left: it is over when ALE says so
            terminated = terminated | ((self._lives < before) & (self._lives > 0))
        return obs, reward, terminated, truncated

    def _restart(self, ended: np.ndarray) -> np.ndarray:
        if self._ended.any():  # else the next life begins
            self._elapsed[self._ended] = 0
            self._note(*self._games.reset(options={"reset_mask": self._ended}))
        return self._seen[ended][:, None]

    def _note(self, obs: np.ndarray, told: dict[str, np.ndarray]) -> np.ndarray:
        """The pictures of all copies `[N, C, H, W]`, which are kept, and so are the lives."""
        if obs.ndim == 5:  # in colour [N, stack, H, W, 3]
            obs = np.moveaxis(obs, -1, 2).reshape(len(obs), -1, *obs.shape[2:4])
        self._seen, self._lives = obs, told["lives"]
        return obs

    def _picture(self) -> np.ndarray:
        raise NotImplementedError  # nobody has one that renders


def _options(spec: EnvSpec) -> dict[str, Any]:
    """The spec's keys by the names that AtariVectorEnv has for them; its own defaults are the same."""
    options = (spec.atari or AtariSpec.model_validate({})).model_dump(exclude={"episodic_life", "reward_clip"})
    return options | {"grayscale": options.pop("gray_scale"), "frameskip": options.pop("frame_skip")}


@functools.cache
def _games() -> dict[str, str]:
    """The ids of ALE's games by name."""
    if importlib.util.find_spec("ale_py") is None:
        return {}
    from ale_py import roms
    from ale_py.registration import rom_id_to_name

    return {f"{rom_id_to_name(game)}-v5": game for game in roms.get_all_rom_ids() if game not in FOR_TWO}


@functools.cache
def _actions(name: str, full: bool) -> int:
    """How many actions a game has, or those of them that do something in it."""
    import ale_py
    from ale_py import roms

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no greeting
    ale = ale_py.ALEInterface()
    ale.loadROM(str(roms.get_rom_path(_games()[name])))
    return len(ale.getLegalActionSet() if full else ale.getMinimalActionSet())

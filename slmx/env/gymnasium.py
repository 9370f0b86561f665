"""Environments of gymnasium: any registered id, and classes of one's own."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec as Registration
from gymnasium.envs.registration import load_env_creator
from gymnasium.error import DependencyNotInstalled
from gymnasium.error import Error as GymnasiumError
from gymnasium.spaces import Box
from gymnasium.vector.utils import concatenate, create_empty_array

from slmx.env import wrappers
from slmx.env.base import Env, Spaces
from slmx.env.flatten import action_start, flat_action_space, flat_obs_space, flatten, is_image, visible_space
from slmx.env.spec import RESERVED, EnvSpec
from slmx.errors import SlmxError, SpecError, did_you_mean

ALE = "ALE/"  # how the names of ale-py's environments begin
UNFIT_WRAPPERS = {
    "Autoreset": "episodes are reset here already",
    "NormalizeObservation": 'its statistics are neither saved nor frozen; use "normalize_obs"',
    "NormalizeReward": 'its statistics are neither saved nor frozen; use "normalize_reward"',
}


class GymnasiumEnv(Env):
    """Copies in one process, stepped one after the other.

    Dict, Tuple, Discrete and MultiBinary observations are flattened, and so are MultiDiscrete and MultiBinary actions
    (see slmx/env/flatten.py). A class of one's own must draw its randomness from `self.np_random`, as gymnasium asks,
    to repeat under a seed.
    """

    backend = "gymnasium"

    def __init__(self, spec: EnvSpec, seeds: np.ndarray, render_mode: str | None = None, threads: int = 1):
        super().__init__(spec, seeds, render_mode, threads)
        registration = _registration(spec)
        self._name, self._registered = spec.name, _is_registered(registration)
        # gymnasium's SyncVectorEnv would do, but takes longer over one step of a small environment than that does
        self._copies = [_make_one(spec, registration, render_mode) for _ in range(seeds.size)]
        self._seeds: list[int | None] = seeds.ravel().tolist()
        self._raw_obs_space, space = self._copies[0].observation_space, self._copies[0].action_space
        self._action_start = action_start(space)
        self._raw_action = tuple(space.shape or ()), space.dtype
        # agents know the bounds in float32, by which float64 ones may be passed in the last bit
        self._bounds = (space.low, space.high) if isinstance(space, Box) and space.dtype != np.float32 else None

    @classmethod
    def names(cls) -> list[str]:
        return list(_registered())

    @classmethod
    def has(cls, name: str) -> bool:
        return ":" in name or name in _registered(name) or name.startswith(ALE)

    @classmethod
    def takes(cls, spec: EnvSpec) -> bool:
        return spec.atari is None

    @classmethod
    def describe(cls, spec: EnvSpec) -> Spaces:
        if spec.atari is not None:
            raise SpecError("atari", 'only the backend "envpool" plays Atari games so')
        registration = _registration(spec)
        env = _make_one(spec, registration, None)
        try:
            return _spaces(spec, registration, env)
        finally:
            env.close()

    @classmethod
    def renders(cls, spec: EnvSpec) -> bool:
        env = _make_one(spec, _registration(spec), None)
        try:
            return "rgb_array" in env.metadata.get("render_modes", ())
        finally:
            env.close()

    def close(self) -> None:
        for copy in self._copies:
            copy.close()

    def _begin(self) -> np.ndarray:
        obs = [copy.reset(seed=seed)[0] for copy, seed in zip(self._copies, self._seeds, strict=True)]
        self._seeds = [None] * len(self._copies)
        return self._flat(obs)

    def _advance(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        shape, dtype = self._raw_action
        action = (action + self._action_start).astype(dtype, copy=False).reshape(-1, *shape)
        if self._bounds is not None:
            action = action.clip(*self._bounds)
        steps = [copy.step(own) for copy, own in zip(self._copies, action, strict=True)]
        obs, reward, terminated, truncated, _ = zip(*steps, strict=True)
        return self._flat(obs), np.array(reward, float), np.array(terminated, bool), np.array(truncated, bool)

    def _restart(self, ended: np.ndarray) -> np.ndarray:
        return self._flat([self._copies[i].reset()[0] for i in ended])[:, None]

    def _picture(self) -> np.ndarray:
        try:
            return np.asarray(self._copies[0].render())
        except Exception as error:  # each graphics library has its own
            if not self._registered:
                raise
            raise SlmxError(f"{self._name} cannot be drawn here: {_said(error)}") from error

    def _flat(self, obs: Sequence[Any]) -> np.ndarray:
        """Observations of some copies, flattened."""
        space = self._raw_obs_space
        if is_image(space) or not isinstance(space, Box):
            return flatten(space, concatenate(space, obs, create_empty_array(space, len(obs))))
        return flatten(space, obs)


def _spaces(spec: EnvSpec, registration: Registration, env: gymnasium.Env) -> Spaces:
    return Spaces(
        backend=GymnasiumEnv.backend,
        obs_space=visible_space(flat_obs_space(env.observation_space), spec.visible),
        action_space=flat_action_space(env.action_space),
        max_t=spec.max_t or registration.max_episode_steps,
        reward_threshold=registration.reward_threshold,
    )


def _registered(name: str | None = None) -> dict[str, Registration]:
    """The environments by id. Those of Atari, which another package registers, are there unless `name` is another's."""
    if name not in gymnasium.registry and importlib.util.find_spec("ale_py") is not None:
        import ale_py

        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no greeting
    return gymnasium.registry


def _registration(spec: EnvSpec) -> Registration:
    """How gymnasium makes the environment: as registered, or from an import path. SpecError where it cannot."""
    module_name, colon, entry = spec.name.partition(":")
    if colon:
        module = _import(module_name, "name")
        if hasattr(module, entry):
            if not _makes_environments(getattr(module, entry)):
                raise SpecError("name", f'"{entry}" of {module_name} is no gymnasium.Env')
            found = Registration(id=entry, entry_point=getattr(module, entry))
        elif entry in gymnasium.registry:  # gymnasium's own way of writing an id that importing the module registers
            found = gymnasium.registry[entry]
        else:
            raise SpecError("name", f'"{entry}" is not in {module_name}', did_you_mean(entry, vars(module)))
    else:
        known = _registered(spec.name)
        if spec.name not in known:  # only those of Atari are known by the beginning of their names
            if importlib.util.find_spec("ale_py") is None:
                raise SpecError("name", "ale-py is not installed", "pip install 'slmx[atari]'")
            raise SpecError("name", f'unknown environment "{spec.name}"', did_you_mean(spec.name, known))
        found = known[spec.name]
    with _told(spec, _is_registered(found)):
        creator = load_env_creator(found.entry_point) if isinstance(found.entry_point, str) else found.entry_point
    _check_call(creator, {**found.kwargs, **spec.kwargs}, "kwargs")
    return found


def _is_registered(registration: Registration) -> bool:
    """Whether gymnasium knows the environment by an id; else it is a class of one's own."""
    return gymnasium.registry.get(registration.id) is registration


def _makes_environments(found: Any) -> bool:
    """Whether it is a class of environments, or a function that may return one."""
    return issubclass(found, gymnasium.Env) if isinstance(found, type) else callable(found)


def _make_one(spec: EnvSpec, registration: Registration, render_mode: str | None) -> gymnasium.Env:
    options = dict(spec.kwargs) if render_mode is None else {**spec.kwargs, "render_mode": render_mode}
    with _told(spec, _is_registered(registration)):
        env = gymnasium.make(registration, max_episode_steps=spec.max_t, disable_env_checker=True, **options)
    for i, wrapper in enumerate(spec.wrappers):
        name, options = (wrapper, {}) if isinstance(wrapper, str) else (wrapper.name, wrapper.model_extra or {})
        env = _wrapped(env, name, options, f"wrappers.{i}")
    return env


def _wrapped(env: gymnasium.Env, name: str, options: dict[str, Any], path: str) -> gymnasium.Env:
    """An environment in a wrapper with these arguments. SpecError where there is no such, or it refuses them."""
    kind = _wrapper_class(name, path)
    _check_call(kind, options, path, env)
    try:
        return kind(env, **options)
    except SpecError as error:
        raise error.under(path) from error
    except Exception as error:
        if getattr(kind, "__module__", "").partition(".")[0] not in ("gymnasium", "slmx"):
            raise  # one's own, which may fail by itself
        raise SpecError(path, f"{name}: {_said(error)}") from error


@contextmanager
def _told(spec: EnvSpec, registered: bool) -> Iterator[None]:
    """What is raised while an environment is loaded or made, as a SpecError; one's own may fail by itself."""
    try:
        yield
    except (DependencyNotInstalled, ImportError) as error:
        if not registered and isinstance(error, ImportError):
            raise
        if getattr(error.__cause__ or error, "name", None) == "mujoco":
            raise SpecError("name", "mujoco is not installed", "pip install 'slmx[mujoco]'") from error
        raise SpecError("name", f"{spec.name} cannot be loaded: {_said(error)}") from error
    except Exception as error:
        if not registered and not (spec.kwargs and isinstance(error, GymnasiumError)):
            raise
        if spec.kwargs:
            raise SpecError("kwargs", f"refused by {spec.name}: {_said(error)}") from error
        raise SpecError("name", f"{spec.name} cannot be made: {_said(error)}") from error


def _said(error: Exception) -> str:
    """What an error says, in one line; of what kind it is where that is part of it."""
    text = " ".join(str(error).split())
    plain = isinstance(error, GymnasiumError | AssertionError | ImportError | TypeError | ValueError) and text
    return text if plain else f"{type(error).__name__}: {text}".removesuffix(": ")


def _wrapper_class(name: str, path: str) -> Callable[..., gymnasium.Env]:
    """The wrapper of a name: a class of slmx or gymnasium; by its import path, anything that can be called."""
    module_name, colon, entry = name.rpartition(":")
    if colon:
        module = _import(module_name, path)
    else:
        module = wrappers if name in wrappers.__all__ else gymnasium.wrappers
    try:
        found: Any = getattr(module, entry, None)  # some of gymnasium's are imported then
    except (GymnasiumError, ImportError) as error:
        raise SpecError(path, f"{name} cannot be loaded: {_said(error)}") from error
    if not (callable(found) if colon else _is_wrapper(found)):
        shipped = (key for key, each in vars(gymnasium.wrappers).items() if _is_wrapper(each))
        known = dir(module) if colon else [*wrappers.__all__, *shipped]
        raise SpecError(path, f'unknown wrapper "{name}"', did_you_mean(entry, known))
    for unfit, reason in UNFIT_WRAPPERS.items():
        if found is getattr(gymnasium.wrappers, unfit):
            raise SpecError(path, f"{name} does not fit here", reason)
    return found


def _is_wrapper(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, gymnasium.Wrapper)


def _import(name: str, path: str) -> Any:
    if not name or name.startswith("."):
        raise SpecError(path, f'"{name}" is no module', 'one\'s own is named in full, "module:Class"')
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and fails by itself
        raise SpecError(path, f'there is no module "{name}"') from error


def _check_call(function: Any, kwargs: dict[str, Any], path: str, *args: Any) -> None:
    """SpecError where a function does not take these arguments."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        known = [key for key in list(signature.parameters)[len(args) :] if key not in RESERVED]
        unknown = [key for key in kwargs if key not in signature.parameters]
        hint = did_you_mean(unknown[0], known, kwargs) if unknown else ""
        raise SpecError(path, f"{function.__name__}: {error}", hint) from error

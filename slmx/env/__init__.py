"""Environments: `describe(spec)` says what one is, `make(spec, seeds)` runs it.

A new backend is a class under slmx/env/base.py's contract, a line in BACKENDS and a word in `EnvSpec.backend`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from slmx.env.spec import EnvSpec, WrapperSpec
from slmx.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from slmx.env.base import Env, Spaces

# In the order in which "auto" asks them; imported when asked.
BACKENDS = {
    "envpool": "slmx.env.envpool:EnvpoolEnv",
    "gymnasium": "slmx.env.gymnasium:GymnasiumEnv",
}
IMPORTING = "gymnasium"  # which of them runs environments that are named by their import path

WORKERS = "slmx.env.workers:WorkerEnv"

__all__ = ["BACKENDS", "EnvSpec", "WrapperSpec", "choose", "describe", "filmable", "make"]


def describe(spec: EnvSpec) -> Spaces:
    """The backend, spaces and limits of an environment, without running it (and without torch).

    Raises SpecError for an unknown id, with the nearest known one, and for what the environment cannot be run with.
    """
    spaces = choose(spec).describe(spec)
    if spaces.obs_space.dtype.kind == "u":
        if spec.normalize_obs:
            raise SpecError("normalize_obs", "images are scaled by the network, not normalised")
        if spec.clip_obs is not None:
            raise SpecError("clip_obs", "images are scaled by the network, not clipped")
    return spaces


def make(spec: EnvSpec, seeds: np.ndarray, render_mode: str | None = None, threads: int = 1) -> Env:
    """An environment with one copy per seed. seeds: int `[M, copies]` in [0, 2**31). threads: of the backend."""
    kind = choose(spec)
    if spec.workers:
        kind = _load(WORKERS)
    return kind(spec, seeds, render_mode, threads)


def filmable(spec: EnvSpec) -> EnvSpec:
    """The environment as one of which pictures can be taken: as it is run, or else its twin of that id in gymnasium.

    There the same policy is seen, in that twin's dynamics and episodes. SpecError where there is neither.
    """
    kind, twin = choose(spec), spec.model_copy(update={"backend": "gymnasium"})
    if kind.renders(spec):
        return spec
    wrong = f"{kind.backend} draws no pictures of {spec.name}"
    other = _load(BACKENDS["gymnasium"])
    if kind is other or not other.has(spec.name):
        raise SpecError("", wrong if kind is other else f"{wrong}, and gymnasium has no environment of that id")
    try:
        here, there = describe(spec), describe(twin)
    except SpecError as error:
        raise SpecError("", f"{wrong}, and gymnasium's cannot be run here: {error}") from error
    if (here.obs_space, here.action_space) != (there.obs_space, there.action_space):
        raise SpecError("", f"{wrong}, and gymnasium's has other observations or actions")
    return twin


def choose(spec: EnvSpec) -> type[Env]:
    """The class that runs the environment: the named backend, or the first that has the id and takes the other keys."""
    for path, wrong in spec.conflicts().items():
        raise SpecError(path, wrong)
    backend = IMPORTING if spec.backend == "auto" and ":" in spec.name else spec.backend
    if backend != "auto" and (kind := _load(BACKENDS[backend])).has(spec.name):
        return kind  # without the others, of which one takes seconds to import
    every = {name: _load(path) for name, path in BACKENDS.items()}
    having = {name: kind for name, kind in every.items() if kind.has(spec.name)}
    if backend == "auto" and having:
        return next((kind for kind in having.values() if kind.takes(spec)), next(iter(having.values())))
    if having:
        raise SpecError("name", f'the backend "{spec.backend}" has no "{spec.name}"', f"known to: {', '.join(having)}")
    asked = every.values() if spec.backend == "auto" else [every[spec.backend]]
    known = {name for kind in asked for name in kind.names()}
    versions = [name for name in known if name.rpartition("-v")[0] == spec.name.rpartition("-v")[0] != ""]
    newest = sorted(versions, key=lambda name: int(name.rpartition("-v")[2]))[-1:]
    raise SpecError("name", f'unknown environment "{spec.name}"', did_you_mean(spec.name, newest or known))


def _load(path: str) -> type[Env]:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)

"""Environments: `describe(spec)` says what one is, `make(spec, seeds)` runs it.

A new backend is a class under slmx/env/base.py's contract, a line in BACKENDS and a word in `EnvSpec.backend`.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

from slmx.env.spec import EnvSpec, WrapperSpec
from slmx.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from slmx.env.base import Env, Spaces

# Imported when asked.
BACKENDS = {
    "envpool": "slmx.env.envpool:EnvpoolEnv",
    "gymnasium": "slmx.env.gymnasium:GymnasiumEnv",
    "ale": "slmx.env.ale:AleEnv",
}
AUTO = "envpool", "gymnasium"  # those that "auto" asks, in this order
IMPORTING = "gymnasium"  # which of them runs environments that are named by their import path
TWINS = {"envpool": "gymnasium", "ale": "envpool"}  # who draws what they do not

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
    """The environment as one of which pictures can be taken: as it is run, or else its twin, which another backend has.

    There the same policy is seen, in that twin's dynamics and episodes. SpecError where there is neither.
    """
    kind = choose(spec)
    if kind.renders(spec):
        return spec
    wrong, here = f"{kind.backend} draws no pictures of {spec.name}", describe(spec)
    twin = TWINS.get(kind.backend)
    if twin is None or not _load(BACKENDS[twin]).has(spec.name):
        raise SpecError("", wrong if twin is None else f"{wrong}, and {twin} has no environment of that id")
    other = spec.model_copy(update={"backend": twin})
    try:
        there = describe(other)
    except SpecError as error:
        raise SpecError("", f"{wrong}, and {twin}'s cannot be run here: {error}") from error
    if (here.obs_space, here.action_space) != (there.obs_space, there.action_space):
        raise SpecError("", f"{wrong}, and {twin}'s has other observations or actions")
    return other


def choose(spec: EnvSpec) -> type[Env]:
    """The class that runs the environment: the named backend, or the first that has the id and takes the other keys."""
    for path, wrong in spec.conflicts().items():
        raise SpecError(path, wrong)
    backend = IMPORTING if spec.backend == "auto" and ":" in spec.name else spec.backend
    asked = [_load(BACKENDS[name]) for name in (AUTO if backend == "auto" else [backend])]
    if having := [kind for kind in asked if kind.has(spec.name)]:
        return next((kind for kind in having if kind.takes(spec)), having[0])
    for kind in asked:
        if kind.package and importlib.util.find_spec(kind.package[0]) is None:
            package, extra = kind.package
            raise SpecError("backend", f"{package.replace('_', '-')} is not installed", f"pip install 'slmx[{extra}]'")
    if backend != "auto" and (others := [name for name, path in BACKENDS.items() if _load(path).has(spec.name)]):
        raise SpecError("name", f'the backend "{backend}" has no "{spec.name}"', f"known to: {', '.join(others)}")
    known = {name for kind in asked for name in kind.names()}
    versions = [name for name in known if name.rpartition("-v")[0] == spec.name.rpartition("-v")[0] != ""]
    newest = sorted(versions, key=lambda name: int(name.rpartition("-v")[2]))[-1:]
    raise SpecError("name", f'unknown environment "{spec.name}"', did_you_mean(spec.name, newest or known))


def _load(path: str) -> type[Env]:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)

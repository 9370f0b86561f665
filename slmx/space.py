"""The AEB space: which agent has which bodies in which environment, as a list of coordinates and two index maps.

A body `(a, e, b)` is one incarnation of agent `a` in environment `e`. Rows of an environment are its bodies; `gather`
hands each agent the rows of its ports, `scatter` puts their actions back. Every row belongs to exactly one port, so
scatter after gather is the identity.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from slmx.errors import SpecError, counted

if TYPE_CHECKING:
    from slmx.spec.model import BodySpec


class Body(NamedTuple):
    """One incarnation of an agent in an environment."""

    agent: int
    env: int
    body: int


def resolve(body: BodySpec, agents: int, envs: int) -> Space:
    """The space that a spec's body block describes, for so many agents and environments.

    outer: every agent in every environment; inner: agent i in environment i; custom: `num` lists the bodies.
    Raises SpecError, at `num` or `product`, for what does not fit.
    """
    if body.product == "custom":
        return _custom(body.num, agents, envs)
    listed = [body.num] * envs if isinstance(body.num, int) else body.num
    counts = [count for count in listed if isinstance(count, int)]
    if len(counts) != len(listed):
        raise SpecError("num", "lists of [agent, env, body] need product custom", f"product is {body.product}")
    if len(counts) != envs:
        message = f"has {counted(len(counts), 'number')} for {counted(envs, 'environment')}"
        raise SpecError("num", message, "give one number, or one each")
    if any(count < 1 for count in counts):
        raise SpecError("num", f"{body.num}: every environment needs at least one body of each of its agents")
    if body.product == "inner":
        if agents != envs:
            raise SpecError("product", f"inner pairs agents with environments, but there are {agents} and {envs}")
        pairs = [(i, i) for i in range(agents)]
    else:
        pairs = [(a, e) for a in range(agents) for e in range(envs)]
    return Space(tuple(Body(a, e, b) for a, e in pairs for b in range(counts[e])))


def _custom(num: object, agents: int, envs: int) -> Space:
    if not isinstance(num, list) or not num or any(not isinstance(t, list) or len(t) != 3 for t in num):
        raise SpecError("num", f"product custom needs a list of [agent, env, body], not {num!r}")
    bodies = sorted(Body(*triple) for triple in num)
    for body in bodies:
        if not (0 <= body.agent < agents and 0 <= body.env < envs and body.body >= 0):
            present = f"{counted(agents, 'agent')} and {counted(envs, 'environment')}"
            raise SpecError("num", f"{list(body)} is outside the spec's {present}")
    for a, b in pairwise(bodies):
        if a == b:
            raise SpecError("num", f"{list(a)} stands twice")
    for axis, count in (("agent", agents), ("env", envs)):
        if missing := set(range(count)) - {getattr(body, axis) for body in bodies}:
            raise SpecError("num", f"{axis} {min(missing)} has no body")
    known = set(bodies)
    for body in bodies:
        if body.body and Body(body.agent, body.env, body.body - 1) not in known:
            raise SpecError(
                "num", f"there is a hole: {list(body)} but no {[body.agent, body.env, body.body - 1]}",
                "number the bodies of an agent in an environment 0, 1, 2, ...",
            )  # fmt: skip
    return Space(tuple(bodies))


@dataclass(frozen=True)
class Place:
    """A port: where the bodies of an agent stand among the rows of one environment."""

    agent: int
    env: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Space:
    """The bodies, ordered by agent, environment and number."""

    bodies: tuple[Body, ...]

    @cached_property
    def counts(self) -> dict[tuple[int, int], int]:
        """Bodies per port `(agent, env)`, ports ordered."""
        counts: dict[tuple[int, int], int] = {}
        for body in sorted(self.bodies):
            counts[body.agent, body.env] = counts.get((body.agent, body.env), 0) + 1
        return counts

    @cached_property
    def rows(self) -> dict[int, int]:
        """Bodies of all agents per environment."""
        return dict(Counter(body.env for body in self.bodies))

    def steps(self, frames: Sequence[int]) -> dict[tuple[int, int], int]:
        """Steps of each body of a port, where environments have so many frames, those of all their bodies together."""
        return {(agent, env): math.ceil(frames[env] / self.rows[env]) for agent, env in self.counts}

    def with_counts(self, count: Callable[[int, int], int]) -> Space:
        """The same ports with `count(agent, env)` bodies each."""
        return Space(tuple(Body(a, e, b) for a, e in self.counts for b in range(count(a, e))))

    def share(self, env: int, slots: int) -> int:
        """How many slots of each copy of an environment every one of its agents fills."""
        agents = sum(e == env for _, e in self.counts)
        if slots % agents:
            raise SpecError(
                "num", f"environment {env} has {counted(slots, 'slot')}, which {agents} agents cannot share equally"
            )
        return slots // agents

    def layout(self, slots: Sequence[int]) -> Layout:
        """Where every body stands, for environments with so many slots a copy.

        An environment of one slot gives each body a copy of its own; one of several is filled by its agents in equal
        consecutive shares of the slots of as many copies as they need.
        """
        places, copies = [], [0] * len(slots)
        agents = 1 + max(body.agent for body in self.bodies)
        for (agent, env), count in self.counts.items():
            if slots[env] == 1:
                rows = tuple(range(copies[env], copies[env] + count))
                copies[env] += count
            else:
                share = self.share(env, slots[env])
                here = [a for a, e in self.counts if e == env]
                if count % share or any(self.counts[a, env] != count for a in here):
                    raise SpecError(
                        "num",
                        f"environment {env} has {slots[env]} slots, {share} for each of {counted(len(here), 'agent')}: "
                        f"their bodies must be equally many and a multiple of {share}, not {count}",
                    )  # fmt: skip
                first = here.index(agent) * share
                rows = tuple(b // share * slots[env] + first + b % share for b in range(count))
                copies[env] = count // share
            places.append(Place(agent, env, rows))
        return Layout([[p for p in places if p.agent == a] for a in range(agents)], copies, list(slots))


class Layout:
    """Bodies on rows: `places[agent][port]`; `copies[env]`; `rows[env]` rows of one member."""

    def __init__(self, places: list[list[Place]], copies: list[int], slots: list[int]):
        self.places, self.copies = places, copies
        self.rows = [c * s for c, s in zip(copies, slots, strict=True)]
        # the common case, one port that fills its environment in order, needs no copying
        self._index: dict[tuple[int, int], Any] = {
            (place.agent, place.env): slice(None)
            if place.rows == tuple(range(self.rows[place.env]))
            else list(place.rows)
            for own in places
            for place in own
        }

    def gather(self, values: Sequence[Any]) -> list[list[Any]]:
        """From values `[M, rows, ...]` by environment to values `[M, B, ...]` by agent and port; None stays None."""
        return [
            [None if values[p.env] is None else self.take(p.agent, p.env, values[p.env]) for p in own]
            for own in self.places
        ]

    def take(self, agent: int, env: int, value: Any) -> Any:
        """The rows `[M, B, ...]` of one port from all rows `[M, rows, ...]` of its environment."""
        index = self._index[agent, env]
        return value if isinstance(index, slice) else value[:, index]

    def alone(self, agent: int, env: int) -> bool:
        """Whether all rows of an environment are those of that agent's port, in order."""
        return isinstance(self._index[agent, env], slice)

    def scatter(self, values: Sequence[Sequence[Any]]) -> list[Any]:
        """From arrays by agent and port to arrays by environment; None where no port of an environment has one."""
        result: list[Any] = [None] * len(self.rows)
        for own, arrays in zip(self.places, values, strict=True):
            for place, array in zip(own, arrays, strict=True):
                index = self._index[place.agent, place.env]
                if array is None:
                    continue
                if isinstance(index, slice):
                    result[place.env] = array
                    continue
                if result[place.env] is None:
                    import numpy as np

                    result[place.env] = np.empty((len(array), self.rows[place.env], *array.shape[2:]), array.dtype)
                result[place.env][:, index] = array
        return result

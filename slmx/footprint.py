"""How many bytes replay memories take, before anything is trained."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from slmx.env import describe
from slmx.errors import SpecError, counted
from slmx.memory import room
from slmx.memory.replay import Replay
from slmx.plain import value_at
from slmx.space import resolve
from slmx.spec.dump import dump
from slmx.spec.registry import REGISTRIES

if TYPE_CHECKING:
    from gymnasium.spaces import Box

    from slmx.spec.model import Spec


def ports(spec: Spec) -> list[tuple[int, Box, int]]:
    """(agent, observation space, action size) of each agent in each environment it lives in."""
    spaces = [describe(env) for env in spec.env]
    found = []
    for agent, env in resolve(spec.body, len(spec.agent), len(spec.env)).counts:
        found.append((agent, spaces[env].obs_space, spaces[env].action_size))
    return found


def memory_bytes(spec: Spec) -> list[tuple[str, int]]:
    """The key that says how many rows each of one member's replay memories has, and about how many bytes it takes.

    An agent has one for each port, and another where it imitates itself. A row has observations, an action, reward and
    end.
    """
    found = []
    for agent, obs_space, outputs in ports(spec):
        hyper: Any = spec.agent[agent].algorithm
        memory = spec.agent[agent].memory
        kind = None if memory is None else REGISTRIES["memory"].find(memory.name)
        rows = getattr(memory, "max_size", 0)
        if rows:
            observed = getattr(kind, "observed_bytes", Replay.observed_bytes)(obs_space.shape, obs_space.dtype.itemsize)
            steps = getattr(memory, "sequence_length", 1) + getattr(memory, "burn_in", 0)
            found.append((f"agent.{agent}.memory.max_size", rows * steps * (observed + (outputs + 2) * 4)))
        if getattr(hyper, "sil_iter", None) is not None:  # whose rows have but one observation
            observed = math.prod(obs_space.shape) * obs_space.dtype.itemsize
            found.append((f"agent.{agent}.algorithm.sil_max_size", hyper.sil_max_size * (observed + (outputs + 2) * 4)))
    return found


def refuse_what_cannot_fit(spec: Spec, members: int, programs: int = 1) -> None:
    """SpecError where the replay memories of so many members in each of so many programs have nowhere to lie.

    One that is large lies in a file, so it is the disk that has to hold it. A GPU's memory is not looked at.
    """
    if spec.meta.device == "cuda":
        return
    each = [(key, size * members) for key, size in memory_bytes(spec)]
    for where, there, own in (
        ("in main memory", room.machine_bytes(), [own for own in each if not room.mapped(own[1])]),
        (f"in {room.scratch()}", room.disk_bytes(), [own for own in each if room.mapped(own[1])]),
    ):
        if (needed := sum(size for _, size in own) * programs) > there:
            key, _ = max(own, key=lambda memory: memory[1])
            count = members * programs
            raise SpecError(
                key,
                f"the replay memories of {counted(count, 'session')} that train at once take {readable(needed)}, "
                f"and there are {readable(there)} {where}",
                f"at most {int(value_at(dump(spec), key) * there / needed):,} would fit",
            )


def readable(size: float) -> str:
    """A number of bytes as people write it: "1.5 GB"."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"

"""How many sessions one program of a search trains."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from slmx.footprint import memory_bytes, ports
from slmx.search.scheduler import scheduler_of
from slmx.spec.registry import REGISTRIES

if TYPE_CHECKING:
    from slmx.spec.model import Spec

# numbers that a program multiplies for one observation of each member, on a core: 64x64 networks gain up to a hundred
# members, 256x256 up to eight
PRODUCTS = 2**20
GPU_PRODUCTS = 2**26
REMEMBERED = 2**30  # bytes that the replay memories of a program may take
LARGEST = 256
ASKED_AT_ONCE = 8  # a searcher that learns is told this many times before its settings are used up
UNKNOWN = 10_000  # products of a network that does not say how many it has


def settings_a_program(spec: Spec, settings: int, workers: int, learns: bool) -> int:
    """How many settings share a program at most, by meta.max_member: their sessions are its members.

    Where all are known beforehand, each worker gets equally many programs, so that none waits for another at the end.
    """
    meta, scheduler = spec.meta, scheduler_of(spec)
    if scheduler and (scheduler.whole or scheduler.alone):
        return settings if scheduler.whole else 1
    most = max(1, (room(spec) if meta.max_member == "auto" else meta.max_member) // meta.max_session)
    if not learns:
        rounds = math.ceil(settings / (workers * most))
        return math.ceil(settings / (workers * rounds))
    if meta.max_member != "auto":
        return most
    return max(1, min(settings // (ASKED_AT_ONCE * workers), most))


def room(spec: Spec) -> int:
    """How many members a program may have, by the size of their networks and of their memories."""
    products = GPU_PRODUCTS if spec.meta.device != "cpu" and spec.meta.resources.gpu else PRODUCTS
    most = min(LARGEST, products // max(1, member_products(spec)))
    return max(1, min(most, REMEMBERED // max(1, sum(size for _, size in memory_bytes(spec)))))


def member_products(spec: Spec) -> int:
    """About how many numbers one member's networks multiply: an actor's and a critic's for each port."""
    total = 0
    for agent, obs_space, outputs in ports(spec):
        net = spec.agent[agent].net
        kind = None if net is None else REGISTRIES["net"].find(getattr(net, "type", None))
        count = getattr(kind, "multiplications", None)
        if count is not None:
            total += 2 * count(net, obs_space.shape, outputs)
        else:
            total += UNKNOWN if net else 0
    return total

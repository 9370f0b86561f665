"""How many sessions one program of a search trains."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from slmx.env import describe
from slmx.search.scheduler import scheduler_of
from slmx.space import resolve

if TYPE_CHECKING:
    from slmx.spec.model import Spec

WEIGHTS = 2**20  # weights of a program on a core: 64x64 networks gain up to a hundred members, 256x256 up to eight
GPU_WEIGHTS = 2**26
REMEMBERED = 2**30  # bytes that the replay memories of a program may take
LARGEST = 256
ASKED_AT_ONCE = 8  # a searcher that learns is told this many times before its settings are used up
UNKNOWN = 10_000  # weights of a network that does not say its hid_layers
GATES = 4  # maps of a recurrent layer, at most


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
    weights = GPU_WEIGHTS if spec.meta.device != "cpu" and spec.meta.resources.gpu else WEIGHTS
    most = min(LARGEST, weights // max(1, member_weights(spec)))
    return max(1, min(most, REMEMBERED // max(1, member_bytes(spec))))


def member_weights(spec: Spec) -> int:
    """About how many weights one member's networks have: an actor's and a critic's for each port."""
    total = 0
    for agent, inputs, outputs in _ports(spec):
        net = spec.agent[agent].net
        hidden = getattr(net, "hid_layers", None)
        if hidden is None:
            total += UNKNOWN if net else 0
            continue
        sizes = [inputs, *hidden, outputs]
        total += 2 * sum(one * other for one, other in itertools.pairwise(sizes))
        cells = [hidden[-1], *[getattr(net, "rnn_hidden_size", 0)] * getattr(net, "rnn_num_layers", 0)]
        total += 2 * GATES * sum((one + other) * other for one, other in itertools.pairwise(cells))
    return total


def member_bytes(spec: Spec) -> int:
    """About how many bytes one member's replay memories take: two observations, an action, reward and end a row."""
    total = 0
    for agent, inputs, outputs in _ports(spec):
        memory = spec.agent[agent].memory
        steps = getattr(memory, "sequence_length", 1) + getattr(memory, "burn_in", 0)
        total += getattr(memory, "max_size", 0) * steps * (2 * inputs + outputs + 2) * 4
    return total


def _ports(spec: Spec) -> list[tuple[int, int, int]]:
    """(agent, observation size, action size) of each agent in each environment it lives in."""
    spaces = [describe(env) for env in spec.env]
    found = []
    for agent, env in resolve(spec.body, len(spec.agent), len(spec.env)).counts:
        action = spaces[env].action_space
        outputs = int(getattr(action, "n", 0)) or math.prod(action.shape or (1,))
        found.append((agent, math.prod(spaces[env].obs_space.shape), outputs))
    return found

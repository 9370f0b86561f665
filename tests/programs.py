"""Small programs for the generic tests: a spec of one agent and one environment, and M sessions of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from slmx.algorithm.base import Algorithm
from slmx.algorithm.replay_actor import ReplayActor
from slmx.session import Program, Session
from slmx.spec.build import build
from slmx.spec.model import Spec

Keys = dict[str, Any]

NET: Keys = {"type": "MLP", "hid_layers": [16], "optim_spec": {"name": "Adam", "lr": 0.01}}


def spec(
    algorithm: Keys, memory: Keys, env: Keys, net: Keys | None = None, bodies: int = 1, meta: Keys | None = None
) -> Spec:
    """The spec of one agent in one environment; the network is small by default. Empty groups are left out."""
    agent = {"name": "agent", "algorithm": algorithm, "memory": memory, "net": NET if net is None else net}
    agent = {key: group for key, group in agent.items() if group}
    raw = {"agent": agent, "env": env, "body": {"num": bodies}, "meta": {"eval_episode": 1, **(meta or {})}}
    return build("test", raw)


def program(specs: Spec | Sequence[Spec], members: int = 1, trial: int = 0) -> Program:
    """`members` sessions of a spec, or a session of each of several specs (all of them session 0)."""
    if isinstance(specs, Spec):
        return Program([Session(specs, trial, index) for index in range(members)])
    return Program([Session(one, trial, 0) for one in specs])


def trained(specs: Spec | Sequence[Spec], members: int = 1, trial: int = 0) -> Program:
    """The same after its training."""
    result = program(specs, members, trial)
    result.run()
    return result


def parameters(agent: Algorithm) -> Tensor:
    """All that an agent has learned, `[M, P]`."""
    networks = agent.networks()
    return torch.cat(
        [p.detach().flatten(1) for key in sorted(networks) for p in networks[key].state_dict().values()], 1
    )


def values(agent: Any, *obs: Sequence[float]) -> Tensor:
    """What an agent expects from each observation: `[M, N]`, or `[M, N, A]` where it values actions."""
    x = torch.tensor(obs, dtype=agent.setting.dtype).expand(agent.members, len(obs), -1)
    with torch.no_grad():
        if isinstance(agent, ReplayActor):
            every = agent.critics.every[0]
            return agent.critics(0, x, None if every else agent.as_vector(0, agent.exploit(0, x))).amin(0)
        if hasattr(agent.net, "value"):
            return agent.net.value(0, x)
        return agent.values(agent.outputs(agent.net, 0, x))


def greedy(agent: Any, *obs: Sequence[float]) -> Tensor:
    """What an agent does without exploring, `[M, N]` or `[M, N, A]`."""
    x = torch.tensor(obs, dtype=agent.setting.dtype).expand(agent.members, len(obs), -1)
    action = agent.act([x], greedy=True)[0]
    assert action is not None
    return action

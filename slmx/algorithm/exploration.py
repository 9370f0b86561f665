"""Actions from Q-values while learning."""

from __future__ import annotations

from slmx.dist import Categorical
from slmx.lazy import torch
from slmx.member.schedule import Schedule
from slmx.member.streams import Streams


def epsilon_greedy(q: torch.Tensor, epsilon: torch.Tensor, streams: Streams) -> torch.Tensor:
    """Actions `[M, N]`: a uniformly random one with probability epsilon `[M, 1]`, else the best of q `[M, N, A]`."""
    n, choices = q.shape[1:]
    explores = streams.uniform(n) < epsilon
    return torch.where(explores, streams.integers(choices, n), q.argmax(-1))


def boltzmann(q: torch.Tensor, temperature: torch.Tensor, streams: Streams) -> torch.Tensor:
    """Actions `[M, N]` with log-probabilities proportional to q `[M, N, A]` over a temperature `[M, 1]`."""
    return Categorical(q / temperature[..., None]).sample(streams.uniform(q.shape[1]))


EXPLORATIONS = {"epsilon_greedy": epsilon_greedy, "boltzmann": boltzmann}


def explore_conflicts(action_policy: str, explore_var: float | Schedule) -> dict[str, str]:
    """What is wrong with a pair of spec values, by key."""
    if action_policy == "epsilon_greedy" and not explore_var <= 1:
        return {"explore_var": "an epsilon is a probability, at most 1"}
    if action_policy == "boltzmann" and not explore_var > 0:
        return {"explore_var": "a temperature must be above 0"}
    return {}

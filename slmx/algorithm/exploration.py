"""Actions from Q-values while learning, and the keys that choose them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from slmx.dist import Categorical
from slmx.lazy import torch
from slmx.member.hyper import NamedHyper, PerMember, Scheduled
from slmx.member.schedule import Schedule

if TYPE_CHECKING:
    from slmx.member.streams import Streams

    Values = Callable[[], torch.Tensor]


def epsilon_greedy(q: Values, epsilon: torch.Tensor, streams: Streams, n: int, choices: int) -> torch.Tensor:
    """A uniformly random action with probability epsilon `[M, 1]`, else the best. Where all explore, q is not asked."""
    explores, drawn = streams.uniform(n) < epsilon, streams.integers(choices, n)
    return drawn if explores.all() else torch.where(explores, drawn, q().argmax(-1))


def boltzmann(q: Values, temperature: torch.Tensor, streams: Streams, n: int, choices: int) -> torch.Tensor:
    """Actions with log-probabilities proportional to their values over a temperature `[M, 1]`."""
    return Categorical(q() / temperature[..., None]).sample(streams.uniform(n))


def greedy(q: Values, unused: torch.Tensor, streams: Streams, n: int, choices: int) -> torch.Tensor:
    """The best actions: what explores is the noise in q."""
    return q().argmax(-1)


# Each gives actions `[M, n]`, whole numbers below `choices`, by values `[M, n, choices]` that q works out when asked.
EXPLORATIONS = {"epsilon_greedy": epsilon_greedy, "boltzmann": boltzmann, "greedy": greedy}


class ExploringHyper(NamedHyper):
    """What every algorithm has that acts on Q-values."""

    gamma: PerMember = Field(0.99, ge=0, le=1, description="discount factor")
    action_policy: Literal["epsilon_greedy", "boltzmann", "greedy"] = Field(
        "epsilon_greedy", description="how it explores; greedy: by the noise of a noisy network alone"
    )
    explore_var: Scheduled = Field(
        Schedule(name="linear_decay", start_val=1.0, end_val=0.05, start_step=0, end_step=None),
        ge=0,
        description="epsilon, or the temperature of boltzmann",
    )

    def idle(self) -> dict[str, str]:
        return {"explore_var": 'action_policy is "greedy"'} if self.action_policy == "greedy" else {}

    def conflicts(self) -> dict[str, str]:
        if self.action_policy == "epsilon_greedy" and not self.explore_var <= 1:
            return {"explore_var": "an epsilon is a probability, at most 1"}
        if self.action_policy == "boltzmann" and not self.explore_var > 0:
            return {"explore_var": "a temperature must be above 0"}
        return {}

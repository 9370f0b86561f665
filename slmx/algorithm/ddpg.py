"""Deep deterministic policy gradient (Lillicrap et al., 2015, arXiv:1509.02971)."""

from __future__ import annotations

from slmx.algorithm.deterministic import Deterministic, DeterministicHyper


class DDPG(Deterministic):
    """Off-policy: a critic of actions, and an actor that climbs it."""

    critics_count = 1

    class Hyper(DeterministicHyper):
        """Deep deterministic policy gradient."""

    def learn(self) -> None:
        """One step of the critic and of the actor on a batch of every port."""
        batches = self.batches()
        self.learn_critics(batches)
        self.learn_actor(batches)
        self.updates += 1

"""Replay of sequences, for recurrent networks."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from slmx.lazy import torch
from slmx.member.hyper import Int, PerMember, Stacked
from slmx.member.streams import Streams
from slmx.memory.prioritized import PrioritizedReplay
from slmx.memory.replay import Replay


@dataclass
class Sequences:
    """Sampled sequences of steps, each field `[M, T, N, ...]`; `state` `[M, N, S]` of the network before the first.

    `index` `[M, N]` says where they lie; `weight` `[M, N]` corrects for unequal sampling (None: equal).
    """

    obs: torch.Tensor
    action: torch.Tensor
    reward: torch.Tensor
    next_obs: torch.Tensor
    terminated: torch.Tensor
    done: torch.Tensor
    state: torch.Tensor
    index: torch.Tensor
    weight: torch.Tensor | None = None


class SequenceReplay(Replay):
    """Uniform replay of sequences, with the states that the network was in where they begin.

    As in R2D2 (Kapturowski et al., 2019, "Recurrent experience replay in distributed reinforcement learning"), of a
    sequence the first `burn_in` steps lead to a state, and the others are learned from; here each step belongs to the
    others in one sequence alone, and sequences go on beyond the ends of episodes.
    """

    sequences = True
    copied = (*Replay.copied, "window")

    class Hyper(Replay.Hyper):
        """Uniform replay of sequences with stored states, for recurrent networks."""

        max_size: Int = Field(2000, ge=1, description="sequences kept per environment")
        batch_size: Int = Field(16, ge=1, description="sequences per update and environment")
        use_cer: bool = Field(False, description="the newest sequence is in every batch (combined experience replay)")
        sequence_length: Int = Field(20, ge=1, description="steps of a sequence that are learned from")
        burn_in: Int = Field(10, ge=0, description="steps before them, from which the state is worked out anew")
        stored_state: bool = Field(True, description="begin from the state met when acting; false: from 0")

    def __init__(self, hp: Stacked, streams: Streams):
        super().__init__(hp, streams)
        self.window: list[tuple[torch.Tensor, ...]] = []

    def add(self, *row: torch.Tensor) -> None:
        """Keep a step of B bodies: obs, action, reward, next_obs, terminated, done, and the state before it."""
        self.window.append(row)
        if len(self.window) == self.hp.burn_in + self.hp.sequence_length:
            *fields, states = zip(*self.window, strict=True)
            super().add(*(torch.stack(field, 2) for field in fields), states[0])
            del self.window[: self.hp.sequence_length]

    def sample(self) -> Sequences:  # type: ignore[override]
        """A batch for every member, `[M, T, batch_size, ...]`; a sequence must have been completed."""
        index, (*fields, state) = self._read()
        if not self.hp.stored_state:
            state = torch.zeros_like(state)
        steps = (field.transpose(1, 2) for field in fields)
        return Sequences(*steps, state=state, index=index, weight=self._weigh(index))


class PrioritizedSequenceReplay(SequenceReplay, PrioritizedReplay):  # type: ignore[misc]
    """Proportional prioritised replay of sequences, by the largest and the mean error in each, as in R2D2."""

    copied = (*SequenceReplay.copied, "tree", "highest")

    class Hyper(SequenceReplay.Hyper, PrioritizedReplay.Hyper):
        """Replay of sequences in proportion to the size of their last errors."""

        eta: PerMember = Field(0.9, ge=0, le=1, description="what counts of the largest error; the mean has the rest")

    def learned(self, index: torch.Tensor, error: torch.Tensor) -> None:
        size, eta = error.abs(), self.hp.eta
        super().learned(index, eta * size.amax(2) + (1 - eta) * size.mean(2))

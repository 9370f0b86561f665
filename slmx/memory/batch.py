"""Steps in the order of time, as on-policy learning needs them."""

from __future__ import annotations

from dataclasses import dataclass

from slmx.lazy import torch


@dataclass
class Batch:
    """Steps of one port, each field `[M, T, B, ...]`; `mask` `[M, T, B]` is 0 where no step is (None: all are).

    `state` `[M, B, S]`: of a recurrent network before the first step (None: it is at its beginning).
    """

    port: int
    obs: torch.Tensor
    action: torch.Tensor
    reward: torch.Tensor
    next_obs: torch.Tensor
    terminated: torch.Tensor
    done: torch.Tensor
    mask: torch.Tensor | None = None
    state: torch.Tensor | None = None

    FIELDS = ("obs", "action", "reward", "next_obs", "terminated", "done")

    @property
    def known(self) -> torch.Tensor | None:
        """Which members `[M]` have any step here (None: all)."""
        return None if self.mask is None else self.mask.flatten(1).any(1)

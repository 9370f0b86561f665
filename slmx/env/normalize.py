"""Running normalisation of observations and rewards, each member by what it has seen itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from slmx.env.base import Step
from slmx.env.spec import EnvSpec
from slmx.lazy import torch
from slmx.member.axis import Membered

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-8  # both as in gymnasium.wrappers: under the root,
PRIOR_COUNT = 1e-4  # and the weight of the prior mean 0 and variance 1


class Moments(Membered):
    """Mean and variance of one stream per member, in float64: `mean` and `var` `[M, *shape]`, `count` `[M]`."""

    copied = ("mean", "var", "count")

    def __init__(self, members: int, shape: Sequence[int], device: torch.device | str):
        self.mean = torch.zeros(members, *shape, dtype=torch.float64, device=device)
        self.var = torch.ones_like(self.mean)
        self.count = torch.full((members,), PRIOR_COUNT, dtype=torch.float64, device=device)

    def update(self, values: Tensor, mask: Tensor | None = None) -> None:
        """Count `values` `[M, N, *shape]`, or those of them where `mask` `[M, N]` is true (Chan et al. 1979).

        A member without a counted value stays bitwise as it is, whatever the others have.
        """
        values = values.double()
        per_member = (-1,) + (1,) * (values.ndim - 2)
        if mask is None:
            number = torch.full_like(self.count, values.shape[1])
            mean = values.mean(1)
            var = (values - mean[:, None]).square().mean(1)
        else:
            number = mask.sum(1).double()
            chosen, divisor = mask.view(*mask.shape, *per_member[1:]), number.clamp(min=1).view(per_member)
            mean = values.where(chosen, 0.0).sum(1) / divisor
            var = (values - mean[:, None]).square().where(chosen, 0.0).sum(1) / divisor
        total = self.count + number
        share = (number / total).view(per_member)
        rest = (self.count / total).view(per_member)
        delta = mean - self.mean
        self.mean = self.mean + delta * share
        self.var = self.var + (var - self.var) * share + delta.square() * share * rest
        self.count = total


class Normalizer(Membered):
    """Observations to mean 0 and variance 1, rewards by the deviation of the discounted return, then both clipped.

    Or rewards by a scale that is given: for values that are learned from values, as from replay, a scale that moves is
    one more target that moves.

    Rewards: `r / sqrt(var(G) + 1e-8)` where `G <- gamma * G + r` runs in every row and starts again after an episode's
    end (as in baselines and Stable-Baselines3; gymnasium's NormalizeReward drops `G` one step earlier, before the last
    reward of a terminated episode). Observations: every emitted one counts once, an episode's last and first included.
    What is emitted is counted before it is normalised. Nothing is reduced over members.

    What is learned from at once is normalised as it is met. What is kept and drawn again later is kept as it came and
    normalised whenever it is drawn, for the statistics move on: else the same reward, met early and late, would be two.

    `active`: whether it changes observations or rewards at all.
    """

    copied = ("_obs", "_return", "_running_return")
    own = ("_gamma",)

    def __init__(
        self,
        spec: EnvSpec,
        members: int,
        obs_shape: Sequence[int],
        dtype: torch.dtype,
        device: torch.device | str,
    ):
        """dtype: of what comes out; the statistics are float64. `retune` tells it the agent's discounts."""
        self._clip_obs, self._clip_reward, self._reward_scale = spec.clip_obs, spec.reward_bound, spec.reward_scale
        self._obs = Moments(members, obs_shape, device) if spec.normalize_obs else None
        self._return = Moments(members, (), device) if spec.normalize_reward else None
        self._gamma = torch.zeros(members, 1, dtype=torch.float64, device=device)
        self._running_return = torch.zeros(members, 1, dtype=torch.float64, device=device)  # broadcasts to [M, B]
        self._dtype = dtype
        self._scales = self._return is not None or self._reward_scale != 1.0
        parts = (self._obs, self._clip_obs, self._clip_reward)
        self.active = self._scales or any(part is not None for part in parts)

    def retune(self, gamma: Tensor) -> None:
        """Go on with these discounts `[M, 1]`."""
        self._gamma = gamma.double().to(self._gamma.device)

    def begin(self, obs: Tensor) -> None:
        """Count the first observations `[M, B, *obs_shape]` of new episodes in every row."""
        self._running_return = torch.zeros_like(self._running_return)
        if self._obs:
            self._obs.update(obs)

    def count(self, step: Step) -> None:
        """Count all that a step emitted."""
        if self._obs:
            self._obs.update(step.next_obs)
            if step.obs is not step.next_obs:
                self._obs.update(step.obs, step.done)
        if self._return:
            running = self._running_return * self._gamma + step.reward
            self._return.update(running)
            self._running_return = running.where(~step.done, 0.0)

    def observe(self, obs: Tensor) -> Tensor:
        """Observations `[M, ..., *obs_shape]` normalised with the statistics as they are."""
        if self._obs:
            axes = (len(obs),) + (1,) * (obs.ndim - self._obs.mean.ndim) + self._obs.mean.shape[1:]
            mean, root = self._obs.mean.view(axes), (self._obs.var + EPSILON).sqrt().view(axes)
            obs = ((obs.double() - mean) / root).to(self._dtype)
        return obs if self._clip_obs is None else obs.clamp(-self._clip_obs, self._clip_obs)

    def scale(self, reward: Tensor) -> Tensor:
        """Rewards `[M, N]` normalised likewise, and clipped."""
        reward = self.divide(reward)
        return reward if self._clip_reward is None else reward.clamp(-self._clip_reward, self._clip_reward)

    def divide(self, reward: Tensor) -> Tensor:
        """Rewards, or sums of them, `[M, ...]` normalised likewise, but not clipped."""
        return (reward / self._unit(reward)).to(self._dtype) if self._scales else reward

    def multiply(self, value: Tensor) -> Tensor:
        """From sums of normalised rewards `[M, ...]` to sums of rewards as they come."""
        return (value * self._unit(value)).to(self._dtype) if self._scales else value

    def clip(self, reward: Tensor) -> Tensor:
        """Rewards `[M, N]` as they came, but none further from 0 than `scale` would let it be now."""
        if self._clip_reward is None:
            return reward
        bound = self._clip_reward * self._unit(reward)
        return reward.clamp(-bound, bound).to(self._dtype)

    def state(self) -> dict[str, Tensor]:
        """The statistics, each `[M, ...]`: row i is member i's. Running returns are not in it: episodes start anew."""
        parts = {"obs": self._obs, "return": self._return}
        return {
            f"{name}_{key}": getattr(moments, key).clone()
            for name, moments in parts.items()
            if moments
            for key in ("mean", "var", "count")
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over statistics saved by `state`. ValueError where they are not of this kind or shape."""
        own = self.state()
        if {key: value.shape for key, value in own.items()} != {key: value.shape for key, value in state.items()}:
            raise ValueError(f"statistics {sorted(state)} do not fit {sorted(own)}")
        for key, value in state.items():
            name, _, part = key.rpartition("_")
            setattr(self._obs if name == "obs" else self._return, part, value.to(own[key], copy=True))

    def _unit(self, reward: Tensor) -> Tensor:
        """The reward that counts as 1: the deviation of the discounted return, `[M, 1, ...]`, or a constant `[]`."""
        if self._return is None:
            return reward.new_full((), 1.0 / self._reward_scale)  # filled where it is: nothing waits for a copy
        return (self._return.var + EPSILON).sqrt().view((-1,) + (1,) * (reward.ndim - 1))

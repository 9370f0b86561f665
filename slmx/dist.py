"""Distributions over actions. Samples come from noise that the caller draws, so a member's actions are its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

from slmx.lazy import torch


class Categorical:
    """Over A discrete actions; logits `[M, N, A]`, actions int64 `[M, N]`."""

    def __init__(self, logits: torch.Tensor):
        self.logits = logits

    def log_probs(self) -> torch.Tensor:
        """Log-probabilities of all actions, `[M, N, A]`."""
        return self.logits.log_softmax(-1)

    def log_prob(self, action: torch.Tensor) -> torch.Tensor:
        """Log-probabilities `[M, N]` of actions `[M, N]`."""
        return self.log_probs().gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def log_prob_entropy(self, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities `[M, N]` of actions and entropies `[M, N]` in nats, from one softmax."""
        log_probs = self.log_probs()
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        return log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1), entropy

    def sample(self, uniform: torch.Tensor) -> torch.Tensor:
        """Actions `[M, N]` from uniform noise `[M, N]`, by inverting the distribution function."""
        below = self.logits.softmax(-1).cumsum(-1) < uniform.unsqueeze(-1)
        return below.sum(-1).clamp_(max=self.logits.shape[-1] - 1)

    def mode(self) -> torch.Tensor:
        """The likeliest actions, `[M, N]`."""
        return self.logits.argmax(-1)


class Categoricals:
    """Over actions of n independent components, of which component i chooses among `choices[i]`.

    Logits `[M, N, sum(choices)]`, those of a component side by side; actions int64 `[M, N, n]`.
    """

    def __init__(self, logits: torch.Tensor, choices: Sequence[int]):
        self.choices, most = choices, max(choices)
        if min(choices) < most:  # filled up with what is never chosen, and finite, for the entropy multiplies it with 0
            never = torch.finfo(logits.dtype).min / 2
            parts = zip(logits.split(list(choices), -1), choices, strict=True)
            filled = [torch.nn.functional.pad(part, (0, most - n), value=never) for part, n in parts]
            self.each = Categorical(torch.stack(filled, -2))
        else:
            self.each = Categorical(logits.unflatten(-1, (-1, most)))

    def log_prob(self, action: torch.Tensor) -> torch.Tensor:
        """Log-probabilities `[M, N]` of actions `[M, N, n]`."""
        return self.each.log_prob(action).sum(-1)

    def log_prob_entropy(self, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities `[M, N]` of actions and entropies `[M, N]` in nats, from one softmax."""
        log_prob, entropy = self.each.log_prob_entropy(action)
        return log_prob.sum(-1), entropy.sum(-1)

    def sample(self, uniform: torch.Tensor) -> torch.Tensor:
        """Actions `[M, N, n]` from uniform noise `[M, N, n]`, a number for each component."""
        last = torch.tensor(self.choices, device=uniform.device) - 1  # whatever rounding says
        return torch.minimum(self.each.sample(uniform), last)

    def mode(self) -> torch.Tensor:
        """The likeliest actions, `[M, N, n]`."""
        return self.each.mode()


def relaxed_one_hot(logits: torch.Tensor, uniform: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Drawn discrete actions as vectors of 0 and 1, `[M, N, A]`, whose gradient is that of a softmax.

    From logits, uniform noise in [0, 1) and temperatures that broadcast. Source: the straight-through Gumbel-softmax
    of Jang et al., 2016, arXiv:1611.01144.
    """
    tiny = torch.finfo(uniform.dtype).tiny
    gumbel = -(-uniform.clamp(min=tiny).log()).clamp(min=tiny).log()
    soft = ((logits + gumbel) / temperature).softmax(-1)
    hard = torch.nn.functional.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return hard + soft - soft.detach()


class SquashedGaussian:
    """The tangens hyperbolicus of normally distributed numbers: actions in (-1, 1); mean and log_std `[M, N, A]`.

    Source: Haarnoja et al., 2018, arXiv:1812.05905, appendix C.
    """

    def __init__(self, mean: torch.Tensor, log_std: torch.Tensor):
        self.mean, self.log_std = mean, log_std.clamp(-20, 2)

    def sample(self, normal: torch.Tensor) -> torch.Tensor:
        """Actions `[M, N, A]` from standard normal noise `[M, N, A]`."""
        return (self.mean + self.log_std.exp() * normal).tanh()

    def sample_log_prob(self, normal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Actions `[M, N, A]` from standard normal noise `[M, N, A]`, and their log-densities `[M, N]`."""
        x = self.mean + self.log_std.exp() * normal
        log_prob = -0.5 * normal.square() - self.log_std - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(x)^2), which tanh(x) itself would round to log(0); torch's softplus rounds a member's numbers
        # by where they lie in memory
        log_slope = 2 * (math.log(2) - x.abs() - (-2 * x.abs()).exp().log1p())
        return x.tanh(), (log_prob - log_slope).sum(-1)

    def mode(self) -> torch.Tensor:
        """The actions in the middle, `[M, N, A]`."""
        return self.mean.tanh()


class Gaussian:
    """Independent normal distributions over A continuous actions; mean `[M, N, A]`, log_std `[M, 1 or N, A]`."""

    def __init__(self, mean: torch.Tensor, log_std: torch.Tensor):
        self.mean, self.log_std = mean, log_std

    def log_prob(self, action: torch.Tensor) -> torch.Tensor:
        """Log-densities `[M, N]` of actions `[M, N, A]`."""
        z = (action - self.mean) * torch.exp(-self.log_std)
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def log_prob_entropy(self, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-densities `[M, N]` of actions and entropies `[M, N]` in nats."""
        entropy = (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)
        return self.log_prob(action), entropy.expand(self.mean.shape[:-1])

    def sample(self, normal: torch.Tensor) -> torch.Tensor:
        """Actions `[M, N, A]` from standard normal noise `[M, N, A]`."""
        return self.mean + self.log_std.exp() * normal

    def mode(self) -> torch.Tensor:
        """The likeliest actions, `[M, N, A]`."""
        return self.mean


# what the outputs of a network stand for that learns a policy
Policy = Categorical | Categoricals | Gaussian

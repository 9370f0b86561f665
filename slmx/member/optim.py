"""Optimisers in which nothing crosses the member axis.

All parameters of an optimiser live in one tensor `[M, P]`, of which the networks' parameters are views: a step, a clip,
a copy to a target network is one operation for all layers of all members.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pydantic import Field

from slmx.lazy import torch
from slmx.member.hyper import NamedHyper, PerMember, Scheduled, Stacked


def flatten(parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
    """Move parameters, each `[M, ...]`, into one tensor `[M, P]`, of which they become views; returns that tensor."""
    parameters = list(parameters)
    flat = torch.cat([p.detach().flatten(1) for p in parameters], 1)
    start = 0
    for p in parameters:
        size = p[0].numel()
        p.data = flat[:, start : start + size].view(p.shape)
        start += size
    return flat


class Optimizer:
    """Base of all optimisers: one loss per member in, one step of every member out.

    `hypers`: the M members' settings; `clip`: largest gradient norm per member `[M, 1]`, or None.
    A member whose loss or gradient is not finite stays as it is, is counted out in `finite` `[M]`, and harms nobody.
    """

    Hyper: ClassVar[type[NamedHyper]]
    slots: ClassVar[int] = 0  # how many moving averages `[M, P]` it keeps

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], hypers: list[NamedHyper], clip: torch.Tensor | None = None
    ):
        self.parameters = list(parameters)
        self.flat = flatten(self.parameters)
        self.hp = Stacked(hypers, self.flat.dtype, self.flat.device)
        self.clip = clip
        self.state = [torch.zeros_like(self.flat) for _ in range(self.slots)]
        self.steps = self.flat.new_zeros(len(self.flat), 1)
        self.finite = torch.ones(len(self.flat), dtype=torch.bool, device=self.flat.device)
        self.grad_norm = self.flat.new_zeros(len(self.flat))

    def step(self, loss: torch.Tensor, rows: torch.Tensor | None = None) -> None:
        """One step down `loss`, `[M]`, or `[len(rows)]` where only the members `rows` learn.

        The sum over members exists here and nowhere else: it gives each member exactly the gradient it would get alone.
        """
        members = len(self.flat) if rows is None else len(rows)
        if loss.shape != (members,):
            raise ValueError(f"need one loss per member, shape ({members},); got {tuple(loss.shape)}")
        # a port whose environment has ended has no part in the loss: the gradient of its own layers is 0
        gradients = torch.autograd.grad(loss.sum(), self.parameters, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            gradient = torch.cat([g.flatten(1) for g in gradients], 1)
            norm = torch.linalg.vector_norm(gradient, dim=1)
            moves = torch.isfinite(norm)
            if rows is None:
                moves &= torch.isfinite(loss)
                self.finite &= moves
            else:
                moves[rows] &= torch.isfinite(loss)
                self.finite &= moves
                chosen = torch.zeros_like(moves)
                chosen[rows] = True
                moves &= chosen
            self.grad_norm = norm
            if self.clip is not None:
                gradient *= (self.clip / (norm[:, None] + 1e-6)).clamp_(max=1)
            if not bool(moves.all()):
                gradient = gradient.where(moves[:, None], 0)
            move = moves[:, None].to(gradient.dtype)
            self.steps += move
            self.flat.sub_(self.change(gradient, move).mul_(self.hp.lr * move))

    def change(self, gradient: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
        """What to subtract from the parameters at a learning rate of 1, `[M, P]`; `move` `[M, 1]`: 0 for who rests."""
        raise NotImplementedError


class _AdamHyper(NamedHyper):
    lr: Scheduled = Field(1e-3, ge=0, description="learning rate")
    beta1: PerMember = Field(0.9, ge=0, lt=1, description="decay of the mean of gradients")
    beta2: PerMember = Field(0.999, ge=0, lt=1, description="decay of the mean of squared gradients")
    eps: PerMember = Field(1e-8, gt=0, description="added to the root of the mean square")


class _AnyAdam(Optimizer):
    slots = 2

    def _adam(self, gradient: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
        hp, (mean, square) = self.hp, self.state
        mean.lerp_(gradient, (1 - hp.beta1) * move)
        square.lerp_(gradient.square_(), (1 - hp.beta2) * move)
        steps = self.steps.clamp(min=1)
        root = (1 - hp.beta2**steps).sqrt_()
        # lr * (mean / c1) / (sqrt(square / c2) + eps), its small factors [M, 1] gathered first
        return mean.mul(root / (1 - hp.beta1**steps)).div_(square.sqrt().add_(hp.eps * root))


class Adam(_AnyAdam):
    """Adam (Kingma and Ba, 2014, arXiv:1412.6980), with weight decay as an L2 penalty, as torch.optim.Adam."""

    class Hyper(_AdamHyper):
        """Adam, with weight decay as an L2 penalty."""

        weight_decay: PerMember = Field(0.0, ge=0, description="L2 penalty, added to the gradient")

    def change(self, gradient: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
        return self._adam(gradient.addcmul_(self.flat, self.hp.weight_decay), move)


class AdamW(_AnyAdam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2017, arXiv:1711.05101), as torch.optim.AdamW."""

    class Hyper(_AdamHyper):
        """Adam with decoupled weight decay."""

        weight_decay: PerMember = Field(0.01, ge=0, description="share of the weights taken off per unit of lr")

    def change(self, gradient: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
        return self._adam(gradient, move).addcmul_(self.flat, self.hp.weight_decay)


class RMSprop(Optimizer):
    """RMSprop (Hinton, 2012, lecture 6e), as torch.optim.RMSprop."""

    slots = 2

    class Hyper(NamedHyper):
        """RMSprop, optionally with momentum."""

        lr: Scheduled = Field(1e-2, ge=0, description="learning rate")
        alpha: PerMember = Field(0.99, ge=0, lt=1, description="decay of the mean of squared gradients")
        eps: PerMember = Field(1e-8, gt=0, description="added to the root of the mean square")
        momentum: PerMember = Field(0.0, ge=0, lt=1, description="share of the last step that is repeated")
        weight_decay: PerMember = Field(0.0, ge=0, description="L2 penalty, added to the gradient")

    def change(self, gradient: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
        hp, (square, last) = self.hp, self.state
        gradient.addcmul_(self.flat, hp.weight_decay)
        square.lerp_(gradient.square(), (1 - hp.alpha) * move)
        fresh = gradient.div_(square.sqrt().add_(hp.eps)).add_(last * hp.momentum)
        last.lerp_(fresh, move)
        return fresh


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as torch.optim.SGD."""

    slots = 1

    class Hyper(NamedHyper):
        """Stochastic gradient descent, optionally with momentum."""

        lr: Scheduled = Field(1e-2, ge=0, description="learning rate")
        momentum: PerMember = Field(0.0, ge=0, lt=1, description="share of the last step that is repeated")
        weight_decay: PerMember = Field(0.0, ge=0, description="L2 penalty, added to the gradient")

    def change(self, gradient: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
        (last,) = self.state
        fresh = gradient.addcmul_(self.flat, self.hp.weight_decay).add_(last * self.hp.momentum)
        last.lerp_(fresh, move)
        return fresh


OPTIMIZERS = {name: f"slmx.member.optim:{name}" for name in ("Adam", "AdamW", "RMSprop", "SGD")}

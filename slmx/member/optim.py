"""Optimisers in which nothing crosses the member axis.

All parameters of an optimiser live in one tensor `[M, P]`, of which the networks' parameters are views: a step, a clip,
a copy to a target network is one operation for all layers of all members.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import ClassVar

from pydantic import Field

from slmx.lazy import torch
from slmx.member.axis import Membered
from slmx.member.hyper import NamedHyper, PerMember, Scheduled, Stacked


def flatten(parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
    """Move parameters, each `[M, ...]`, into one tensor `[M, P]`, of which they become views; returns that tensor."""
    parameters = list(parameters)
    flat = torch.cat([p.detach().flatten(1) for p in parameters], 1)
    bind(parameters, flat)
    return flat


def bind(parameters: Iterable[torch.nn.Parameter], flat: torch.Tensor) -> None:
    """Make parameters views of `flat` `[M, P]`, in their order, whatever they were before."""
    start = 0
    for p in parameters:
        size = p[0].numel()
        p.data = flat[:, start : start + size].view(len(flat), *p.shape[1:])
        start += size


class Optimizer(Membered):
    """Base of all optimisers: one loss per member in, one step of every member out.

    `hypers`: the M members' settings; `clip`: largest gradient norm per member `[M, 1]`, or None.
    A member whose loss or gradient is not finite stays as it is, is counted out in `finite` `[M]`, and harms nobody.
    Hyperparameters may change on the way: what follows from them alone is worked out in `prepare`.
    """

    Hyper: ClassVar[type[NamedHyper]]
    slots: ClassVar[int] = 0  # how many moving averages `[M, P]` it keeps
    copied = ("flat", "state", "steps", "finite", "grad_norm")

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], hypers: list[NamedHyper], clip: torch.Tensor | None = None
    ):
        self.parameters = list(parameters)
        self.flat = flatten(self.parameters)
        self.hp = Stacked(hypers, self.flat.dtype, self.flat.device)
        self.clip = clip
        self.prepare()
        self.state = [torch.zeros_like(self.flat) for _ in range(self.slots)]
        self.steps = self.flat.new_zeros(len(self.flat), 1)
        self.finite = torch.ones(len(self.flat), dtype=torch.bool, device=self.flat.device)
        self.grad_norm = self.flat.new_zeros(len(self.flat))

    def prepare(self) -> None:
        """Work out what follows from the hyperparameters alone."""
        decay = getattr(self.hp, "weight_decay", None)
        self.decays = decay is not None and bool((decay != 0).any())  # else a pass over all parameters is saved
        self.clips = [math.inf] if self.clip is None else self.clip.flatten().tolist()

    def retune(self, hypers: Sequence[NamedHyper], clip: torch.Tensor | None) -> None:
        """Go on with other settings; all else stays."""
        self.hp.restack(hypers)
        self.clip = clip
        self.prepare()

    def follow(self, index: Sequence[int]) -> None:
        bind(self.parameters, self.flat)

    def step(self, loss: torch.Tensor, rows: torch.Tensor | None = None) -> None:
        """One step down `loss`, `[M]`, or `[len(rows)]` where only the members `rows` learn.

        The sum over members exists here and nowhere else: it gives each member exactly the gradient it would get alone.
        """
        members = len(self.flat) if rows is None else len(rows)
        if loss.shape != (members,):
            raise ValueError(f"need one loss per member, shape ({members},); got {tuple(loss.shape)}")
        device = self.flat.device.type
        if torch.is_autocast_enabled(device):  # gradients flow in the precision that each number has, steps are exact
            with torch.autocast(device, enabled=False):
                self.step(loss, rows)
            return
        # a port whose environment has ended has no part in the loss: the gradient of its own layers is 0
        gradients = torch.autograd.grad(loss.sum(), self.parameters, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            gradient = torch.cat([g.flatten(1) for g in gradients], 1)
            self.grad_norm = norm = torch.linalg.vector_norm(gradient, dim=1)
            norms = norm.tolist()  # what is asked of a few numbers is asked soonest in Python
            if self.clip is not None and any(map(operator.gt, norms, self.clips)):
                # whose norm is not too large stays as it is to the last bit, whoever else is scaled
                gradient *= (self.clip / (norm[:, None] + 1e-6)).where(norm[:, None] > self.clip, 1.0)
            if rows is None and all(map(math.isfinite, norms)) and all(map(math.isfinite, loss.tolist())):
                self.steps += 1
                self.descend(gradient)
            else:
                finite = torch.isfinite(norm + loss if rows is None else norm.index_add(0, rows, loss))
                self.finite &= finite
                self._descend_some(gradient, finite.nonzero().flatten() if rows is None else rows[finite[rows]])

    def _descend_some(self, gradient: torch.Tensor, rows: torch.Tensor) -> None:
        """A step of the members `rows` alone: all step, and the others are put back where they were."""
        before = [x.clone() for x in (self.flat, *self.state)]
        resting = torch.ones_like(self.steps, dtype=torch.bool)
        resting[rows] = False
        self.steps += ~resting
        self.descend(gradient.masked_fill(resting, 0))
        for x, old in zip((self.flat, *self.state), before, strict=True):
            x.copy_(old.where(resting, x))

    def descend(self, gradient: torch.Tensor) -> None:
        """Move the parameters `flat` of all members one step down `gradient` `[M, P]`, which may be written over.

        `steps` `[M, 1]` counts the steps, this one included (0: the member never learned,
        and whatever becomes of it here is undone).
        """
        raise NotImplementedError


FIXED = ("beta1", "beta2", "eps", "weight_decay")  # of Adam's numbers those without a schedule


class _AdamHyper(NamedHyper):
    lr: Scheduled = Field(1e-3, ge=0, description="learning rate")
    beta1: PerMember = Field(0.9, ge=0, lt=1, description="decay of the mean of gradients")
    beta2: PerMember = Field(0.999, ge=0, lt=1, description="decay of the mean of squared gradients")
    eps: PerMember = Field(1e-8, gt=0, description="added to the root of the mean square")


class _AnyAdam(Optimizer):
    slots = 2
    fused: ClassVar[str]  # torch's function of a step that takes one pass
    _rows: list[Sequence[torch.Tensor]] | None = None  # of what changes in place, each member's

    def prepare(self) -> None:
        super().prepare()
        self.fresh = 1 - self.hp.beta1, 1 - self.hp.beta2
        columns = {key: getattr(self.hp, key).flatten().tolist() for key in FIXED}
        self.fixed = [dict(zip(columns, own, strict=True)) for own in zip(*columns.values(), strict=True)]

    def follow(self, index: Sequence[int]) -> None:
        super().follow(index)
        self._rows = None

    def descend(self, gradient: torch.Tensor) -> None:
        # On a core torch's own pass over a member's parameters, one after another, is 3 to 7 times as fast as an
        # operation after the other over those of all; a GPU wants few operations.
        if gradient.device.type == "cpu":
            self.descend_in_turn(gradient)
        else:
            self.descend_at_once(gradient)

    def descend_in_turn(self, gradient: torch.Tensor) -> None:
        """A step, member by member; those with the same numbers take their turns in one call."""
        step, lrs, fixed = getattr(torch, self.fused), self.hp.lr.flatten().tolist(), self.fixed
        if self._rows is None:
            self._rows = [x.unbind() for x in (self.flat, *self.state, self.steps)]
        flats, *rest = self._rows
        rows = [flats, gradient.unbind(), *rest]
        if lrs.count(lrs[0]) == len(lrs) and fixed.count(fixed[0]) == len(fixed):
            calls = [rows]
        else:
            calls = [[[x] for x in own] for own in zip(*rows, strict=True)]
        for (flat, grad, mean, square, steps), lr, numbers in zip(calls, lrs, fixed, strict=False):
            step(flat, grad, mean, square, [], steps, lr=lr, amsgrad=False, maximize=False, **numbers)

    def descend_at_once(self, gradient: torch.Tensor) -> None:
        """A step of all members together."""
        if self.decays:
            self.decay(gradient)
        hp, (mean, square) = self.hp, self.state
        mean.lerp_(gradient, self.fresh[0])
        square.lerp_(gradient.square_(), self.fresh[1])
        root = (1 - hp.beta2**self.steps).sqrt_()
        # lr * (mean / c1) / (sqrt(square / c2) + eps), its small factors [M, 1] gathered first, in no new memory
        rate = hp.lr * root / (hp.beta1**self.steps - 1)
        self.flat.addcdiv_(mean, torch.sqrt(square, out=gradient).add_(hp.eps * root).div_(rate))

    def decay(self, gradient: torch.Tensor) -> None:
        """Let the weights decay."""
        raise NotImplementedError


class Adam(_AnyAdam):
    """Adam (Kingma and Ba, 2014, arXiv:1412.6980), with weight decay as an L2 penalty, as torch.optim.Adam."""

    class Hyper(_AdamHyper):
        """Adam, with weight decay as an L2 penalty."""

        weight_decay: PerMember = Field(0.0, ge=0, description="L2 penalty, added to the gradient")

    fused = "_fused_adam_"

    def decay(self, gradient: torch.Tensor) -> None:
        gradient.addcmul_(self.flat, self.hp.weight_decay)


class AdamW(_AnyAdam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2017, arXiv:1711.05101), as torch.optim.AdamW."""

    class Hyper(_AdamHyper):
        """Adam with decoupled weight decay."""

        weight_decay: PerMember = Field(0.01, ge=0, description="share of the weights taken off per unit of lr")

    fused = "_fused_adamw_"

    def decay(self, gradient: torch.Tensor) -> None:
        self.flat.mul_(1 - self.hp.lr * self.hp.weight_decay)


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

    def descend(self, gradient: torch.Tensor) -> None:
        hp, (square, last) = self.hp, self.state
        if self.decays:
            gradient.addcmul_(self.flat, hp.weight_decay)
        square.lerp_(gradient.square(), 1 - hp.alpha)
        last.mul_(hp.momentum).add_(gradient.div_(square.sqrt().add_(hp.eps)))
        self.flat.addcmul_(last, -hp.lr)


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as torch.optim.SGD."""

    slots = 1

    class Hyper(NamedHyper):
        """Stochastic gradient descent, optionally with momentum."""

        lr: Scheduled = Field(1e-2, ge=0, description="learning rate")
        momentum: PerMember = Field(0.0, ge=0, lt=1, description="share of the last step that is repeated")
        weight_decay: PerMember = Field(0.0, ge=0, description="L2 penalty, added to the gradient")

    def descend(self, gradient: torch.Tensor) -> None:
        (last,) = self.state
        if self.decays:
            gradient.addcmul_(self.flat, self.hp.weight_decay)
        last.mul_(self.hp.momentum).add_(gradient)
        self.flat.addcmul_(last, -self.hp.lr)


OPTIMIZERS = {name: f"slmx.member.optim:{name}" for name in ("Adam", "AdamW", "RMSprop", "SGD")}

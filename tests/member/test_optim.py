"""Every optimiser is torch.optim's, member by member, and nothing crosses the member axis."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slmx.member import optim
from slmx.member.optim import OPTIMIZERS, Optimizer, flatten
from slmx.member.schedule import Schedule

M = 3
STEPS = 30
# what differs from member to member, over torch's names: every key of every optimiser is in here
CASES: list[tuple[str, dict[str, list[Any]]]] = [
    ("Adam", {"lr": [1e-3, 1e-2, 0.1]}),
    ("Adam", {"lr": [1e-2] * 3, "beta1": [0.9, 0.5, 0.0], "beta2": [0.999, 0.9, 0.5], "eps": [1e-8, 1e-3, 0.1]}),
    ("Adam", {"lr": [1e-2] * 3, "weight_decay": [0.0, 0.1, 1.0]}),
    ("AdamW", {"lr": [1e-3, 1e-2, 0.1], "weight_decay": [0.0, 0.1, 1.0]}),
    ("AdamW", {"lr": [1e-2] * 3, "beta1": [0.9, 0.5, 0.0], "beta2": [0.999, 0.9, 0.5], "eps": [1e-8, 1e-3, 0.1]}),
    ("RMSprop", {"lr": [1e-3, 1e-2, 0.1], "alpha": [0.99, 0.9, 0.5], "eps": [1e-8, 1e-3, 0.1]}),
    ("RMSprop", {"lr": [1e-3] * 3, "momentum": [0.0, 0.5, 0.9], "weight_decay": [0.0, 0.1, 1.0]}),
    ("SGD", {"lr": [1e-3, 1e-2, 0.1]}),
    ("SGD", {"lr": [1e-2] * 3, "momentum": [0.0, 0.5, 0.9], "weight_decay": [0.0, 0.1, 1.0]}),
]


def make(name: str, parameters: list[nn.Parameter], clip: Tensor | None = None, **keys: list[Any]) -> Optimizer:
    kind = getattr(optim, name)
    members = len(parameters[0])
    hypers = [kind.Hyper(name=name, **{key: value[m] for key, value in keys.items()}) for m in range(members)]
    return kind(parameters, hypers, clip)


def oracle(name: str, parameters: list[nn.Parameter], **keys: Any) -> torch.optim.Optimizer:
    """torch's optimiser of one member."""
    betas = {"betas": (keys.pop("beta1", 0.9), keys.pop("beta2", 0.999))} if name.startswith("Adam") else {}
    return getattr(torch.optim, name)(parameters, **betas, **keys)


def parameters(dtype: torch.dtype = torch.float64, members: int = M) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(members, 4, 3), (members, 1, 3), (members, 3, 2)]
    return [nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in shapes]


def loss(ps: list[Tensor], x: Tensor) -> Tensor:
    """Per member, over `x` `[M, N, 4]`; steep enough to be clipped."""
    return (((x @ ps[0] + ps[1]).tanh() @ ps[2]).square().sum(-1) * 3).mean(1)


def inputs(dtype: torch.dtype = torch.float64, members: int = M) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(members, 8, 4, generator=generator, dtype=torch.float64).to(dtype) for _ in range(STEPS)]


def members_apart(name: str, keys: dict[str, list[Any]], clips: list[float] | None, dtype: torch.dtype) -> list[Tensor]:
    """Where torch's own optimisers take the same parameters, one member at a time."""
    result: list[list[Tensor]] = []
    for m in range(M):
        own = [nn.Parameter(p.detach()[m : m + 1].clone()) for p in parameters(dtype)]
        optimizer = oracle(name, own, **{key: value[m] for key, value in keys.items()})
        for x in inputs(dtype):
            optimizer.zero_grad()
            loss([*own], x[m : m + 1]).sum().backward()
            if clips:
                nn.utils.clip_grad_norm_(own, clips[m])
            optimizer.step()
        result.append([p.detach() for p in own])
    return [torch.cat(ps) for ps in zip(*result, strict=True)]


def test_the_cases_cover_every_key_of_every_optimiser() -> None:
    for name in OPTIMIZERS:
        covered = {key for case, keys in CASES if case == name for key in keys}
        assert covered == set(getattr(optim, name).Hyper.model_fields) - {"name"}


@pytest.mark.parametrize("clips", [None, [0.1, 1.0, 100.0]], ids=["unclipped", "clipped"])
@pytest.mark.parametrize(("name", "keys"), CASES, ids=[f"{name}-{'-'.join(keys)}" for name, keys in CASES])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("way", ["descend", "descend_at_once"])
def test_equals_torch_for_every_member(
    name: str,
    keys: dict[str, list[Any]],
    clips: list[float] | None,
    dtype: torch.dtype,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = parameters(dtype)
    clip = None if clips is None else torch.tensor(clips, dtype=dtype)[:, None]
    optimizer = make(name, own, clip, **keys)
    if not hasattr(optimizer, way):
        pytest.skip("it has one way for all devices")
    monkeypatch.setattr(optimizer, "descend", getattr(optimizer, way))
    for x in inputs(dtype):
        optimizer.step(loss([*own], x))
    tolerance = {"rtol": 1e-9, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-3, "atol": 1e-4}
    for mine, theirs in zip(own, members_apart(name, keys, clips, dtype), strict=True):
        torch.testing.assert_close(mine.detach(), theirs, **tolerance)
    assert optimizer.steps.flatten().tolist() == [STEPS] * M
    assert optimizer.finite.all()


def test_grad_norm_is_the_norm_before_clipping() -> None:
    own = parameters()
    gradients = torch.autograd.grad(loss([*own], inputs()[0]).sum(), own)
    optimizer = make("SGD", own, torch.full((M, 1), 1e-3, dtype=torch.float64), lr=[0.1] * M)
    before = optimizer.flat.clone()
    optimizer.step(loss([*own], inputs()[0]))
    norms = torch.stack([torch.cat([g[m].flatten() for g in gradients]).norm() for m in range(M)])
    torch.testing.assert_close(optimizer.grad_norm, norms)
    moved = (optimizer.flat - before).norm(dim=1)
    torch.testing.assert_close(moved, torch.full((M,), 1e-4, dtype=torch.float64), rtol=1e-4, atol=0)


def test_parameters_are_views_of_one_tensor() -> None:
    own = parameters()
    whole = flatten(own)
    assert whole.shape == (M, 12 + 3 + 6)
    whole.zero_()
    assert all(not p.any() for p in own)


@pytest.mark.parametrize("shape", [(), (1,), (M, 1), (M + 1,)], ids=str)
def test_refuses_what_is_not_one_loss_per_member(shape: tuple[int, ...]) -> None:
    own = parameters()
    optimizer = make("Adam", own, lr=[1e-3] * M)
    with pytest.raises(ValueError, match=r"one loss per member, shape \(3,\)"):
        optimizer.step(loss([*own], inputs()[0]).sum().expand(shape))
    with pytest.raises(ValueError, match=r"one loss per member, shape \(2,\)"):
        optimizer.step(loss([*own], inputs()[0]), torch.tensor([0, 2]))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rows_that_rest_stay_as_if_the_step_had_not_been(name: str) -> None:
    """Member 1 rests every other step; all end bitwise where they would have ended without the rests."""
    extra = {"momentum": [0.9] * M} if name in ("SGD", "RMSprop") else {}
    keys = {"lr": [1e-2] * M, "weight_decay": [0.1] * M, **extra}
    resting, steady = parameters(), parameters()
    a, b = make(name, resting, **keys), make(name, steady, **keys)
    rows = torch.tensor([2, 0])
    for x in inputs():
        a.step(loss([*resting], x))
        before = a.flat[1].clone(), a.steps[1].clone(), [s[1].clone() for s in a.state]
        a.step(loss([p[rows] for p in resting], x[rows]), rows)
        assert torch.equal(before[0], a.flat[1])
        assert torch.equal(before[1], a.steps[1])
        assert all(torch.equal(x, s[1]) for x, s in zip(before[2], a.state, strict=True))
        b.step(loss([*steady], x))
    assert a.steps.flatten().tolist() == [2 * STEPS, STEPS, 2 * STEPS]
    assert torch.equal(a.flat[1], b.flat[1])
    assert not torch.equal(a.flat[0], b.flat[0])
    assert a.finite.all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
def test_a_member_that_is_not_finite_stays_put_and_harms_nobody(name: str, bad: float, dtype: torch.dtype) -> None:
    keys = {"lr": [1e-2] * M, "weight_decay": [0.1] * M}
    clip = torch.ones(M, 1, dtype=dtype)
    ill, well = parameters(dtype), parameters(dtype)
    a, b = make(name, ill, clip, **keys), make(name, well, clip, **keys)
    others = torch.tensor([0, 2])
    for i, x in enumerate(inputs(dtype)):
        value = loss([*ill], x)
        if i >= 3:
            value = value * torch.tensor([1.0, bad, 1.0], dtype=dtype)
        before = a.flat[1].clone()
        a.step(value)
        b.step(loss([*well], x))
        assert torch.equal(before, a.flat[1]) == (i >= 3)
        assert torch.equal(a.flat[others], b.flat[others])
        assert a.finite.tolist() == [True, i < 3, True]
    assert a.steps.flatten().tolist() == [STEPS, 3, STEPS]


def test_a_gradient_that_is_not_finite_counts_as_the_loss_does() -> None:
    """The square root's slope at 0 is infinite, its value is not."""
    own = [nn.Parameter(torch.tensor([[1.0], [0.0]]))]
    optimizer = make("SGD", own, lr=[0.1] * 2)
    optimizer.step(own[0].sqrt().sum(1))
    assert optimizer.flat.flatten().tolist() == pytest.approx([0.95, 0])
    assert optimizer.finite.tolist() == [True, False]


def test_scheduled_rates_follow_the_frame() -> None:
    kind = optim.SGD
    rates = [Schedule(name="linear_decay", start_val=v, end_val=0.0, end_step=10) for v in (1.0, 2.0)]
    own = [nn.Parameter(torch.zeros(2, 1))]
    optimizer = kind(own, [kind.Hyper(name="SGD", lr=rate) for rate in rates])
    optimizer.hp.at(5)
    optimizer.step(own[0].sum(1))
    assert optimizer.flat.flatten().tolist() == [-0.5, -1.0]


def test_who_is_not_clipped_does_not_feel_that_others_are() -> None:
    gradient = torch.tensor([[0.6, 0.8 - 5e-7], [60.0, 80.0]])  # the first norm is below 1 by less than is added to it
    moved = []
    for rows in ([0], [0, 1]):
        (own,) = given = [nn.Parameter(torch.zeros(len(rows), 2))]
        optimizer = make("SGD", given, torch.ones(len(rows), 1), lr=[1.0] * len(rows))
        optimizer.step((own * gradient[rows]).sum(1))
        moved.append(own.detach())
    assert torch.equal(moved[0][0], moved[1][0])
    torch.testing.assert_close(moved[1][1], torch.tensor([-0.6, -0.8]))

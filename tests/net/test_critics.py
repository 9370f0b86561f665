"""Critics, the networks that follow others, and batch renormalisation."""

from __future__ import annotations

import pytest
import torch

from slmx.member.hyper import Stacked
from slmx.member.optim import flatten
from slmx.member.streams import Streams, seed_sequence
from slmx.net import renorm
from slmx.net.critics import Critics
from slmx.net.mlp import MLP
from slmx.net.port import Port
from slmx.net.renorm import BatchRenorm
from slmx.net.target import Target
from slmx.spec.registry import REGISTRIES

M, N = 3, 7
ADAM = REGISTRIES["optim_spec"].find("Adam").Hyper(name="Adam")
PORTS = [Port((4,), 2, True, 1), Port((3,), 2, False, 1)]


def streams(purpose: str, members: int = M) -> Streams:
    return Streams([seed_sequence(0, 0, s, purpose) for s in range(members)])


def critics(every: bool, count: int = 2, **options: bool) -> Critics:
    hp = Stacked([MLP.Hyper(hid_layers=[8, 8], optim_spec=ADAM)] * M)
    return Critics(MLP, hp, streams, PORTS, count, every, **options)


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_critics_value_what_they_are_given_and_differ_from_one_another() -> None:
    both = critics(every=True)
    discrete, continuous = both(0, numbers(M, N, 4)), both(1, numbers(M, N, 3), numbers(M, N, 2))
    assert discrete.shape == (2, M, N, 2) and continuous.shape == (2, M, N)
    assert not torch.allclose(continuous[0], continuous[1])
    one = critics(every=False, count=1)
    chosen = torch.nn.functional.one_hot(torch.tensor([0, 1, 1, 0, 1, 0, 0]), 2).float().expand(M, N, 2)
    assert one(0, numbers(M, N, 4), chosen).shape == (1, M, N)
    assert not torch.allclose(one(0, numbers(M, N, 4), chosen), one(0, numbers(M, N, 4), 1 - chosen))


def test_a_target_starts_as_its_network_and_follows_as_told() -> None:
    network = critics(every=False)
    target, learned = Target(network), flatten(network.parameters())
    assert torch.equal(target.flat, learned) and not any(p.requires_grad for p in target.network.parameters())
    learned += 1
    before = target.flat.clone()
    target.approach(learned, torch.tensor([[0.0], [0.5], [1.0]]))
    torch.testing.assert_close(target.flat - before, torch.tensor([[0.0], [0.5], [1.0]]).expand_as(before))
    target.replace(learned)
    obs, action = numbers(M, N, 3), numbers(M, N, 2)
    assert torch.equal(target.network(1, obs, action), network(1, obs, action))
    target.keep([2, 0])
    assert target.flat.shape[0] == 2
    target.flat.zero_()
    assert all((p == 0).all() for p in target.network.parameters()), "parameters are views of one tensor still"


def test_renormalised_features_are_those_of_the_batch_and_then_of_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = BatchRenorm(M, 5, torch.float32, "cpu"), 3 * numbers(M, 64, 5) + 2
    oracle = torch.nn.BatchNorm1d(5, eps=renorm.EPSILON, momentum=renorm.MOMENTUM)
    torch.testing.assert_close(layer(x)[0], oracle(x[0]))  # in its first batches it is batch normalisation
    for _ in range(2000):
        layer(x)
    layer.eval()
    normal = layer(x)
    torch.testing.assert_close(normal.mean(1), torch.zeros(M, 5), atol=1e-4, rtol=0)
    monkeypatch.setattr(renorm, "WARM_UP", 100)
    layer.train()
    torch.testing.assert_close(layer(x), normal, atol=1e-3, rtol=0)  # corrected, both are one
    other = layer(x + 100)
    assert (other.mean(1) - renorm.MOST_SHIFT).abs().max() < 1e-3, "the correction has bounds"


def test_renormalised_gradients_are_those_of_the_formula_with_its_corrections_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(renorm, "WARM_UP", 1)
    layer, seen = BatchRenorm(M, 5, torch.float64, "cpu"), numbers(M, 64, 5).double()
    with torch.no_grad():
        layer.weight.copy_(1 + 0.3 * numbers(M, 1, 5))
        layer.bias.copy_(numbers(M, 1, 5))
    layer(seen)
    known_mean, known_variance = layer.mean.clone(), layer.variance.clone()
    x, upstream = (2 * numbers(M, 8, 5).double() + 1).requires_grad_(), numbers(M, 8, 5).double()
    leaves = [x, layer.weight, layer.bias]
    given = torch.autograd.grad(layer(x), leaves, upstream)
    mean, deviation = x.mean(1, keepdim=True), (x.var(1, correction=0, keepdim=True) + renorm.EPSILON).sqrt()
    running = (known_variance + renorm.EPSILON).sqrt()
    scale, shift = (deviation / running).detach(), ((mean - known_mean) / running).detach()
    assert scale.max() < renorm.MOST_SCALE and shift.abs().max() < renorm.MOST_SHIFT
    formula = ((x - mean) / deviation * scale + shift) * layer.weight + layer.bias
    for one, other in zip(given, torch.autograd.grad(formula, leaves, upstream), strict=True):
        torch.testing.assert_close(one, other)


def test_members_are_normalised_by_their_own_batches_and_one_that_fails_keeps_its_statistics() -> None:
    x = numbers(M, 64, 5)
    together, alone = BatchRenorm(M, 5, torch.float32, "cpu"), BatchRenorm(1, 5, torch.float32, "cpu")
    sick = x.clone()
    sick[1, 3, 0] = torch.nan
    assert torch.equal(together(sick)[2], alone(x[2:])[0])
    assert together.mean[1].isfinite().all() and torch.equal(together.variance[2], alone.variance[0])


def test_what_ports_share_is_normalised_by_the_statistics_of_each() -> None:
    hp = Stacked([MLP.Hyper(hid_layers=[8, 8], optim_spec=ADAM)] * M)
    network = MLP.build(hp, streams("net"), [(4,), (4,)], [{"v": (1, 1.0)}] * 2, renormed=True)
    norm, seen = network.trunk.norms[0], [numbers(M, 64, 4), 5 + 0.1 * numbers(M, 64, 4)]
    for _ in range(1500):
        for port, x in enumerate(seen):
            network.features(port, x)
    network.eval()
    for port, x in enumerate(seen):
        network.features(port, x)  # says whose statistics count
        torch.testing.assert_close(norm(network.encoders[port](x)).mean(1), torch.zeros(M, 8), atol=1e-3, rtol=0)
    assert norm.mean.shape == (M, 2, 8) and norm.batches.flatten(1).tolist() == [[1500, 1500]] * M

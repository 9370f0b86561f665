"""Layers with a member axis: each member's is torch's own layer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from slmx.member.streams import Streams, seed_sequence
from slmx.net.activation import tanh
from slmx.net.layer import MANY, NARROW, Dueling, Linear, Network, NoisyLinear, Normalized, Stack, affine

M = 4


def streams(*sessions: int, dtype: torch.dtype = torch.float32) -> Streams:
    return Streams([seed_sequence(0, 0, s, "net") for s in sessions or range(M)], dtype)


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("init", ["orthogonal", "default"])
def test_linear_equals_torch_for_every_member(init: str) -> None:
    layer, x = Linear(streams(), 5, 3, init), numbers(M, 7, 5)
    with torch.no_grad():
        layer.bias.copy_(numbers(M, 1, 3))
    for m in range(M):
        oracle = nn.Linear(5, 3)
        oracle.load_state_dict({"weight": layer.weight[m].detach().T, "bias": layer.bias[m, 0].detach()})
        torch.testing.assert_close(layer(x)[m], oracle(x[m]))
    rows = torch.tensor([2, 0])
    torch.testing.assert_close(layer(x[rows], rows), layer(x)[rows])


@pytest.mark.parametrize("n_out", [1, 2, NARROW - 1, NARROW])
def test_narrow_maps_and_their_gradients_are_those_of_wide_ones(n_out: int) -> None:
    given = [numbers(*shape).double() for shape in ((M, MANY, 5), (M, 1, n_out), (M, 5, n_out))]
    with torch.no_grad():
        torch.testing.assert_close(affine(*given, None), torch.baddbmm(given[1], given[0], given[2]))
    for wanted in ((0, 1, 2), (1, 2)):  # observations have no gradient
        x, bias, weight = (g.clone().requires_grad_(i in wanted) for i, g in enumerate(given))
        leaves = [leaf for leaf in (x, bias, weight) if leaf.requires_grad]
        y, oracle = affine(x, bias, weight, None), torch.baddbmm(bias, x, weight)
        torch.testing.assert_close(y, oracle)
        loss = lambda y: (y.square() * torch.linspace(1, 2, y.numel()).view_as(y)).sum()
        found, expected = (torch.autograd.grad(loss(out), leaves) for out in (y, oracle))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
def test_tanh_is_torchs(dtype: torch.dtype) -> None:
    x = torch.cat([torch.linspace(-20, 20, 4001, dtype=dtype), 10.0 ** -torch.arange(1, 9, dtype=dtype)])
    x = torch.cat([x, x.new_tensor([0, -0.0, math.inf, -math.inf, math.nan])])
    close = {"rtol": 4 * torch.finfo(dtype).eps, "atol": 0, "equal_nan": True}
    torch.testing.assert_close(tanh(x), torch.tanh(x), **close)
    leaves = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    (tanh(leaves[0]) * x.arctan()).sum().backward()
    (torch.tanh(leaves[1]) * x.arctan()).sum().backward()
    torch.testing.assert_close(
        leaves[0].grad, leaves[1].grad, rtol=1e-4, atol=4 * torch.finfo(dtype).eps, equal_nan=True
    )
    kept = x.detach().clone()
    tanh(x)
    assert torch.equal(x.nan_to_num(), kept.nan_to_num()), "what it is given stays as it is"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
@pytest.mark.parametrize(("n_in", "n_out"), [(3, 8), (8, 3), (6, 6), (4, 1)])
@pytest.mark.parametrize("gain", [math.sqrt(2), 0.01])
def test_orthogonal(n_in: int, n_out: int, gain: float, dtype: torch.dtype) -> None:
    layer = Linear(streams(dtype=dtype), n_in, n_out, gain=gain)
    weight = layer.weight.detach()
    assert weight.shape == (M, n_in, n_out)
    assert weight.dtype == layer.bias.dtype == dtype
    product = weight @ weight.mT if n_in <= n_out else weight.mT @ weight
    expected = gain**2 * torch.eye(min(n_in, n_out), dtype=dtype).expand_as(product)
    torch.testing.assert_close(product, expected, atol=1e-6 * gain**2 + 1e-12, rtol=1e-5)
    assert not layer.bias.any()
    assert len({w.numpy().tobytes() for w in weight}) == M


def test_orthogonal_matrices_are_uniform_over_rotations_and_reflections() -> None:
    """Without the signs of the decomposition's diagonal, its first column would always point one way."""
    weight = Linear(streams(*range(400)), 2, 2, gain=1).weight.detach()
    assert abs(weight.mean(0)).max() < 0.15
    assert 100 < (torch.linalg.det(weight) > 0).sum() < 300


def test_default_is_torchs() -> None:
    layer = Linear(streams(*range(20)), 16, 50, "default")
    for parameter in (layer.weight.detach(), layer.bias.detach()):
        assert parameter.abs().max() <= 0.25
        assert parameter.std().item() == pytest.approx(0.25 / math.sqrt(3), rel=0.05)
        assert abs(parameter.mean().item()) < 0.02


@pytest.mark.parametrize("init", ["orthogonal", "default"])
def test_a_members_weights_do_not_depend_on_its_company_or_the_precision(init: str) -> None:
    together = Linear(streams(), 5, 3, init)
    for m in range(M):
        assert torch.equal(Linear(streams(m), 5, 3, init).weight[0], together.weight[m])
    double = Linear(streams(dtype=torch.float64), 5, 3, init)
    torch.testing.assert_close(double.weight.float(), together.weight)


def test_stack() -> None:
    source = streams()
    layers, x = [Linear(source, 4, 5), Linear(source, 5, 2)], numbers(M, 3, 4)
    hidden = torch.tanh(layers[0](x))
    torch.testing.assert_close(Stack(layers, torch.tanh, last=False)(x), layers[1](hidden))
    torch.testing.assert_close(Stack(layers, torch.tanh)(x), torch.tanh(layers[1](hidden)))
    assert Stack([], torch.tanh)(x) is x


def test_dueling_advantages_have_mean_zero_for_every_sample() -> None:
    source = streams()
    value, advantage = Linear(source, 4, 1), Linear(source, 4, 3)
    q, x = Dueling(value, advantage), numbers(M, 6, 4)
    torch.testing.assert_close(q(x).mean(-1, keepdim=True), value(x))
    torch.testing.assert_close(q(x) - value(x), advantage(x) - advantage(x).mean(-1, keepdim=True))
    rows = torch.tensor([3, 1])
    torch.testing.assert_close(q(x[rows], rows), q(x)[rows])


def test_dueling_over_atoms_has_mean_zero_for_every_atom() -> None:
    source = streams()
    value, advantage = Linear(source, 4, 5), Linear(source, 4, 3 * 5)
    x = numbers(M, 6, 4)
    q, a = Dueling(value, advantage, 5)(x).view(M, 6, 3, 5), advantage(x).view(M, 6, 3, 5)
    torch.testing.assert_close(q.mean(2), value(x))
    torch.testing.assert_close(q - value(x)[:, :, None], a - a.mean(2, keepdim=True))


def test_normalized_equals_torch_for_every_member() -> None:
    layer, x = Normalized(Linear(streams(), 5, 3)), numbers(M, 7, 5)
    with torch.no_grad():
        layer.gain.copy_(numbers(M, 1, 3))
        layer.bias.copy_(numbers(M, 2, 3)[:, 1:])
    for m in range(M):
        oracle = nn.LayerNorm(3)
        oracle.load_state_dict({"weight": layer.gain[m, 0].detach(), "bias": layer.bias[m, 0].detach()})
        torch.testing.assert_close(layer(x)[m], oracle(layer.layer(x)[m]))
    rows = torch.tensor([2, 0])
    torch.testing.assert_close(layer(x[rows], rows), layer(x)[rows])


def test_noisy_without_noise_is_the_map_of_its_means() -> None:
    noisy, plain, x = NoisyLinear(streams(), 5, 3), Linear(streams(), 5, 3), numbers(M, 7, 5)
    assert torch.equal(noisy(x), plain(x))
    noisy.draw(streams())
    assert not torch.equal(noisy(x), plain(x))
    noisy.rest()
    assert torch.equal(noisy(x), plain(x))


def test_noise_is_factorised_and_of_the_members_own_streams() -> None:
    noisy, x = NoisyLinear(streams(), 5, 3), numbers(M, 7, 5)
    assert noisy.weight_std.unique().tolist() == noisy.bias_std.unique().tolist() == [pytest.approx(0.5 / math.sqrt(5))]
    with torch.no_grad():
        noisy.weight_std.mul_(1 + numbers(M, 5, 3))
        noisy.bias_std.mul_(1 + numbers(M, 1, 3))
    noisy.draw(streams())
    drawn = streams().normal(8)
    root = drawn.sign() * drawn.abs().sqrt()
    before, after = root[:, :5], root[:, 5:]
    for m in range(M):
        weight = noisy.weight[m] + noisy.weight_std[m] * torch.outer(before[m], after[m])
        torch.testing.assert_close(noisy(x)[m], x[m] @ weight + noisy.bias[m] + noisy.bias_std[m] * after[m])
    rows = torch.tensor([2, 0])
    torch.testing.assert_close(noisy(x[rows], rows), noisy(x)[rows])


def test_noise_has_mean_zero_and_deviations_have_gradients() -> None:
    noisy, source, x = NoisyLinear(streams(), 4, 3), streams(), numbers(M, 2, 4)
    drawn = []
    for _ in range(2000):
        noisy.draw(source)
        drawn.append(noisy(x).detach())
    noisy(x).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in noisy.parameters())
    noisy.rest()
    outputs = torch.stack(drawn)
    torch.testing.assert_close(outputs.mean(0), noisy(x).detach(), atol=0.1, rtol=0)
    # E|e| = sqrt(2 / pi) is the variance of a number's root; a product of two has its square
    variance = x.square().sum(-1, keepdim=True) * 0.25 / 4 * 2 / math.pi + 0.25 / 4 * math.sqrt(2 / math.pi)
    torch.testing.assert_close(outputs.var(0), variance.expand(M, 2, 3), atol=0, rtol=0.25)


def test_a_network_has_noise_within_alone_and_new_each_time() -> None:
    source, x = streams(), numbers(M, 7, 4)
    net = Network([Linear(source, 4, 5)], NoisyLinear(source, 5, 5), [{"q": NoisyLinear(source, 5, 2)}])
    mean = net(0, "q", x)
    outputs = []
    for _ in range(2):
        with net.noise(source):
            outputs.append(net(0, "q", x))
            assert torch.equal(net(0, "q", x), outputs[-1])
    assert not torch.equal(outputs[0], outputs[1]) and torch.equal(net(0, "q", x), mean)
    with pytest.raises(RuntimeError), net.noise(source):
        raise RuntimeError
    assert torch.equal(net(0, "q", x), mean)

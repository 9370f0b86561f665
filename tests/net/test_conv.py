"""Networks over images: each member's convolutions are torch's own, and nobody's depend on company."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from slmx.errors import SpecErrors
from slmx.member.hyper import Stacked
from slmx.member.optim import Adam
from slmx.member.streams import Streams, seed_sequence
from slmx.net.actor_critic import ActorCritic
from slmx.net.conv import ConvNet, shapes
from slmx.net.layer import Convolution, Convolved, Flattened, Network
from slmx.net.mlp import MLP
from slmx.net.port import Port
from slmx.spec.build import build
from slmx.spec.check import problems
from tests.programs import Keys

M, IMAGE = 3, (2, 9, 8)
LAYERS = [[4, 3, 2, 1], [5, 2, 1, 0]]


def streams(*sessions: int) -> Streams:
    return Streams([seed_sequence(0, 0, s, "net") for s in sessions or range(M)])


def hyper(members: int = M, **keys: Any) -> Stacked:
    keys = {"conv_layers": LAYERS, "hid_layers": [8, 6], "optim_spec": Adam.Hyper(name="Adam")} | keys
    return Stacked([ConvNet.Hyper(**keys) for _ in range(members)])


def q_net(*sessions: int, **keys: Any) -> Network:
    return ConvNet.build(hyper(len(sessions) or M, **keys), streams(*sessions), [IMAGE], [{"q": (2, 1.0)}])


def images(members: int = M, n: int = 7, shape: tuple[int, ...] = IMAGE) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (members, n, *shape), dtype=torch.uint8, generator=generator)


def plain(net: Network, m: int, x: Tensor) -> Tensor:
    """What member m's network makes of its images `[N, C, H, W]`, by torch's functions alone."""
    parameters = {name: p[m] for name, p in net.named_parameters()}
    h = x.float() / 255
    for i, (_, _, stride, padding) in enumerate(LAYERS):
        weight, bias = (parameters[f"encoders.0.layers.{i}.{part}"] for part in ("weight", "bias"))
        h = F.relu(F.conv2d(h, weight, bias, stride, padding))
    h = h.flatten(1)
    for place in ("encoders.0.stack", "trunk", "heads.0.q"):
        h = h @ parameters[f"{place}.layers.0.weight"] + parameters[f"{place}.layers.0.bias"]
        h = h if place.startswith("heads") else F.relu(h)
    return h


def test_it_is_a_plain_network_for_every_member_and_so_are_its_gradients() -> None:
    net, x = q_net(), images()
    with torch.no_grad():
        for p in net.parameters():
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    y = net(0, "q", x)
    assert y.shape == (M, 7, 2)
    oracle = torch.stack([plain(net, m, x[m]) for m in range(M)])
    torch.testing.assert_close(y, oracle)
    found, expected = (torch.autograd.grad(out.square().sum(), list(net.parameters())) for out in (y, oracle))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_some_members_alone() -> None:
    net, x, rows = q_net(), images(), torch.tensor([2, 0])
    torch.testing.assert_close(net(0, "q", x[rows], rows), net(0, "q", x)[rows])
    gradients = torch.autograd.grad(net(0, "q", x[rows], rows).sum(), list(net.parameters()))
    assert all(not g[1].any() for g in gradients)


def test_defaults_are_the_network_of_dqn() -> None:
    hp = ConvNet.Hyper(optim_spec=Adam.Hyper(name="Adam"))
    assert shapes(hp.conv_layers, (4, 84, 84)) == [(4, 84, 84), (32, 20, 20), (64, 9, 9), (64, 7, 7)]
    assert hp.hid_layers == [512] and hp.hid_layers_activation == hp.conv_activation == "relu"
    net = ConvNet.build(Stacked([hp]), streams(0), [(4, 84, 84)], [{"q": (6, 1.0)}])
    assert (
        sum(p.numel() for p in net.parameters()) == 1_687_206
    )  # as published code of Mnih et al., 2015, with 6 actions
    assert ConvNet.multiplications(hp, (4, 84, 84), 6) == 9_346_048


def test_a_padding_that_is_not_given_is_none() -> None:
    given = {"optim_spec": Adam.Hyper(name="Adam")}
    assert ConvNet.Hyper(conv_layers=[[4, 3, 1], [4, 3, 1, 2]], **given).conv_layers == [[4, 3, 1, 0], [4, 3, 1, 2]]


@pytest.mark.parametrize("init_fn", ["orthogonal", "default"])
def test_first_weights(init_fn: str) -> None:
    layer = Convolution(streams(), 3, 8, 4, 1, 0, init_fn)
    rows = layer.weight.detach().flatten(2)
    assert rows.shape == (M, 8, 3 * 4 * 4) and layer.bias.shape == (M, 8)
    assert len({own.numpy().tobytes() for own in rows}) == M
    if init_fn == "orthogonal":
        torch.testing.assert_close(rows @ rows.mT, 2 * torch.eye(8).expand(M, 8, 8), atol=1e-5, rtol=0)
        assert not layer.bias.any()
    else:
        bound = 1 / math.sqrt(3 * 4 * 4)
        assert 0.9 * bound < rows.abs().max() <= bound and 0.5 * bound < layer.bias.abs().max() <= bound


def test_a_members_network_and_its_gradients_do_not_depend_on_its_company() -> None:
    keys = {"hid_layers": [16, 16]}
    together, x = q_net(**keys), images(n=8)  # of sizes whose products round alike
    y = together(0, "q", x)
    gradients = torch.autograd.grad(y.square().sum(), list(together.parameters()))
    for m in range(M):
        alone = q_net(m, **keys)
        for a, b in zip(alone.parameters(), together.parameters(), strict=True):
            assert torch.equal(a[0], b[m])
        own = alone(0, "q", x[m : m + 1])
        assert torch.equal(own[0], y[m])
        for a, b in zip(torch.autograd.grad(own.square().sum(), list(alone.parameters())), gradients, strict=True):
            assert torch.equal(a[0], b[m])


@pytest.mark.parametrize("shared", [False, True])
def test_a_shared_encoder_meets_each_image_once(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    net = ActorCritic(ConvNet, hyper(shared=shared), streams(), [Port(IMAGE, 2, True, 5)])
    met: list[Tensor] = []
    forward = Convolved.forward
    monkeypatch.setattr(Convolved, "forward", lambda self, x, rows=None: met.append(x) or forward(self, x, rows))
    policy, value = net.both(0, images())
    assert len(met) == (1 if shared else 2) and value.shape == (M, 7) and policy.mode().shape == (M, 7)


def test_ports_of_images_of_different_sizes_share_the_trunk() -> None:
    net = ConvNet.build(hyper(), streams(), [IMAGE, (1, 5, 5)], [{"q": (2, 1.0)}, {"q": (3, 1.0)}])
    assert net(0, "q", images()).shape == (M, 7, 2)
    assert net(1, "q", images(shape=(1, 5, 5))).shape == (M, 7, 3)


def test_a_perceptron_flattens_and_scales_images() -> None:
    hp = Stacked([MLP.Hyper(hid_layers=[8], optim_spec=Adam.Hyper(name="Adam")) for _ in range(M)])
    net = MLP.build(hp, streams(), [IMAGE], [{"q": (2, 1.0)}])
    assert isinstance(net.encoders[0], Flattened)
    x = images()
    torch.testing.assert_close(net(0, "q", x), net(0, "q", x.float() / 255))


NET: Keys = {"type": "ConvNet", "conv_layers": [[4, 3, 2]], "hid_layers": [8], "optim_spec": {"name": "Adam"}}


def wrong(env: str, **net: Any) -> list[str]:
    """What is wrong with a spec that has this network in this environment."""
    agent = {"name": "a2c", "algorithm": {"name": "A2C"}, "memory": {"name": "Rollout"}, "net": NET | net}
    try:
        spec = build("it", {"agent": agent, "env": {"name": env, "max_frame": 100}})
    except SpecErrors as errors:
        return [str(error) for error in errors.errors]
    return [str(error) for error in problems(spec)]


def test_what_no_image_fits_through_is_an_error_before_anything_starts() -> None:
    assert not wrong("tests.probes:Catch")
    assert wrong("CartPole-v1") == ["agent.0.net.type: convolutions need images, not 4 numbers (CartPole-v1, env.0)"]
    assert wrong("tests.probes:Catch", conv_layers=[[4, 5, 2], [4, 4, 1]]) == [
        "agent.0.net.conv_layers.1: a kernel of 4 x 4 gets an image of 3 x 3 (tests.probes:Catch, env.0)"
    ]
    place = "agent.0.net.conv_layers"
    assert wrong("tests.probes:Catch", conv_layers=[[4, 0, 2]]) == [
        f"{place}.0: channels, kernel and stride must be at least 1, not [4, 0, 2]"
    ]
    assert wrong("tests.probes:Catch", conv_layers=[[4, 3, 2, 3]]) == [
        f"{place}.0: a padding of 3 would show a kernel of 3 nothing but the padding"
    ]
    assert wrong("tests.probes:Catch", conv_layers=[[4, 3]]) == [f"{place}.0: must hold at least 3, not [4, 3]"]
    assert wrong("tests.probes:Catch", conv_layers=[]) == [f"{place}: must not be empty"]
    assert wrong("tests.probes:Catch", conv_layers=[4, 3, 1])[0] == f"{place}.0: must be a list, not 4"

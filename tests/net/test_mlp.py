"""The multi-layer perceptron and the actor-critic over it: what is shared, what is each port's own."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from slmx.dist import Categorical, Categoricals, Gaussian
from slmx.member.hyper import NamedHyper, Stacked
from slmx.member.optim import Adam
from slmx.member.streams import Streams, seed_sequence
from slmx.net.actor_critic import ActorCritic
from slmx.net.layer import Dueling, Network, NoisyLinear, Normalized
from slmx.net.mlp import MLP, Activation
from slmx.net.port import Port

M = 3
DISCRETE, CONTINUOUS = Port((4,), 2, True, 5), Port((3,), 2, False, 6)
SEVERAL = Port((2,), 9, True, 4, (2, 4, 3))


def streams(*sessions: int) -> Streams:
    return Streams([seed_sequence(0, 0, s, "net") for s in sessions or range(M)])


def hyper(**keys: Any) -> Stacked:
    optim: NamedHyper = Adam.Hyper(name="Adam")
    return Stacked([MLP.Hyper(optim_spec=optim, **{"hid_layers": [8, 6], **keys}) for _ in range(M)])


def q_net(inputs: tuple[int, ...] = (4,), outputs: tuple[int, ...] = (2,), **keys: Any) -> Network:
    return MLP.build(hyper(**keys), streams(), [(n,) for n in inputs], [{"q": (n, 1.0)} for n in outputs])


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def widths(module: nn.Module) -> list[tuple[int, ...]]:
    """Inputs and outputs of each layer."""
    return [tuple(p.shape[1:]) for name, p in module.named_parameters() if name.endswith("weight")]


def test_layers_are_as_wide_as_the_spec_says() -> None:
    net = q_net(hid_layers=[8, 6, 5])
    assert widths(net.encoders[0]) == [(4, 8)]
    assert widths(net.trunk) == [(8, 6), (6, 5)]
    assert widths(net.heads[0]["q"]) == [(5, 2)]
    assert net(0, "q", numbers(M, 7, 4)).shape == (M, 7, 2)
    assert widths(q_net(hid_layers=[9])) == [(4, 9), (9, 2)]


def test_equals_a_plain_perceptron_for_every_member() -> None:
    net, x = q_net(hid_layers_activation="relu"), numbers(M, 7, 4)
    for m in range(M):
        layers = [p[m].detach() for p in net.parameters()]
        h = x[m]
        for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
            h = torch.relu(h @ weight + bias)
        torch.testing.assert_close(net(0, "q", x)[m], h @ layers[-2] + layers[-1])


@pytest.mark.parametrize("activation", get_args(Activation))
def test_every_activation_is_applied(activation: str) -> None:
    net, x = q_net(hid_layers=[8], hid_layers_activation=activation), numbers(M, 7, 4)
    expected = getattr(nn.functional, activation)(net.encoders[0].layers[0](x))
    torch.testing.assert_close(net.features(0, x), expected)


def test_observations_of_any_shape_are_flattened() -> None:
    x = numbers(M, 7, 4)
    assert torch.equal(q_net()(0, "q", x.view(M, 7, 2, 2)), q_net()(0, "q", x))


def test_head_depth() -> None:
    assert widths(q_net(head_depth=3).heads[0]["q"]) == [(6, 6), (6, 6), (6, 2)]
    net, x = q_net(head_depth=2), numbers(M, 7, 4)
    features = net.features(0, x)
    first, last = net.heads[0]["q"].layers
    torch.testing.assert_close(net(0, "q", x), last(torch.tanh(first(features))))


def test_dueling_heads() -> None:
    head = q_net(dueling=True, head_depth=2).heads[0]["q"]
    assert isinstance(head, Dueling)
    assert widths(head.value) == [(6, 6), (6, 1)]
    assert widths(head.advantage) == [(6, 6), (6, 2)]


def test_heads_of_actions_and_atoms() -> None:
    net = MLP.build(hyper(dueling=True), streams(), [(4,)], [{"q": ((3, 5), 1.0)}])
    assert net(0, "q", numbers(M, 7, 4)).shape == (M, 7, 15)
    assert widths(net.heads[0]["q"]) == [(6, 5), (6, 15)]
    plain = MLP.build(hyper(), streams(), [(4,)], [{"q": ((3, 5), 1.0)}])
    assert widths(plain.heads[0]["q"]) == [(6, 15)]


def test_every_layer_after_the_encoder_is_noisy() -> None:
    net = q_net(noisy=True, dueling=True, hid_layers=[8, 6, 6], head_depth=2)
    noisy = [name for name, module in net.named_modules() if isinstance(module, NoisyLinear)]
    streams_of_head = [f"heads.0.q.{stream}.layers.{i}" for stream in ("value", "advantage") for i in (0, 1)]
    assert noisy == ["trunk.layers.0", "trunk.layers.1", *streams_of_head]


def test_every_hidden_layer_is_normalised_and_no_output() -> None:
    net = q_net(layer_norm=True, hid_layers=[8, 6], head_depth=2)
    normal = [name for name, module in net.named_modules() if isinstance(module, Normalized)]
    assert normal == ["encoders.0.layers.0", "trunk.layers.0", "heads.0.q.layers.0"]
    features, x = net.encoders[0], numbers(M, 7, 4)
    torch.testing.assert_close(features(x), torch.tanh(nn.functional.layer_norm(features.layers[0].layer(x), (8,))))


def test_ports_of_different_shapes_share_the_trunk_alone() -> None:
    net = q_net(inputs=(4, 3), outputs=(2, 5))
    assert [widths(e) for e in net.encoders] == [[(4, 8)], [(3, 8)]]
    assert [widths(h["q"]) for h in net.heads] == [[(6, 2)], [(6, 5)]]
    assert widths(net.trunk) == [(8, 6)]
    net(0, "q", numbers(M, 7, 4)).sum().backward()
    touched = {name.split(".")[0] + name.split(".")[1] for name, p in net.named_parameters() if p.grad is not None}
    assert touched == {"encoders0", "trunklayers", "heads0"}
    net(1, "q", numbers(M, 7, 3)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_a_members_network_does_not_depend_on_its_company() -> None:
    together = q_net(dueling=True)
    for m in range(M):
        hp = Stacked([MLP.Hyper(optim_spec=Adam.Hyper(name="Adam"), hid_layers=[8, 6], dueling=True)])
        alone = MLP.build(hp, streams(m), [(4,)], [{"q": (2, 1.0)}])
        for a, b in zip(alone.parameters(), together.parameters(), strict=True):
            assert torch.equal(a[0], b[m])


def actor_critic(*ports: Port, critic: bool = True, **keys: Any) -> ActorCritic:
    return ActorCritic(MLP, hyper(**keys), streams(), ports, critic)


@pytest.mark.parametrize("shared", [False, True])
def test_both_equals_each(shared: bool) -> None:
    net = actor_critic(DISCRETE, CONTINUOUS, shared=shared)
    for port, obs in enumerate((numbers(M, 7, 4), numbers(M, 7, 3))):
        policy, value = net.both(port, obs)
        assert torch.equal(value, net.value(port, obs))
        assert value.shape == (M, 7)
        assert torch.equal(policy.mode(), net.policy(port, obs).mode())
        rows = torch.tensor([2, 0])
        some_policy, some_value = net.both(port, obs[rows], rows)
        torch.testing.assert_close(some_value, value[rows])
        action = policy.mode()
        torch.testing.assert_close(some_policy.log_prob(action[rows]), policy.log_prob(action)[rows])


@pytest.mark.parametrize("shared", [False, True])
def test_a_shared_body_is_evaluated_once(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    net, counted = actor_critic(DISCRETE, shared=shared), []
    for module in net.modules():
        if isinstance(module, Network):
            forward = module.trunk.forward
            monkeypatch.setattr(module.trunk, "forward", lambda *x, f=forward: counted.append(1) or f(*x))
    net.both(0, numbers(M, 7, 4))
    assert len(counted) == (1 if shared else 2)
    trunks = [name for name, _ in net.named_parameters() if "trunk" in name and name.endswith("weight")]
    assert len(trunks) == len(counted)


def test_without_a_critic_there_are_no_values() -> None:
    net = actor_critic(DISCRETE, critic=False)
    assert not any("critic" in name or "value" in name for name, _ in net.named_parameters())


def test_first_policies_are_near_uniform_and_gaussians_start_at_deviation_one() -> None:
    net = actor_critic(DISCRETE, CONTINUOUS)
    policy = net.policy(0, numbers(M, 50, 4))
    assert isinstance(policy, Categorical)
    torch.testing.assert_close(policy.log_probs().exp(), torch.full((M, 50, 2), 0.5), atol=0.02, rtol=0)
    gaussian = net.policy(1, numbers(M, 50, 3))
    assert isinstance(gaussian, Gaussian)
    assert not gaussian.log_std.any()
    assert gaussian.mean.abs().max() < 0.05
    own = [name for name, _ in net.named_parameters() if name.startswith("log_std")]
    assert own == ["log_std_1"]


def test_samples_have_the_shapes_of_actions_and_come_from_the_members_own_streams() -> None:
    net = actor_critic(DISCRETE, CONTINUOUS)
    discrete = net.sample(0, numbers(M, 40, 4), streams())
    assert discrete.shape == (M, 40)
    assert discrete.dtype == torch.int64
    continuous = net.sample(1, numbers(M, 40, 3), streams())
    assert continuous.shape == (M, 40, 2)
    assert len({row.numpy().tobytes() for row in discrete}) == M
    assert len({row.detach().numpy().tobytes() for row in continuous}) == M


@pytest.mark.parametrize("shared", [False, True])
def test_several_choices_at_once_have_a_policy_each_and_one_head(shared: bool) -> None:
    net = actor_critic(DISCRETE, SEVERAL, CONTINUOUS, shared=shared)
    assert widths(net.actor.heads[1]["policy"]) == [(6, 9)]
    policy, value = net.both(1, numbers(M, 50, 2))
    assert isinstance(policy, Categoricals) and value.shape == (M, 50)
    assert isinstance(net.policy(0, numbers(M, 50, 4)), Categorical)
    assert isinstance(net.policy(2, numbers(M, 50, 3)), Gaussian)
    uniform = (torch.tensor([2, 4, 3]).log()).sum().expand(M, 50)
    torch.testing.assert_close(policy.log_prob_entropy(policy.mode())[1], uniform, atol=0.01, rtol=0)
    drawn = net.sample(1, numbers(M, 40, 2), streams())
    assert drawn.shape == (M, 40, 3) and drawn.dtype == torch.int64
    assert [len(column.unique()) for column in drawn.flatten(0, 1).unbind(-1)] == [2, 4, 3]
    assert len({row.numpy().tobytes() for row in drawn}) == M


def test_actions_as_numbers() -> None:
    one = torch.tensor([[0, 1], [1, 1]])
    assert DISCRETE.as_vector(one, torch.float64).tolist() == [[[1, 0], [0, 1]], [[0, 1], [0, 1]]]
    several = torch.tensor([[[0, 3, 1]], [[1, 0, 2]]])
    numbers_ = SEVERAL.as_vector(several, torch.float32)
    assert numbers_.dtype == torch.float32
    assert numbers_.tolist() == [[[1, 0, 0, 0, 0, 1, 0, 1, 0]], [[0, 1, 1, 0, 0, 0, 0, 0, 1]]]
    real = torch.rand(2, 3, 2)
    assert CONTINUOUS.as_vector(real, torch.float32) is real


def test_uniform_actions_are_of_every_kind_and_of_the_members_own_streams() -> None:
    one, several, real = (port.uniform(streams(), 600) for port in (DISCRETE, SEVERAL, CONTINUOUS))
    assert one.shape == (M, 600) and several.shape == (M, 600, 3) and one.dtype == several.dtype == torch.int64
    for column, n in zip(several.flatten(0, 1).unbind(-1), SEVERAL.choices, strict=True):
        shares = column.bincount(minlength=n) / len(column)
        torch.testing.assert_close(shares, torch.full((n,), 1 / n), atol=0.05, rtol=0)
    assert real.shape == (M, 600, 2) and real.min() < -0.9 and real.max() > 0.9
    for port, together in ((DISCRETE, one), (SEVERAL, several), (CONTINUOUS, real)):
        assert torch.equal(port.uniform(streams(1), 600)[0], together[1])

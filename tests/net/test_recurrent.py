"""Recurrent networks: each member's is torch's of the same weights, and states begin anew where episodes do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slmx.env.base import Step
from slmx.member.hyper import NamedHyper, Stacked
from slmx.member.optim import Adam
from slmx.member.streams import Streams, seed_sequence
from slmx.net.actor_critic import ActorCritic
from slmx.net.cell import CELLS, Cell, RecurrentNetwork
from slmx.net.port import Port
from slmx.net.recurrent import RNN
from slmx.net.sequence import Carry, States, Unroll

M, T, B, H = 3, 6, 4, 5
PORT = Port((2,), 3, True, B)


def streams(*sessions: int) -> Streams:
    return Streams([seed_sequence(0, 0, s, "net") for s in sessions or range(M)], torch.float64)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hyper(**keys: Any) -> Stacked:
    optim: NamedHyper = Adam.Hyper(name="Adam")
    return Stacked([RNN.Hyper(optim_spec=optim, **{"hid_layers": [7], "rnn_hidden_size": H, **keys})] * M)


def network(*inputs: int, **keys: Any) -> RecurrentNetwork:
    shapes = [(n,) for n in inputs or (2,)]
    return RNN.build(hyper(**keys), streams(), shapes, [{"q": (3, 1.0)} for _ in shapes])


def ends(*shape: int) -> Tensor:
    return numbers(*shape, seed=9) > 0.5


def oracle_of(cells: list[Cell], m: int, n_in: int) -> nn.GRU | nn.LSTM:
    """torch's recurrent layers with the weights of member m."""
    kind = {"GRU": nn.GRU, "LSTM": nn.LSTM}[type(cells[0]).__name__]
    oracle = kind(n_in, H, len(cells)).double()
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    for layer, cell in enumerate(cells):
        maps = cell.input.weight[m].T, cell.recurrent.weight[m].T, cell.input.bias[m, 0], cell.recurrent.bias[m, 0]
        oracle.load_state_dict({f"{n}_l{layer}": x.detach() for n, x in zip(names, maps, strict=True)}, strict=False)
    return oracle


def by_torch(net: RecurrentNetwork, m: int, x: Tensor, state: Tensor) -> Tensor:
    """What torch's layers make of one member's inputs `[T, B, n]`: the states after each step, `[T, B, S]`."""
    cells, after = list(net.cells), []
    oracle = oracle_of(cells, m, x.shape[-1])
    own = [part.chunk(cells[0].parts, -1) for part in state.split(net.sizes, -1)]
    hidden = torch.stack([parts[-1] for parts in own])
    memory: Any = (hidden, torch.stack([parts[0] for parts in own])) if len(own[0]) == 2 else hidden
    for t in range(len(x)):
        _, memory = oracle(x[t : t + 1], memory)
        layers = zip(*memory[::-1], strict=True) if isinstance(memory, tuple) else zip(memory, strict=True)
        after.append(torch.cat([part for layer in layers for part in layer], -1))
    return torch.stack(after)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_every_member_is_torchs_of_the_same_weights(cell: str, layers: int) -> None:
    net = network(cell_type=cell, rnn_num_layers=layers, init_fn="default")
    obs, state = numbers(M, T, B, 2), numbers(M, B, net.state_size, seed=1)
    found = net.features(0, Unroll(obs, state)).unflatten(1, (T, B))
    for m in range(M):
        x = net.encoders[0](obs.flatten(1, 2))[m].unflatten(0, (T, B))
        torch.testing.assert_close(found[m], by_torch(net, m, x, state[m]))
    rows = torch.tensor([2, 0])
    torch.testing.assert_close(net.features(0, Unroll(obs[rows], state[rows]), rows), found[rows].flatten(1, 2))


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_torchs(cell: str) -> None:
    net = network(cell_type=cell)
    obs, weight = numbers(M, T, B, 2), numbers(T, B, H, seed=2)
    found = net.features(0, Unroll(obs, torch.zeros(M, B, net.state_size).double())).unflatten(1, (T, B))
    layer: Any = net.cells[0]
    gradients = torch.autograd.grad((found[..., -H:] * weight).sum(), [layer.input.weight, layer.recurrent.weight])
    for m in range(M):
        oracle = oracle_of(list(net.cells), m, 7)
        output, _ = oracle(net.encoders[0](obs.flatten(1, 2))[m].unflatten(0, (T, B)).detach())
        expected = torch.autograd.grad((output * weight).sum(), [oracle.weight_ih_l0, oracle.weight_hh_l0])
        for one, other in zip(gradients, expected, strict=True):
            torch.testing.assert_close(one[m], other.T)


@pytest.mark.parametrize("cell", CELLS)
def test_states_begin_anew_where_an_episode_began(cell: str) -> None:
    net = network(cell_type=cell, rnn_num_layers=2)
    obs, state, done = numbers(M, T, B, 2), numbers(M, B, net.state_size, seed=1), ends(M, T, B)
    assert done[:, :-1].any() and not done[:, :-1].all()
    found = net.features(0, Unroll(obs, state, done)).unflatten(1, (T, B))
    for t in range(T):  # step by step, as an agent acts
        after = net.features(0, Unroll(obs[:, t : t + 1], state))
        torch.testing.assert_close(found[:, t], after)
        state = after.masked_fill(done[:, t].unsqueeze(-1), 0)


def test_a_poisoned_state_ends_with_its_episode() -> None:
    net, done = network(), torch.zeros(M, T, B, dtype=torch.bool)
    done[:, 2] = True
    sick = torch.full((M, B, net.state_size), torch.nan).double()
    after = net.features(0, Unroll(numbers(M, T, B, 2), sick, done)).unflatten(1, (T, B))
    assert after[:, :3].isnan().all() and after[:, 3:].isfinite().all()


def test_default_weights_are_torchs_and_orthogonal_ones_orthogonal() -> None:
    layer: Any = network(init_fn="default").cells[0]
    bound = H**-0.5
    for parameter in layer.parameters():
        assert 0.8 * bound < parameter.abs().max() <= bound
    weight = network().cells[0].recurrent.weight.detach()  # type: ignore[union-attr]
    torch.testing.assert_close(weight @ weight.mT, torch.eye(H).double().expand(M, H, H))


def test_heads_look_at_the_last_layers_output() -> None:
    net = network(cell_type="LSTM", rnn_num_layers=2, head_depth=2)
    state = numbers(M, B, net.state_size)
    assert net.state_size == 4 * H
    assert torch.equal(net(0, "q", States(state)), net.heads[0]["q"](state[..., -H:]))
    first = numbers(M, B, 2)
    nothing = torch.zeros(M, B, net.state_size).double()
    assert torch.equal(net(0, "q", first), net(0, "q", Unroll(first.unsqueeze(1), nothing))), "the first of episodes"


def test_ports_share_all_but_encoder_and_heads() -> None:
    net = network(2, 4)
    net(1, "q", numbers(M, B, 4)).sum().backward()
    touched = {name for name, p in net.named_parameters() if p.grad is not None}
    assert any("cells" in name for name in touched)
    assert not any(name.startswith(("encoders.0", "heads.0")) for name in touched)


def test_taken_sequences_are_those_bodies() -> None:
    net, obs = network(), numbers(M, T, B, 2)
    whole = Unroll(obs, numbers(M, B, net.state_size, seed=1), ends(M, T, B))
    bodies = torch.tensor([[3, 0], [1, 2], [2, 2]])
    part = net.features(0, whole.take(bodies))
    every = net.features(0, whole)
    for m in range(M):
        torch.testing.assert_close(part[m], every[m][whole.steps(bodies)[m]])
        assert whole.steps(bodies)[m].tolist() == [t * B + b for t in range(T) for b in bodies[m].tolist()]


@pytest.mark.parametrize("shared", [False, True])
def test_actor_and_critic_each_have_their_states(shared: bool) -> None:
    net = ActorCritic(RNN, hyper(shared=shared), streams(), [PORT])
    assert net.state_size == (H if shared else 2 * H)
    whole = Unroll(numbers(M, T, B, 2), numbers(M, B, net.state_size, seed=1), ends(M, T, B))
    states = States(net.features(0, whole))
    assert states.shape == (M, T * B, net.state_size)
    for policy, value in (net.both(0, whole), net.both(0, states), (net.policy(0, whole), net.value(0, states))):
        assert torch.equal(policy.mode(), net.policy(0, states).mode())
        torch.testing.assert_close(value, net.value(0, whole))
    if not shared:  # the critic's part of the state is nothing to the actor
        other = States(torch.cat([states.state[..., :H], numbers(M, T * B, H)], -1))
        assert torch.equal(net.policy(0, other).logits, net.policy(0, states).logits)  # type: ignore[union-attr]
        assert not torch.equal(net.value(0, other), net.value(0, states))


def test_what_is_carried() -> None:
    """State, last action and reward go on from step to step, and begin anew in bodies whose episode ended."""
    told = PORT.told()
    assert told.obs_shape == (2 + 3 + 1,)
    net = RNN.build(hyper(), streams(), [told.obs_shape], [{"q": (3, 1.0)}])
    carry, obs = Carry(net.state_size, [told], True, torch.float64), numbers(M, B, 2)
    after = carry.think(net, 0, obs).state
    first = torch.cat([obs, torch.zeros(M, B, 4)], -1)
    torch.testing.assert_close(after, net.features(0, first))
    action, reward, done = torch.ones(M, B, dtype=torch.int64), numbers(M, B, seed=3), ends(M, B)
    came = Step(obs + 2, obs + 1, 7 * reward, done, torch.zeros_like(done))
    seen, _, step = carry.lived(0, obs, action, came, reward)
    assert step.reward is came.reward
    assert torch.equal(seen, first)
    last = torch.cat([torch.tensor([0.0, 1, 0]).expand(M, B, 3), reward.unsqueeze(-1)], -1)
    torch.testing.assert_close(step.next_obs, torch.cat([obs + 1, last], -1))
    carry.advance(0, action, reward, done)
    for kept, expected in ((carry.state[0], after), (carry.last[0], last)):
        assert not kept[done].any()
        torch.testing.assert_close(kept[~done], expected[~done])
    carry.keep([2, 0])
    assert torch.equal(carry.state[0], after.masked_fill(done.unsqueeze(-1), 0)[[2, 0]])

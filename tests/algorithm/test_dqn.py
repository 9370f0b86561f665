"""The options of DQN in the place where they meet: what the loss is, what comes again, and when noise is drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from slmx import ops
from slmx.algorithm.dqn import DQN
from slmx.net.layer import Network
from tests.programs import NET, Keys, spec, trained

M, N, ATOMS = 3, 8, 5
ENV: Keys = {"name": "CartPole-v1", "max_frame": 100}


def agent(memory: str = "Replay", net: Keys | None = None, **algorithm: Any) -> DQN:
    """An agent after 50 steps of two bodies, before its first update."""
    keys = {"name": "DQN", "training_start_step": 1000, "training_frequency": 1, "explore_var": 1.0} | algorithm
    if keys.get("action_policy") == "greedy":
        keys.pop("explore_var")
    one = spec(
        keys, {"name": memory, "max_size": 100, "batch_size": N}, ENV, NET | (net or {}), 2, {"dtype": "float64"}
    )
    made = trained(one, M)
    result = made.agents[0]
    assert isinstance(result, DQN) and result.updates == 0
    result.target.flat.mul_(0.8)
    return result


def sampled(own: DQN, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The batch that the next loss is of."""
    batch = own.memory[0].sample()
    monkeypatch.setattr(own.memory[0], "sample", lambda: batch)
    return batch


@pytest.mark.parametrize("double", [False, True])
def test_categorical_loss_equals_the_definition(double: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    own = agent("PrioritizedReplay", {"dueling": True}, double=double, atoms=ATOMS, v_min=-2.0, v_max=12.0)
    batch, z = sampled(own, monkeypatch), torch.linspace(-2, 12, ATOMS, dtype=torch.float64)
    losses = own.loss(0)
    following, online, now = (
        net(0, "q", x).detach().view(M, N, 2, ATOMS)
        for net, x in ((own.target.network, batch.next_obs), (own.net, batch.next_obs), (own.net, batch.obs))
    )
    divergence = torch.zeros(M, N, dtype=torch.float64)
    for m in range(M):
        for n in range(N):
            best = int(((online if double else following)[m, n].softmax(-1) @ z).argmax())
            target = torch.zeros(ATOMS, dtype=torch.float64)
            for p, value in zip(following[m, n, best].softmax(-1).tolist(), z.tolist(), strict=True):
                moved = min(max(batch.reward[m, n].item() + batch.bootstrap[m, n].item() * value, -2), 12)
                for k in range(ATOMS):
                    target[k] += p * max(0.0, 1 - abs(moved - z[k].item()) / 3.5)
            logits = now[m, n, batch.action[m, n]]
            divergence[m, n] = (torch.special.xlogy(target, target) - target * logits.log_softmax(-1)).sum()
    torch.testing.assert_close(losses, (batch.weight * divergence).mean(1))
    held = own.memory[0].tree.levels[2].gather(1, batch.index)
    torch.testing.assert_close(held, (divergence + 1e-4) ** 0.6)


def test_actions_are_those_of_the_greatest_mean() -> None:
    own, obs = agent(atoms=ATOMS, v_min=0.0, v_max=8.0), numbers(M, N, 4)
    logits = own.net(0, "q", obs).view(M, N, 2, ATOMS)
    means = logits.softmax(-1) @ torch.tensor([0.0, 2, 4, 6, 8], dtype=torch.float64)
    torch.testing.assert_close(own.values(own.outputs(own.net, 0, obs)), means)
    assert torch.equal(own.act([obs], greedy=True)[0], means.argmax(-1))


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).double()


class Drawn:
    """The noise of every network that asked for some, in order: whose, and its outputs for one observation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.networks: list[Network] = []
        self.outputs: list[Tensor] = []
        forward = Network.forward

        def listened(network: Network, port: int, name: str, obs: Tensor, rows: Tensor | None = None) -> Tensor:
            if any(layer._noise is not None for layer in network._noisy):
                self.networks.append(network)
                self.outputs.append(forward(network, port, name, torch.ones(M, 1, 4).double()))
            return forward(network, port, name, obs, rows)

        monkeypatch.setattr(Network, "forward", listened)


@pytest.mark.parametrize(("double", "of"), [(False, ["net", "target"]), (True, ["net", "target", "net"])])
def test_every_network_has_noise_of_its_own_in_every_update(
    double: bool, of: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = agent(net={"noisy": True}, double=double, action_policy="greedy")
    own.target.flat.copy_(own.optim.flat)  # so that outputs differ by their noise alone
    drawn = Drawn(monkeypatch)
    for _ in range(2):
        own.loss(0)
    networks = {"net": own.net, "target": own.target.network}
    assert drawn.networks == [networks[name] for name in of] * 2
    assert len({outputs.detach().numpy().tobytes() for outputs in drawn.outputs}) == 2 * len(of)


def test_noise_is_new_at_every_step_and_absent_without_exploration(monkeypatch: pytest.MonkeyPatch) -> None:
    own, drawn = agent(net={"noisy": True}, action_policy="greedy"), Drawn(monkeypatch)
    obs = numbers(M, N, 4)
    for _ in range(3):
        own.act([obs])
    assert len({outputs.numpy().tobytes() for outputs in drawn.outputs}) == 3
    at = own.exploring._normal.at
    greedy = [own.act([obs], greedy=True)[0] for _ in range(2)]
    assert len(drawn.outputs) == 3 and own.exploring._normal.at == at
    assert torch.equal(greedy[0], greedy[1]) and torch.equal(greedy[0], own.net(0, "q", obs).argmax(-1))


def test_gradients_of_the_divergence_are_those_of_the_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    own = agent(atoms=ATOMS, v_min=-2.0, v_max=12.0)
    batch = sampled(own, monkeypatch)
    parameters = list(own.net.parameters())
    found = torch.autograd.grad(own.loss(0).sum(), parameters)
    logits = ops.pick(own.by_atom(own.net(0, "q", batch.obs)), batch.action)
    following = own.by_atom(own.target.network(0, "q", batch.next_obs))
    best = ops.expectation(following, own.support).argmax(-1)
    target = ops.project(ops.pick(following, best).softmax(-1), batch.reward, batch.bootstrap, own.support)
    entropy = -(target.detach() * logits.log_softmax(-1)).sum(-1).mean(1)
    torch.testing.assert_close(found, torch.autograd.grad(entropy.sum(), parameters))

"""Agents with recurrent networks: what they carry, what they learn from it, and what they alone can remember.

That states follow members, are the same alone and in company, and survive a resume: the cases "recurrent" of
test_members.py, test_axis.py and test_resume.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from slmx import ops
from slmx.evaluation import evaluate
from slmx.memory.batch import Batch
from slmx.net.sequence import States, Unroll
from slmx.session import Program, Session
from slmx.spec.build import attempt
from slmx.spec.check import problems
from tests.programs import Keys, spec, trained

M, BODIES = 16, 4
ROLLOUT: Keys = {"name": "Rollout"}
EPISODES: Keys = {"name": "Episodes", "episodes": 8}
MLP: Keys = {"type": "MLP", "hid_layers": [16, 16], "optim_spec": {"name": "Adam", "lr": 0.01}}
GRU: Keys = MLP | {"type": "RNN", "hid_layers": [16], "rnn_hidden_size": 16}
LSTM: Keys = GRU | {"cell_type": "LSTM", "shared": True, "prev_action_reward": True}
OFF_POLICY: Keys = {
    "name": "DQN", "gamma": 0.9, "training_start_step": 128, "training_frequency": 8, "update_frequency": 100,
    "explore_var": {"name": "linear_decay", "start_val": 1.0, "end_val": 0.1, "end_step": 2000},
}  # fmt: skip
SEQUENCES: Keys = {"name": "SequenceReplay", "max_size": 500, "batch_size": 8, "sequence_length": 8, "burn_in": 4}
# how each algorithm is run: algorithm, memory, network, frames of a member
WAYS: dict[str, tuple[Keys, Keys, Keys, int]] = {
    "REINFORCE": ({"name": "REINFORCE", "gamma": 0.9, "baseline": True}, EPISODES, GRU, 3000),
    "A2C": ({"name": "A2C", "gamma": 0.9, "lam": 0.9, "time_horizon": 8}, ROLLOUT, LSTM, 3000),
    "PPO": (
        {"name": "PPO", "gamma": 0.9, "lam": 0.9, "time_horizon": 16, "minibatch_size": 32, "training_epoch": 4},
        ROLLOUT, GRU, 2400,
    ),
    "DRQN": (OFF_POLICY, SEQUENCES, GRU, 3000),
    "R2D1": (
        OFF_POLICY | {"value_rescale": True, "double": True, "num_step_returns": 2},
        SEQUENCES | {"name": "PrioritizedSequenceReplay"}, GRU | {"cell_type": "LSTM"}, 3000,
    ),
}  # fmt: skip


def returns(program: Program) -> Tensor:
    """Mean greedy returns of 20 episodes, `[M]`."""
    played = evaluate(program, 20)
    return torch.tensor([sum(one.total for one in played if one.member == m) / 20 for m in range(program.members)])


def probed(algorithm: Keys, memory: Keys, net: Keys, frames: int) -> Tensor:
    env = {"name": "tests.probes:Recall", "max_frame": frames}
    return returns(trained(spec(algorithm, memory, env, net, BODIES), M))


@pytest.mark.parametrize("way", WAYS)
def test_what_was_seen_first_is_remembered(way: str) -> None:
    found = probed(*WAYS[way])
    assert (found == 1).sum() >= M - 1, found


@pytest.mark.parametrize(("way", "memory"), [("A2C", ROLLOUT), ("PPO", ROLLOUT), ("DRQN", {"name": "Replay"})])
def test_no_other_network_can_remember(way: str, memory: Keys) -> None:
    algorithm, _, _, frames = WAYS[way]
    found = probed(algorithm, memory, MLP, frames)
    assert (found == 1).sum() == 0 and abs(found.mean()) < 0.3


def half(algorithm: Keys, memory: Keys, net: Keys, **env: Any) -> Program:
    """Two members in the middle of their training, in float64."""
    env = {"name": "tests.probes:Drift", "max_frame": 400, "normalize_reward": True} | env
    one = spec(algorithm, memory, env, net, 3, {"dtype": "float64", "checkpoint_frequency": 150})
    return Program([Session(one, 0, index) for index in range(2)])


@pytest.mark.parametrize("net", [GRU, LSTM | {"rnn_num_layers": 2}], ids=["GRU", "LSTM"])
def test_rollouts_lead_through_the_states_that_were_met_when_acting(net: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unrolled from the stored state, across the ends of episodes and of epochs, in which states begin anew."""
    program = half({"name": "A2C", "time_horizon": 7}, ROLLOUT, net)
    agent: Any = program.agents[0]
    met: list[Tensor] = []
    rollouts = 0
    explore, learn = agent.explore, agent.learn

    def explored(port: int, states: States) -> Tensor:
        assert isinstance(states, States)
        met.append(states.state)
        return explore(port, states)

    def learned(batches: list[Batch]) -> None:
        nonlocal rollouts
        (batch,) = batches
        with torch.no_grad():
            found = agent.net.features(0, agent.seen(batch)).unflatten(1, (7, 3))
        torch.testing.assert_close(found, torch.stack(met[-7:], 1))
        assert rollouts == 0 or batch.state.any(), "a rollout begins where the last one ended"
        rollouts += 1
        learn(batches)

    monkeypatch.setattr(agent, "explore", explored)
    monkeypatch.setattr(agent, "learn", learned)
    program.run()
    assert rollouts == 19 and not program.failures


@pytest.mark.parametrize(("actions", "choices"), [("discrete", (2,)), ("multidiscrete", (2, 3))])
def test_the_last_action_stands_beside_each_observation_as_one_hots(
    actions: str, choices: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = half({"name": "A2C", "time_horizon": 7}, ROLLOUT, LSTM, kwargs={"actions": actions})
    agent: Any = program.agents[0]
    batches: list[Batch] = []
    monkeypatch.setattr(agent, "learn", lambda own: batches.extend(own))
    program.run()
    assert agent.ports[0].obs_size == 2 + sum(choices) + 1
    for batch in batches:
        parts = zip(batch.action.view(2, 7, 3, -1).unbind(-1), choices, strict=True)
        told = torch.cat([*(torch.eye(n, dtype=torch.float64)[own] for own, n in parts), batch.reward[..., None]], -1)
        torch.testing.assert_close(batch.next_obs[..., 2:], told, rtol=0, atol=0)
        later = told[:, :-1].masked_fill(batch.done[:, :-1, :, None], 0)
        torch.testing.assert_close(batch.obs[:, 1:, :, 2:], later, rtol=0, atol=0)


def test_successors_are_valued_after_all_that_was_seen() -> None:
    program = half({"name": "A2C", "time_horizon": 6}, ROLLOUT, LSTM | {"shared": False})
    program.run()
    agent: Any = program.agents[0]
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(2, 6, 3, *shape, generator=generator, dtype=torch.float64)
    obs, done, size = draw(agent.ports[0].obs_size), draw() > 0.5, agent.net.state_size
    next_obs = draw(agent.ports[0].obs_size)
    next_obs[:, :-1] = torch.where(done[:, :-1].unsqueeze(-1), next_obs[:, :-1], obs[:, 1:])
    batch = Batch(0, obs, done.long(), draw(), next_obs, done, done, state=draw(size)[:, 0])
    with torch.no_grad():
        _, value, next_value = (x if not isinstance(x, Tensor) else x.view(2, 6, 3) for x in agent.predict(batch))
        state = batch.state
        for t in range(6):
            after = agent.net.features(0, Unroll(obs[:, t : t + 1], state))
            torch.testing.assert_close(value[:, t], agent.net.value(0, States(after)))
            torch.testing.assert_close(next_value[:, t], agent.net.value(0, Unroll(next_obs[:, t : t + 1], after)))
            state = after.masked_fill(done[:, t].unsqueeze(-1), 0)
    goes_on = ~done[:, :-1]
    torch.testing.assert_close(next_value[:, :-1][goes_on], value[:, 1:][goes_on])


@pytest.mark.parametrize("changes", [{}, {"double": True, "num_step_returns": 3, "value_rescale": True}])
@pytest.mark.parametrize("burn_in", [0, 2])
def test_the_loss_of_sequences_is_that_of_stepping_through_them(burn_in: int, changes: Keys) -> None:
    memory = SEQUENCES | {"burn_in": burn_in, "sequence_length": 5}
    program = half(OFF_POLICY | {"update_frequency": 190} | changes, memory, GRU | {"dueling": True}, max_frame=390)
    program.run()
    agent: Any = program.agents[0]
    batch = agent.memory[0].sample()
    agent.memory[0].sample = lambda: batch
    gamma, n = 0.9, changes.get("num_step_returns", 1)
    h, back = (ops.rescale, ops.rescale_back) if changes.get("value_rescale") else (lambda x: x, lambda x: x)
    with torch.no_grad():
        found = agent.loss(0)
        assert not torch.equal(agent.target.flat, agent.optim.flat)
        own = target = batch.state
        q, following = [], []
        for t in range(burn_in + 5):
            obs, next_obs = batch.obs[:, t : t + 1], batch.next_obs[:, t : t + 1]
            own, target = agent.net.features(0, Unroll(obs, own)), agent.target.network.features(0, Unroll(obs, target))
            q.append(ops.pick(agent.net(0, "q", States(own)), batch.action[:, t]))
            next_q = agent.target.network(0, "q", Unroll(next_obs, target))
            chooser = agent.net(0, "q", Unroll(next_obs, own)) if changes.get("double") else next_q
            following.append(back(ops.pick(next_q, chooser.argmax(-1))))
            own, target = (x.masked_fill(batch.done[:, t].unsqueeze(-1), 0) for x in (own, target))
        losses = torch.zeros(2, 8, 5, dtype=torch.float64)
        for m, i, t in torch.cartesian_prod(torch.arange(2), torch.arange(8), torch.arange(burn_in, burn_in + 5)):
            total, factor = 0.0, 1.0
            for k in range(t, min(t + n, burn_in + 5)):
                total, factor = total + factor * batch.reward[m, k, i], factor * gamma
                if batch.done[m, k, i]:
                    break
            total += factor * following[k][m, i] * ~batch.terminated[m, k, i]
            losses[m, i, t - burn_in] = ops.huber(q[t][m, i], h(torch.as_tensor(total)))
    torch.testing.assert_close(found, losses.mean((1, 2)))


def test_nobody_else_carries_anything() -> None:
    for algorithm, memory in (
        ({"name": "A2C"}, ROLLOUT),
        ({"name": "DQN"}, {"name": "Replay"}),
        ({"name": "Random"}, {}),
    ):
        agent = half(algorithm, memory, MLP if memory else {}, normalize_reward=False).agents[0]
        assert agent.carry is None and agent.greedy_carry is None


SEQUENTIAL = "a recurrent network learns from whole sequences"
WRONG: list[tuple[Keys, Keys, Keys, str]] = [
    ({"name": "SARSA"}, ROLLOUT, GRU,
     "agent.0.net.type: SARSA cannot learn with a recurrent network; REINFORCE, A2C, PPO, DQN can"),
    ({"name": "DQN"}, {"name": "Replay"}, GRU,
     "agent.0.memory.name: a recurrent network cannot learn from Replay; "
     "with DQN it learns from SequenceReplay or PrioritizedSequenceReplay"),
    ({"name": "DQN"}, {"name": "SequenceReplay"}, MLP,
     "agent.0.memory.name: SequenceReplay is for recurrent networks, and MLP is none"),
    ({"name": "PPO"}, {"name": "SequenceReplay"}, GRU,
     "agent.0.memory.name: PPO cannot learn from SequenceReplay; it learns from Rollout"),
    ({"name": "PPO", "time_horizon": 32, "minibatch_size": 16}, ROLLOUT, GRU,
     f"agent.0.algorithm.minibatch_size: 16 is no multiple of time_horizon 32: {SEQUENTIAL}"),
    ({"name": "DQN"}, {"name": "SequenceReplay", "batch_size": 8, "max_size": 4}, GRU,
     "agent.0.memory.batch_size: 8 is more than max_size 4"),
    ({"name": "DQN", "num_step_returns": 6}, {"name": "SequenceReplay", "sequence_length": 5}, GRU,
     "agent.0.algorithm.num_step_returns: 6 are more than the 5 steps of memory.sequence_length"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("algorithm", "memory", "net", "message"), WRONG, ids=lambda x: x if isinstance(x, str) else ""
)
def test_what_does_not_go_together_is_one_error(algorithm: Keys, memory: Keys, net: Keys, message: str) -> None:
    agent = {"name": "a", "algorithm": algorithm, "memory": memory, "net": net}
    raw = {"agent": agent, "env": {"name": "CartPole-v1", "max_frame": 100}, "body": {"num": 2}}
    built, errors = attempt("wrong", raw)
    assert [str(error) for error in errors or problems(built)] == [message]  # type: ignore[arg-type]


def test_minibatches_of_sequences_need_enough_of_them_everywhere() -> None:
    agent = {"name": "a", "algorithm": {"name": "PPO", "time_horizon": 8, "minibatch_size": 8}, "memory": ROLLOUT}
    envs = [{"name": "CartPole-v1", "max_frame": 64}, {"name": "Acrobot-v1", "max_frame": 64}]
    built, _ = attempt("two", {"agent": agent | {"net": GRU}, "env": envs, "body": {"num": [1, 3]}})
    assert built is not None
    assert [str(error) for error in problems(built)] == [
        "agent.0.algorithm.minibatch_size: 8 makes 4 minibatches, each with sequences of every environment: "
        "one has 1 sequence"
    ]
    agent["algorithm"]["minibatch_size"] = 16
    fits, _ = attempt("two", {"agent": agent | {"net": GRU}, "env": envs, "body": {"num": [1, 1]}})
    assert fits is not None and not problems(fits)


@pytest.mark.parametrize("name", ["SequenceReplay", "PrioritizedSequenceReplay"])
def test_sequences_longer_than_any_episode_are_refused(name: str) -> None:
    for length, limit in ((21, 20), (20, 20), (501, None), (500, None)):
        env = {"name": "CartPole-v1", "max_frame": 3000, "max_t": limit}
        one = spec(OFF_POLICY, SEQUENCES | {"name": name, "sequence_length": length}, env, GRU)
        wrong = (
            f"agent.0.memory.sequence_length: {length} steps are more than any episode of CartPole-v1 (env.0) has: "
            f"it ends after {limit or 500}"
        )
        assert [str(error) for error in problems(one)] == ([wrong] if length > (limit or 500) else [])
    endless = {"name": "tests.probes:Recall", "max_frame": 3000}
    assert not problems(spec(OFF_POLICY, SEQUENCES | {"name": name, "sequence_length": 501}, endless, GRU))

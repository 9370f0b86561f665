"""What a session learns does not depend on its company, for every algorithm with every memory and kind of action.

Comparisons are bit for bit in float32, with layers of sizes whose matrix products round alike for one member and many.
Where other sessions decide about the shape of a batch (whole episodes, padded to the longest) rounding may differ:
those cases are in float64, and sessions in different company compared to 1e-5. So is that of minibatches of a single
sequence, with products of a matrix and a vector, which a BLAS rounds by how a member's weights are aligned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from slmx.algorithm import ALGORITHMS
from slmx.member.hyper import Hyper, varies
from slmx.member.schedule import Schedule
from slmx.session import Program, Session
from slmx.spec.dump import dump, with_settings
from slmx.spec.model import Spec
from slmx.spec.registry import REGISTRIES
from slmx.watch import Episode, Evaluation
from tests.programs import Keys, parameters, spec

M, BODIES = 16, 2
NET: Keys = {
    "type": "MLP", "hid_layers": [16, 16], "clip_grad_val": 0.5,
    "optim_spec": {"name": "Adam", "lr": 0.01, "eps": 1e-3, "weight_decay": 0.01},
}  # fmt: skip
DECAYING: Keys = {
    "optim_spec": {
        "name": "RMSprop", "momentum": 0.5, "weight_decay": 0.01,
        "lr": {"name": "linear_decay", "start_val": 0.01, "end_val": 0.001},
    }
}  # fmt: skip
EPISODES: Keys = {"name": "Episodes", "episodes": 2}
REPLAY: Keys = {"name": "Replay", "max_size": 60, "batch_size": 8}
PRIORITIZED: Keys = REPLAY | {"name": "PrioritizedReplay"}
SOON: Keys = {"training_start_step": 16, "training_frequency": 4}
IMAGES: Keys = {"type": "ConvNet", "conv_layers": [[8, 3, 2]]}
GRU: Keys = {"type": "RNN", "rnn_hidden_size": 16}
LSTM: Keys = GRU | {"cell_type": "LSTM", "rnn_num_layers": 2, "prev_action_reward": True, "shared": True}
SEQUENCES: Keys = {"name": "SequenceReplay", "max_size": 12, "batch_size": 4, "sequence_length": 3, "burn_in": 2}
# how each algorithm is run: algorithm, memory, changes to the network, frames of a member for at least 50 updates
WAYS: dict[str, tuple[Keys, Keys, Keys, int]] = {
    "Random": ({"name": "Random"}, {}, {}, 200),
    "REINFORCE": ({"name": "REINFORCE", "baseline": True}, EPISODES, {}, 560),
    "A2C": (
        {"name": "A2C", "time_horizon": 4, "normalize_advantage": True}, {"name": "Rollout"}, {"shared": True}, 416,
    ),
    "A2C-episodes": ({"name": "A2C", "normalize_advantage": True}, EPISODES, DECAYING, 560),
    "A2C-imitating": (
        {"name": "A2C", "time_horizon": 4, "sil_iter": 2, "sil_max_size": 40, "sil_batch_size": 8},
        {"name": "Rollout"}, {"layer_norm": True}, 416,
    ),
    "PPO": (
        {"name": "PPO", "time_horizon": 8, "minibatch_size": 8, "training_epoch": 2, "clip_vloss": True},
        {"name": "Rollout"}, {}, 224,
    ),
    "PPO-imitating": (
        {"name": "PPO", "time_horizon": 8, "minibatch_size": 8, "sil_iter": 3, "sil_max_size": 60, "sil_batch_size": 8},
        {"name": "Rollout"}, {"shared": True}, 224,
    ),
    "PPO-images": (
        {"name": "PPO", "time_horizon": 8, "minibatch_size": 8, "training_epoch": 2},
        {"name": "Rollout"}, IMAGES | {"shared": True}, 224,
    ),
    "SARSA": ({"name": "SARSA", "time_horizon": 4, "explore_var": 0.5}, {"name": "Rollout"}, {}, 416),
    "SARSA-noisy": (
        {"name": "SARSA", "time_horizon": 4, "action_policy": "greedy"}, {"name": "Rollout"}, {"noisy": True}, 416,
    ),
    "DQN": (
        {"name": "DQN", "training_start_step": 16, "training_frequency": 4, "update_frequency": 20, "double": True},
        {"name": "Replay", "max_size": 60, "batch_size": 8}, DECAYING, 220,
    ),
    "DQN-prioritized": (
        {"name": "DQN", "training_start_step": 16, "training_frequency": 4, "update_type": "polyak",
         "num_step_returns": 3, "action_policy": "boltzmann", "explore_var": 1.0},
        {"name": "PrioritizedReplay", "max_size": 60, "batch_size": 8}, {"dueling": True}, 220,
    ),
    "DDPG": ({"name": "DDPG", "exploration": "ornstein_uhlenbeck"} | SOON, REPLAY, {}, 220),
    "DDPG-gumbel": ({"name": "DDPG", "exploration": "gumbel"} | SOON, PRIORITIZED, DECAYING, 220),
    "TD3": ({"name": "TD3", "num_step_returns": 2} | SOON, REPLAY, {}, 220),
    "TD3-gumbel": ({"name": "TD3", "exploration": "gumbel"} | SOON, PRIORITIZED, {}, 220),
    "SAC": ({"name": "SAC"} | SOON, REPLAY, {}, 220),
    "SAC-prioritized": ({"name": "SAC", "alpha": 0.1, "policy_delay": 2} | SOON, PRIORITIZED, {}, 220),
    "CrossQ": ({"name": "CrossQ"} | SOON, REPLAY, {}, 220),
    "CrossQ-prioritized": ({"name": "CrossQ", "alpha": 0.1} | SOON, PRIORITIZED, {}, 220),
    "DQN-rainbow": (
        {"name": "DQN", "training_start_step": 16, "training_frequency": 4, "update_frequency": 20, "double": True,
         "num_step_returns": 3, "action_policy": "greedy", "atoms": 8, "v_min": -3.0, "v_max": 4.0},
        {"name": "PrioritizedReplay", "max_size": 60, "batch_size": 8},
        {"dueling": True, "noisy": True, "layer_norm": True}, 220,
    ),
    "DQN-images": (
        {"name": "DQN", "training_start_step": 16, "training_frequency": 4, "update_frequency": 20,
         "num_step_returns": 2},
        {"name": "FrameReplay", "max_size": 60, "batch_size": 8}, IMAGES | {"dueling": True}, 220,
    ),
    "DQN-images-prioritized": (
        {"name": "DQN", "training_start_step": 16, "training_frequency": 4, "update_frequency": 20},
        {"name": "PrioritizedFrameReplay", "max_size": 60, "batch_size": 8}, IMAGES, 220,
    ),
    "REINFORCE-recurrent": ({"name": "REINFORCE"}, EPISODES, GRU, 560),
    "A2C-recurrent": ({"name": "A2C", "time_horizon": 4}, {"name": "Rollout"}, LSTM, 416),
    "PPO-recurrent": (
        {"name": "PPO", "time_horizon": 8, "minibatch_size": 16, "training_epoch": 4, "clip_vloss": True},
        {"name": "Rollout"}, GRU, 224,
    ),
    "DQN-recurrent": (
        {"name": "DQN", "training_start_step": 16, "training_frequency": 4, "update_frequency": 20,
         "value_rescale": True},
        SEQUENCES, GRU | {"dueling": True}, 220,
    ),
    "DQN-recurrent-prioritized": (
        {"name": "DQN", "training_start_step": 16, "training_frequency": 4, "update_type": "polyak", "double": True,
         "num_step_returns": 2},
        SEQUENCES | {"name": "PrioritizedSequenceReplay"}, GRU | {"cell_type": "LSTM", "prev_action_reward": True}, 220,
    ),
}  # fmt: skip


# those of them that are run with several choices at once too
SEVERAL = ("Random", "REINFORCE", "A2C-imitating", "PPO", "A2C-recurrent")


def kinds_of(way: str) -> list[str]:
    """The kinds of actions that a way is run with."""
    algorithm = WAYS[way][0]
    found = REGISTRIES["algorithm"].find(algorithm["name"])
    kinds = [kind for kind in found.actions if not found.unfit(found.Hyper(**algorithm), kind)]
    return [kind for kind in kinds if kind != "multidiscrete" or way in SEVERAL]


def _cases() -> Iterator[tuple[str, str]]:
    for way in WAYS:
        for kind in kinds_of(way):
            yield way, kind


def each(cases: Iterable[tuple[str, str]]) -> pytest.MarkDecorator:
    """A test of each case: by default of one kind of actions of each way, of one after the other, the rest slow.

    Tests of a case are run by the same process, which trains its sessions 0 to 15 but once.
    """
    shown = {way: kinds_of(way)[i % len(kinds_of(way))] for i, way in enumerate(WAYS)}
    group = lambda way, kind: pytest.mark.xdist_group(f"{way}-{kind}")
    slow = lambda way, kind: [] if kind == shown[way] else [pytest.mark.slow]
    return pytest.mark.parametrize(
        ("way", "kind"), [pytest.param(*case, marks=[group(*case), *slow(*case)]) for case in cases]
    )


CASES = list(_cases())
LEARNING = [case for case in CASES if case[0] != "Random"]
every_way, learning_ways = each(CASES), each(LEARNING)


@dataclass
class Trace:
    """All that a program's sessions did: a watcher of it, and the actions of its agent."""

    program: Program = field(init=False)
    actions: list[np.ndarray] = field(default_factory=list)
    rows: list[dict[str, list[float]]] = field(default_factory=list)
    ended: list[Episode] = field(default_factory=list)
    evaluated: list[Evaluation] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)

    def episodes(self, episodes: list[Episode]) -> None:
        self.ended += episodes

    def row(self, frames: list[int], alive: list[bool], measures: list[dict[str, list[float]]]) -> None:
        self.rows.append(measures[0])

    def evaluations(self, evaluations: list[Evaluation]) -> None:
        self.evaluated += evaluations

    def models(self, frame: int, model: Any, regular: bool) -> None:
        """Compared at the end."""

    def film(self, frame: int, model: Any) -> None:
        """Not asked for."""

    def views(self, frame: int, views: list[Any]) -> None:
        """Not asked for."""

    def failed(self, member: int, frame: int, reason: str) -> None:
        self.broken[member] = reason

    @property
    def agent(self) -> Any:
        return self.program.agents[0]

    def of(self, member: int) -> dict[str, np.ndarray]:
        """Everything of one session, by name."""
        own = {f"model {key}": value.numpy() for key, value in self.program.model(member).items()}
        for optimizer in self.agent.optimizers:
            own |= {f"optimizer {i}": x[member].numpy() for i, x in enumerate((optimizer.steps, *optimizer.state))}
        own["actions"] = np.stack([action[member] for action in self.actions])
        for name in sorted({name for row in self.rows for name in row}):
            nothing = [np.nan] * self.program.members
            own[name] = np.array([row.get(name, nothing)[member] for row in self.rows])
        for name, rows in (("episodes", self.ended), ("evaluations", self.evaluated)):
            own[name] = np.array([(e.frame, e.total, e.length) for e in rows if e.member == member], np.float64)
        return own


def noted(program: Program) -> Trace:
    """A watcher that is told from here on of a program and of its first agent's actions."""
    trace = Trace()
    trace.program, program.watcher = program, trace

    def act(obs: Any, greedy: bool = False) -> Any:
        actions = type(trace.agent).act(trace.agent, obs, greedy)
        if not greedy:
            trace.actions.append(torch.cat([x.flatten(1) for x in actions if x is not None], 1).numpy())
        return actions

    trace.agent.act = act
    return trace


def run(sessions: Sequence[Session]) -> Trace:
    """Train sessions together."""
    trace = noted(Program(sessions))
    trace.program.run()
    return trace


def differences(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[str]:
    """The names of what is not the same in two sessions, bit for bit."""
    assert one.keys() == other.keys()
    return [key for key in one if not np.array_equal(one[key], other[key], equal_nan=True)]


def departures(way: str, one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[str]:
    """Likewise, of two sessions of a case in different company."""
    if not rounds_differently(way):
        return differences(one, other)
    assert one.keys() == other.keys()
    return [k for k in one if one[k].shape != other[k].shape or not np.allclose(one[k], other[k], 1e-5, equal_nan=True)]


def rounds_differently(way: str) -> bool:
    """Whether other sessions decide about the shape of a batch, or products round by where in memory a member lies."""
    return WAYS[way][1].get("name") == "Episodes" or way == "PPO-recurrent"


def sees_images(way: str) -> bool:
    """Whether the network of a case takes images."""
    return WAYS[way][2].get("type") == "ConvNet"


def spec_of(way: str, kind: str, seed: int = 0, shorter: int = 1, **kwargs: Any) -> Spec:
    """The spec of a case; a part `1 / shorter` of its training."""
    algorithm, memory, net, frames = WAYS[way]
    dtype = "float64" if rounds_differently(way) else "float32"
    max_frame, scaled = frames // shorter, kind == "continuous"
    env = {
        "name": "tests.probes:Drift", "max_frame": max_frame,
        "kwargs": {"actions": kind, "image": sees_images(way)} | kwargs,
        "normalize_obs": scaled and not sees_images(way), "normalize_reward": scaled,
    }  # fmt: skip
    meta = {"seed": seed, "log_frequency": 40, "eval_frequency": max_frame // 2, "dtype": dtype}
    return spec(algorithm, memory, env, NET | net if memory else {}, BODIES, meta)


def sessions_of(one: Spec, indices: Sequence[int] = range(M)) -> list[Session]:
    return [Session(one, 0, index) for index in indices]


@cache
def company(way: str, kind: str) -> Trace:
    """Sessions 0 to 15 of a case."""
    return run(sessions_of(spec_of(way, kind)))


def test_every_algorithm_and_memory_has_a_way() -> None:
    known = {(algorithm["name"], memory.get("name")) for algorithm, memory, _, _ in WAYS.values()}
    for name in ALGORITHMS:
        memories = REGISTRIES["algorithm"].find(name).memories
        assert {memory for algorithm, memory in known if algorithm == name} == set(memories or [None])


@learning_ways
def test_each_session_is_updated_often_enough_to_tell(way: str, kind: str) -> None:
    agent = company(way, kind).agent
    assert agent.optimizers[0].steps.min() >= 50
    learned = parameters(agent)
    assert learned.isfinite().all() and len(learned.unique(dim=0)) == M


@every_way
def test_a_session_alone_is_that_session_in_company(way: str, kind: str) -> None:
    alone = run(sessions_of(spec_of(way, kind), [11]))
    assert not departures(way, alone.of(0), company(way, kind).of(11))


@pytest.mark.parametrize("way", WAYS)
def test_a_session_alone_is_that_session_in_company_in_two_environments(way: str) -> None:
    one = spec_of(way, kinds_of(way)[0], shorter=4)
    rare = one.env[0].model_copy(update={"kwargs": one.env[0].kwargs | {"end": 0.02}})
    both = one.model_copy(update={"env": [one.env[0], rare]})
    together, alone = run(sessions_of(both, range(4))), run(sessions_of(both, [3]))
    assert not departures(way, alone.of(0), together.of(3))


@pytest.mark.parametrize("way", ["Random", "REINFORCE", "PPO", "A2C-recurrent"])
def test_a_session_alone_is_that_session_in_company_in_environments_of_every_kind_of_action(way: str) -> None:
    one = spec_of(way, "discrete", shorter=2)
    kinds = ("discrete", "multidiscrete", "continuous")
    envs = [one.env[0].model_copy(update={"kwargs": one.env[0].kwargs | {"actions": kind}}) for kind in kinds]
    every = one.model_copy(update={"env": envs})
    if way == "PPO":  # so few rows of each environment in a minibatch would be rounded otherwise alone than in company
        every = with_settings(every, {"agent.0.algorithm.minibatch_size": 24})
    together, alone = run(sessions_of(every, range(4))), run(sessions_of(every, [3]))
    sizes = [port.action_shape(BODIES) for port in together.agent.ports]
    assert sizes == [(BODIES,), (BODIES, 2), (BODIES, 2)] and together.agent.ports[1].choices == (2, 3)
    assert not departures(way, alone.of(0), together.of(3))


@every_way
def test_evaluations_change_nothing(way: str, kind: str) -> None:
    often = spec_of(way, kind, shorter=2)
    never = often.model_copy(update={"meta": often.meta.model_copy(update={"eval_frequency": None})})
    one, other = (run(sessions_of(each, [0])) for each in (often, never))
    assert len(one.evaluated) > len(other.evaluated) > 0
    assert differences(one.of(0), other.of(0)) == ["evaluations"]


@every_way
def test_permuted_sessions_learn_the_same(way: str, kind: str) -> None:
    order = np.random.default_rng(0).permutation(M).tolist()
    permuted, together = run(sessions_of(spec_of(way, kind), order)), company(way, kind)
    for place, index in enumerate(order):
        assert not departures(way, permuted.of(place), together.of(index)), f"session {index}"


@learning_ways
def test_poisoned_sessions_fail_and_harm_nobody(way: str, kind: str) -> None:
    sick = {3: "nan", 11: "inf"}
    plain = sessions_of(spec_of(way, kind))
    seeds = {str(plain[index].seeds("env", 0).generate_state(1)[0] >> 1): how for index, how in sick.items()}
    trace, together = run(sessions_of(spec_of(way, kind, sick=seeds))), company(way, kind)
    assert trace.program.failures.keys() == trace.broken.keys() == sick.keys()
    assert all("finite" in reason for reason in trace.broken.values())
    for index in range(M):
        assert bool(differences(trace.of(index), together.of(index))) == (index in sick), f"session {index}"
    assert parameters(trace.agent).isfinite().all(), "a failed session stays as it was before"


@every_way
def test_the_same_seed_repeats_and_another_differs(way: str, kind: str) -> None:
    first, again, other = (run(sessions_of(spec_of(way, kind, seed, 4), range(2))) for seed in (1, 1, 2))
    for index in range(2):
        assert not differences(first.of(index), again.of(index))
        changed = differences(first.of(index), other.of(index))
        assert {"actions", "episodes"} <= set(changed)
        weights = [name for name in first.of(index) if name.startswith("model") and name.endswith("weight")]
        assert set(weights) <= set(changed) and (weights or way == "Random")


def knobs(one: Spec) -> dict[str, Any]:
    """Another value for every number of a spec's agent that may differ between sessions and does something."""
    found: dict[str, Any] = {}

    def look(group: BaseModel, shown: Keys, place: str) -> None:
        for key in shown:
            value = getattr(group, key, None)
            if isinstance(value, Hyper):
                look(value, shown[key], f"{place}.{key}")
            elif value is not None and key in type(group).model_fields and varies(type(group), key):
                if isinstance(value, Schedule):
                    found[f"{place}.{key}"] = shown[key] | {"start_val": value.start_val / 2}
                else:
                    found[f"{place}.{key}"] = value / 2

    agent, shown = one.agent[0], dump(one)["agent"][0]
    for kind in ("algorithm", "memory", "net"):
        if kind in shown:
            look(getattr(agent, kind), shown[kind], f"agent.0.{kind}")
    return found


@learning_ways
def test_sessions_of_different_settings_learn_what_each_learns_alone(way: str, kind: str) -> None:
    control = spec_of(way, kind, shorter=4)
    changed = knobs(control)
    assert {"agent.0.algorithm.gamma", "agent.0.net.optim_spec.lr", "agent.0.net.clip_grad_val"} <= set(changed)
    specs = [control, *(with_settings(control, {path: value}) for path, value in changed.items())]
    together = run([Session(one, 0, place) for place, one in enumerate(specs)])
    for place, (path, one) in enumerate(zip(changed, specs[1:], strict=True), start=1):
        alone = run([Session(one, 0, place)])
        assert not departures(way, alone.of(0), together.of(place)), path

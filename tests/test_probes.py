"""Every algorithm learns the known values and actions of the probe environments, for at least 15 of 16 members."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from slmx import session
from slmx.algorithm import ALGORITHMS
from slmx.memory.batch import Batch
from slmx.memory.episodes import Episodes
from slmx.memory.replay import Replay, Transitions
from slmx.memory.rollout import Rollout
from slmx.net import renorm
from tests.probes import Counter
from tests.programs import NET, Keys, greedy, spec, trained, values

M, BODIES, GAMMA = 16, 4, 0.5

ROLLOUT: Keys = {"name": "Rollout"}
EPISODES: Keys = {"name": "Episodes", "episodes": 8}
REPLAY: Keys = {"name": "Replay", "max_size": 500, "batch_size": 32}
OFF_POLICY: Keys = {
    "name": "DQN", "gamma": GAMMA, "explore_var": 1.0, "training_start_step": 32, "training_frequency": 4,
}  # fmt: skip
ACTING: Keys = {"gamma": GAMMA, "training_start_step": 100, "training_frequency": 4}
FOLLOWING: Keys = ACTING | {"polyak_coef": 0.2}
# how each algorithm is run: algorithm, memory, frames of a member
WAYS: dict[str, tuple[Keys, Keys, int]] = {
    "REINFORCE": ({"name": "REINFORCE", "gamma": GAMMA, "baseline": True, "normalize_return": False}, EPISODES, 1200),
    "A2C": ({"name": "A2C", "gamma": GAMMA, "lam": 0.9, "time_horizon": 4}, ROLLOUT, 1200),
    "A2C-n-step": (
        {"name": "A2C", "gamma": GAMMA, "lam": None, "num_step_returns": 2, "time_horizon": 4}, ROLLOUT, 1200,
    ),
    "A2C-episodes": ({"name": "A2C", "gamma": GAMMA, "lam": 0.9}, EPISODES, 1200),
    "A2C-imitating": (
        {"name": "A2C", "gamma": GAMMA, "lam": 0.9, "time_horizon": 4, "sil_iter": 1, "sil_max_size": 200},
        ROLLOUT, 1200,
    ),
    "PPO": (
        {"name": "PPO", "gamma": GAMMA, "lam": 0.9, "time_horizon": 16, "minibatch_size": 16, "training_epoch": 4},
        ROLLOUT, 1024,
    ),
    "PPO-imitating": (
        {"name": "PPO", "gamma": GAMMA, "lam": 0.9, "time_horizon": 16, "minibatch_size": 16, "training_epoch": 4,
         "sil_iter": 2, "sil_max_size": 200},
        ROLLOUT, 1024,
    ),
    "SARSA": ({"name": "SARSA", "gamma": GAMMA, "explore_var": 1.0, "time_horizon": 4}, ROLLOUT, 1200),
    "DQN": (OFF_POLICY | {"update_frequency": 20}, REPLAY, 800),
    "DQN-all": (
        OFF_POLICY
        | {"double": True, "num_step_returns": 2, "update_type": "polyak", "polyak_coef": 0.2, "loss": "squared"},
        REPLAY | {"name": "PrioritizedReplay"}, 800,
    ),
    "DQN-categorical": (
        OFF_POLICY | {"double": True, "update_frequency": 20, "atoms": 21, "v_min": -2.0, "v_max": 3.0},
        REPLAY | {"name": "PrioritizedReplay"}, 800,
    ),
    "DDPG": ({"name": "DDPG", "exploration": "gumbel"} | FOLLOWING, REPLAY, 800),
    "TD3": ({"name": "TD3", "exploration": "gumbel"} | FOLLOWING, REPLAY, 800),
    "SAC": ({"name": "SAC", "alpha": 0.02} | FOLLOWING, REPLAY, 800),
    "SAC-all": (
        {"name": "SAC", "alpha": 0.02, "num_step_returns": 2} | FOLLOWING, REPLAY | {"name": "PrioritizedReplay"}, 800,
    ),
    "CrossQ": (  # all that it ever did is remembered, for where actions are worth the same it may take one alone
        {"name": "CrossQ", "alpha": 0.08, "policy_delay": 1} | ACTING | {"training_frequency": 1},
        REPLAY | {"max_size": 1000}, 500,
    ),
}  # fmt: skip
CONTINUOUS = (
    "REINFORCE", "A2C", "A2C-episodes", "A2C-imitating", "PPO", "PPO-imitating", "DDPG", "TD3", "SAC", "CrossQ",
)  # fmt: skip
# one way of each algorithm; its others are beside it, where a probe does not tell more of them, with the slow tests
FIRST = list({keys["name"]: way for way, (keys, _, _) in reversed(WAYS.items())}.values())
each_first_way = pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[] if way in FIRST else [pytest.mark.slow]) for way in WAYS]
)
OFF_POLICY_WAYS = [way for way, (_, memory, _) in WAYS.items() if "Replay" in memory["name"]]


@pytest.fixture(autouse=True)
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running statistics count as early as such short trainings need them."""
    monkeypatch.setattr(renorm, "WARM_UP", 50)


def learn(way: str, probe: str, changes: Keys | None = None, frames: int | None = None, **kwargs: Any) -> Any:
    """The agent after its training, for as many frames as its way has by default."""
    algorithm, memory, usual = WAYS[way]
    env = {"name": f"tests.probes:{probe}", "max_frame": frames or usual, "kwargs": kwargs}
    return trained(spec(algorithm | (changes or {}), memory, env, bodies=BODIES), M).agents[0]


def near(result: Tensor, expected: list[float], tolerance: float = 0.15) -> None:
    """At least 15 of 16 members have all values `[M, N]` or `[M, N, A]` within the tolerance."""
    target = torch.tensor(expected).view(1, -1, *[1] * (result.dim() - 2))
    right = ((result - target).abs() < tolerance).flatten(1).all(1)
    assert right.sum() >= M - 1, result.flatten(1)[~right]


def test_every_algorithm_has_a_way() -> None:
    assert {keys["name"] for keys, _, _ in WAYS.values()} == set(ALGORITHMS) - {"Random"}


@each_first_way
def test_constant_reward(way: str) -> None:
    near(values(learn(way, "Constant"), [1.0]), [1])


@each_first_way
def test_reward_that_is_observed(way: str) -> None:
    near(values(learn(way, "Echo"), [-1.0], [1.0]), [-1, 1])


@each_first_way
def test_delayed_reward(way: str) -> None:
    near(values(learn(way, "Delayed"), [0.0], [1.0]), [GAMMA, 1])


@each_first_way
def test_reward_for_the_action(way: str) -> None:
    agent = learn(way, "Choice")
    assert (greedy(agent, [1.0]) == 1).sum() >= M - 1


@each_first_way
def test_reward_for_the_action_that_fits_the_observation(way: str) -> None:
    agent = learn(way, "Match")
    assert (greedy(agent, [-1.0], [1.0]) == torch.tensor([0, 1])).all(1).sum() >= M - 1


@pytest.mark.parametrize("way", CONTINUOUS)
def test_reward_for_the_continuous_action_that_fits_the_observation(way: str) -> None:
    noise = {"exploration": "gaussian", "noise": 0.3} if way in ("DDPG", "TD3") else {}
    oftener = {"training_frequency": 1} if way in OFF_POLICY_WAYS else {}
    agent = learn(way, "Aim", noise | oftener)
    near(greedy(agent, [-1.0], [1.0]).squeeze(-1), [-0.5, 0.5], tolerance=0.25)


@pytest.mark.parametrize(
    ("way", "binary"),
    [
        *(("REINFORCE", False), ("A2C", False), ("PPO", False), ("PPO", True)),
        *(pytest.param(*slow, marks=pytest.mark.slow) for slow in (("A2C-imitating", False), ("A2C", True))),
    ],
)
def test_reward_for_several_choices_at_once_that_fit_the_observation(way: str, binary: bool) -> None:
    choices = (2, 2, 2, 2) if binary else (2, 3, 4)
    right = torch.cartesian_prod(*(torch.arange(n) for n in choices))
    seen = torch.cat([torch.eye(n)[own] for n, own in zip(choices, right.unbind(-1), strict=True)], -1)
    chosen = greedy(learn(way, "Combination", frames=2 * WAYS[way][2], binary=binary), *seen.tolist())
    shares = (chosen == right).double().mean((1, 2))
    assert (shares > 0.95).sum() >= M - 1, shares


@each_first_way
def test_values_end_at_termination(way: str) -> None:
    near(values(learn(way, "Ending", how="terminated"), [1.0, 0.0], [0.0, 1.0]), [0, 1])


@pytest.mark.parametrize("way", WAYS)
def test_values_go_on_beyond_truncation_at_the_true_successor(way: str) -> None:
    agent = learn(way, "Ending", how="truncated")
    if way == "REINFORCE":  # it counts the rewards that it has seen
        near(values(agent, [1.0, 0.0], [0.0, 1.0]), [0, 1])
    else:
        near(values(agent, [1.0, 0.0], [0.0, 1.0]), [1, 2], tolerance=0.2)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "REINFORCE"])
def test_values_do_not_depend_on_where_longer_episodes_are_cut(way: str) -> None:
    near(values(learn(way, "Ending", how="truncated", steps=3), [1.0, 0.0], [0.0, 1.0]), [1, 2], tolerance=0.2)


@pytest.mark.parametrize("way", ["A2C", "PPO"])
def test_continuous_policies_value_truncation_alike(way: str) -> None:
    agent = learn(way, "Ending", how="truncated", continuous=True)
    near(values(agent, [1.0, 0.0], [0.0, 1.0]), [1, 2], tolerance=0.2)


@pytest.mark.parametrize("probe", ["Choice", "Match"])
def test_noise_alone_explores_enough(probe: str) -> None:
    algorithm, memory, frames = WAYS["DQN"]
    algorithm = {key: value for key, value in algorithm.items() if key != "explore_var"} | {"action_policy": "greedy"}
    net = NET | {"noisy": True, "hid_layers": [16, 16]}
    env = {"name": f"tests.probes:{probe}", "max_frame": frames}
    agent = trained(spec(algorithm, memory, env, net, BODIES), M).agents[0]
    seen, best = ([[-1.0], [1.0]], [0, 1]) if probe == "Match" else ([[1.0]], [1])
    assert (greedy(agent, *seen) == torch.tensor(best)).all(1).sum() >= M - 1


@pytest.mark.parametrize("way", ["SARSA", "DQN", "DQN-all", "DQN-categorical"])
def test_the_next_action_belongs_to_the_state_that_was_cut_off(way: str) -> None:
    greedier = {"name": "linear_decay", "start_val": 1.0, "end_val": 0.0, "end_step": 600}
    agent = learn(way, "Turn", {"explore_var": greedier})
    near(values(agent, [1.0, 0.0], [0.0, 1.0]).diagonal(dim1=1, dim2=2), [2, 2], tolerance=0.2)


Transition = tuple[int, float, tuple[float, ...], bool, bool]


class Seen:
    """Every transition that `Counter` emitted in training, by its observation, and all that memories handed out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.emitted: dict[tuple[float, ...], Transition] = {}
        self.handed: list[Batch | Transitions] = []
        self.evaluating = False
        step, evaluate = Counter.step, session.evaluate

        def stepped(env: Counter, action: int) -> Any:
            before = tuple(env.now.tolist())
            now, reward, terminated, truncated, rest = step(env, action)
            if not self.evaluating:
                assert before not in self.emitted, "two environments share a number: take another seed"
                self.emitted[before] = int(action), reward, tuple(now.tolist()), terminated, truncated
            return now, reward, terminated, truncated, rest

        def evaluated(*args: Any) -> Any:
            self.evaluating = True
            result = evaluate(*args)
            self.evaluating = False
            return result

        monkeypatch.setattr(Counter, "step", stepped)
        monkeypatch.setattr(session, "evaluate", evaluated)
        for memory, method in ((Rollout, "take"), (Episodes, "take"), (Replay, "sample")):
            monkeypatch.setattr(memory, method, self._listening(getattr(memory, method)))

    def _listening(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def listened(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            self.handed += result if isinstance(result, list) else [result]
            return result

        return listened


def rows_of(batch: Batch) -> list[list[tuple[Any, ...]]]:
    """The steps of a batch in the order of time, a list for each member and body; none where the mask is 0."""
    fields = [getattr(batch, name).transpose(1, 2).flatten(0, 1).tolist() for name in Batch.FIELDS]
    mask = torch.ones_like(batch.reward) if batch.mask is None else batch.mask
    real = mask.transpose(1, 2).flatten(0, 1).tolist()
    return [
        [step for step, own in zip(zip(*body, strict=True), present, strict=True) if own]
        for *body, present in zip(*fields, real, strict=True)
    ]


@pytest.mark.parametrize("way", [way for way in WAYS if way not in OFF_POLICY_WAYS])
def test_on_policy_learning_sees_every_emitted_transition_once_and_no_other(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(monkeypatch)
    algorithm, memory, _ = WAYS[way]
    env = {"name": "tests.probes:Counter", "max_frame": 4 * 64}
    trained(spec(algorithm, memory, env, bodies=4, meta={"eval_frequency": 100}), 2)
    known: set[tuple[float, ...]] = set()
    for batch in seen.handed:
        assert isinstance(batch, Batch)
        for body in rows_of(batch):
            for (obs, action, reward, next_obs, terminated, done), after in zip(body, [*body[1:], None], strict=True):
                emitted = seen.emitted[tuple(obs)]
                assert (action, reward, tuple(next_obs), terminated, done and not terminated) == emitted
                # what follows in time is what is taken for it
                assert after is None or done or after[0] == next_obs
                if way == "SARSA" and after is None:
                    continue  # there for its action alone; it comes again
                assert tuple(obs) not in known
                known.add(tuple(obs))
    # only the newest may wait for the next update: a SARSA rollout, or 7 whole episodes and 4 unfinished
    waiting = {"SARSA": 2 * 4 * 4, "REINFORCE": 80, "A2C-episodes": 80}.get(way, 0)
    assert len(seen.emitted) - waiting <= len(known) <= len(seen.emitted) == 2 * 4 * 64


@pytest.mark.parametrize("way", OFF_POLICY_WAYS)
def test_off_policy_learning_sees_emitted_transitions_only(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    algorithm, memory, _ = WAYS[way]
    env = {"name": "tests.probes:Counter", "max_frame": 4 * 64}
    trained(spec(algorithm, memory, env, bodies=4, meta={"eval_frequency": 100}), 2)
    known, bootstraps = set(), set()
    for batch in seen.handed:
        assert isinstance(batch, Transitions)
        fields = (batch.obs, batch.action, batch.reward, batch.next_obs, batch.bootstrap)
        for obs, action, reward, next_obs, bootstrap in zip(*(x.flatten(0, 1).tolist() for x in fields), strict=True):
            first, now, total, factor = tuple(obs), tuple(obs), 0.0, 1.0
            terminated = truncated = False
            for _ in range(algorithm.get("num_step_returns", 1)):  # as far as the episode goes
                _, one, now, terminated, truncated = seen.emitted[now]
                total, factor = total + factor * one, factor * GAMMA
                if terminated or truncated:
                    break
            assert (action, reward, tuple(next_obs)) == (seen.emitted[first][0], total, now)
            assert bootstrap == (0 if terminated else factor)
            known.add(first)
            bootstraps.add((terminated, truncated))
    assert len(known) > 400 and len(bootstraps) == 3

"""Members that leave, become copies of one another, or go on with other numbers: for every algorithm and memory.

What follows equals what the same members would have done in a program of their own. Comparisons and cases are those of
test_members.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from slmx.algorithm.base import Algorithm
from slmx.member.axis import Membered
from slmx.member.hyper import Stacked
from slmx.member.streams import Streams
from slmx.net.target import Target
from slmx.session import Program, Session
from slmx.spec.dump import with_settings
from slmx.spec.model import Spec
from tests.programs import Keys, spec
from tests.test_members import (
    Trace,
    departures,
    differences,
    every_way,
    knobs,
    learning_ways,
    noted,
    sessions_of,
)
from tests.test_members import spec_of as whole_spec_of

M = 5


def spec_of(way: str, kind: str, **env: Any) -> Spec:
    """The spec of a case, for half of its training: it is left and gone on with in the middle of that."""
    return whole_spec_of(way, kind, shorter=2, **env)


def half(way: str, kind: str, sessions: Sequence[Session] | None = None) -> Program:
    """A program of five sessions, by default, in the middle of its training, between two epochs."""
    sessions = sessions or sessions_of(spec_of(way, kind), range(M))
    program = Program(sessions, pauses=[sessions[0].spec.env[0].max_frame // 2])
    assert any(program.rows()) and program.tick < max(program.ticks)
    return program


def go_on(program: Program) -> Trace:
    """What a program does from here on."""
    trace = noted(program)
    program.run()
    return trace


@every_way
def test_members_that_stay_learn_what_they_would_without_those_that_leave(way: str, kind: str) -> None:
    stays = [3, 0]
    alone = half(way, kind, [sessions_of(spec_of(way, kind), range(M))[i] for i in stays])
    program = half(way, kind)
    program.keep(stays)
    assert program.members == program.agents[0].members == 2
    assert [session.index for session in program.sessions] == stays
    one, other = go_on(program), go_on(alone)
    for place in range(2):
        assert not departures(way, one.of(place), other.of(place)), f"session {stays[place]}"


@every_way
def test_nothing_is_left_of_members_that_left(way: str, kind: str) -> None:
    members = 19  # of nothing else are there so many
    sessions = sessions_of(spec_of(way, kind), range(members))
    program = half(way, kind, sessions)
    before = {path for path, x in contents(program) if len(x) == members}
    assert before >= {".sessions", ".agents[0].exploring._uniform.block"}
    program.keep([1, 18, 2])
    assert {path for path, x in contents(program) if len(x) == members} == {".began"}
    assert before <= {path for path, x in contents(program) if len(x) == 3} | {".began"}


def contents(thing: Any, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Every tensor, array and list that can be reached, with its path."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, torch.Tensor | np.ndarray | list) and np.ndim(thing if not isinstance(thing, list) else [0]):
        yield path, thing
    if isinstance(thing, list | tuple):
        for i, item in enumerate(thing):
            yield from contents(item, f"{path}[{i}]", seen)
    elif isinstance(thing, dict):
        for key, item in thing.items():
            yield from contents(item, f"{path}[{key!r}]", seen)
    elif isinstance(thing, Program | Membered | Stacked | torch.nn.Module):
        for key, item in vars(thing).items():
            yield from contents(item, f"{path}.{key}", seen)


@every_way
def test_a_copy_goes_on_as_what_it_is_a_copy_of(way: str, kind: str) -> None:
    """With that one's random streams, to the bit where others do not shape its batches: so all was copied."""
    sessions = sessions_of(spec_of(way, kind), range(4))
    source = [0, 0, 3, 3]
    program, twins, giver = (half(way, kind, [sessions[i] for i in who]) for who in (range(4), source, source))
    program.clone(source)
    program.retune(giver.sessions)
    for each in (program, twins):
        each.agents[0].drain()  # the log of what it did before is its own
    for own, other in zip(streams(program.agents[0]), streams(giver.agents[0]), strict=True):
        vars(own).update(vars(other))
    one, other = go_on(program), go_on(twins)
    for member in range(4):
        assert not departures(way, one.of(member), other.of(member)), f"member {member}"


def streams(agent: Any) -> list[Streams]:
    """All random streams of an agent that go on."""
    memories = [*agent.memory] if isinstance(agent.memory, list) else [agent.memory]
    memories += getattr(agent, "returns", [])
    return [agent.exploring, agent.learning, *(memory.streams for memory in memories if hasattr(memory, "streams"))]


@learning_ways
def test_a_copy_explores_by_its_own_streams_and_with_its_own_numbers(way: str, kind: str) -> None:
    control = spec_of(way, kind)
    slower = with_settings(control, {"agent.0.net.optim_spec.eps": 0.5})
    program = half(way, kind, [Session(control, 0, 0), Session(slower, 0, 1), Session(control, 0, 2)])
    agent: Any = program.agents[0]
    steps = agent.optimizers[0].steps.clone()
    program.clone([0, 0, 2])
    assert not differences(of(program, 0), of(program, 1)) and differences(of(program, 0), of(program, 2))
    assert agent.optimizers[0].steps.flatten().tolist() == steps[[0, 0, 2], 0].tolist()
    assert [eps == 0.5 for eps in agent.optimizers[0].hp.eps.flatten().tolist()] == [False, True, False]
    trace = go_on(program)
    assert {"actions", "episodes"} <= set(differences(trace.of(0), trace.of(1)))
    assert differences(of(program, 0), of(program, 1))


def of(program: Program, member: int) -> dict[str, np.ndarray]:
    """A member's model."""
    return {key: value.numpy() for key, value in program.model(member).items()}


@every_way
def test_parameters_stay_views_of_their_optimiser_s_tensor(way: str, kind: str) -> None:
    program = half(way, kind)
    agent: Any = program.agents[0]
    for change in (lambda: program.keep([0, 2, 4]), lambda: program.clone([2, 2, 0])):
        change()
        for optimizer in agent.optimizers:
            optimizer.flat.fill_(0.5)
            assert all((p == 0.5).all() and p.shape[0] == 3 for p in optimizer.parameters)
        for target in (part for part in vars(agent).values() if isinstance(part, Target)):
            target.flat.fill_(0.25)
            assert all((p == 0.25).all() and not p.requires_grad for p in target.network.parameters())


@learning_ways
def test_every_number_that_may_vary_can_be_changed_on_the_way(way: str, kind: str) -> None:
    """One member for each number, all the same session until then: each departs from the control, its twin does not."""
    control = whole_spec_of(way, kind)
    changes = knobs(control)
    assert "agent.0.net.optim_spec.weight_decay" in changes
    specs = [control, control, *(with_settings(control, {path: value}) for path, value in changes.items())]
    after = [Session(one, 0, 0) for one in specs]
    program = half(way, kind, [Session(control, 0, 0)] * len(specs))
    program.retune(after)
    check_numbers(program, Program(after))
    trace = go_on(program)
    assert not departures(way, trace.of(0), trace.of(1))
    for place, path in enumerate(changes, start=2):
        assert differences(of(program, 0), of(program, place)), path
    alone = half(way, kind, [Session(control, 0, 0)])
    alone.retune([after[-1]])
    assert not departures(way, go_on(alone).of(0), trace.of(len(specs) - 1))


def check_numbers(program: Program, fresh: Program) -> None:
    """A retuned program has the numbers of one that began so, at its own frame."""
    for agent, other in zip(program.agents, fresh.agents, strict=True):
        other.frame = agent.frame
        agent.schedule()
        other.schedule()
        pairs = [(agent.hp, other.hp), (agent.memory_hp, other.memory_hp), (agent.net_hp, other.net_hp)]
        for one, two in zip(agent.optimizers, other.optimizers, strict=True):
            pairs.append((one.hp, two.hp))
            assert one.decays == two.decays
            assert_same([one.clip, *getattr(one, "fresh", ())], [two.clip, *getattr(two, "fresh", ())])
        for one, two in zip(agent.normalizers, other.normalizers, strict=True):
            assert torch.equal(one._gamma, two._gamma)
        for one, two in pairs:
            assert_same(*({k: v for k, v in vars(x).items() if not k.startswith("_")} for x in (one, two)))


def assert_same(one: Any, other: Any) -> None:
    torch.testing.assert_close(
        *([v for v in (x.values() if isinstance(x, dict) else x) if isinstance(v, torch.Tensor)] for x in (one, other)),
        rtol=0, atol=0,
    )  # fmt: skip


def test_decay_and_clip_that_begin_on_the_way_are_heeded() -> None:
    """Of a program in which nobody's weights decayed, some do from here on, and gradients are clipped more."""
    control = with_settings(spec_of("PPO", "discrete"), {"agent.0.net.optim_spec.weight_decay": 0.0})
    program = half("PPO", "discrete", [Session(control, 0, 0)] * 3)
    optimizer = program.agents[0].optimizers[0]
    assert not optimizer.decays
    other = [{"agent.0.net.optim_spec.weight_decay": 0.1}, {"agent.0.net.clip_grad_val": 1e-3}]
    program.retune([Session(control, 0, 0), *(Session(with_settings(control, s), 0, 0) for s in other)])
    assert optimizer.decays
    go_on(program)
    assert all(differences(of(program, 0), of(program, i)) for i in (1, 2))


@pytest.mark.parametrize("way", ["PPO", "A2C-episodes", "DQN-prioritized"])
def test_an_agent_in_two_environments_of_which_one_has_ended(way: str) -> None:
    one = spec_of(way, "discrete")
    brief = one.env[0].model_copy(update={"max_frame": one.env[0].max_frame // 3})
    both = one.model_copy(update={"env": [one.env[0], brief]})
    program, alone = half(way, "", sessions_of(both, range(3))), half(way, "", sessions_of(both, [2]))
    before = of(program, 2)
    program.keep([2])
    for each in (program, alone):
        go_on(each)
    assert not departures(way, of(program, 0), of(alone, 0)) and differences(of(program, 0), before)


def test_a_failed_member_leaves_or_becomes_as_sound_as_its_source() -> None:
    sick = {str(session.seeds("env", 0).generate_state(1)[0] >> 1): "nan"
            for session in sessions_of(spec_of("PPO", "discrete"), [1])}  # fmt: skip

    def broken() -> Program:
        one = spec_of("PPO", "discrete", sick=sick)
        program = half("PPO", "discrete", sessions_of(one, range(3)))
        assert program.failures.keys() == {1}
        return program

    program = broken()
    program.keep([2, 1])
    assert program.failures.keys() == {1} and program.agents[0].finite.tolist() == [True, False]
    program = broken()
    program.clone([1, 2, 2])
    assert program.failures.keys() == {0} and program.agents[0].finite.tolist() == [False, True, True]
    program.keep([1, 2])
    assert not program.failures
    program.sessions = sessions_of(spec_of("PPO", "discrete"), range(2))  # with environments that are well
    before = program.agents[0].optimizers[0].steps.clone()
    go_on(program)
    assert (program.agents[0].optimizers[0].steps > before).all()


def test_what_is_no_choice_of_members_is_refused() -> None:
    program = half("PPO", "discrete")
    other = with_settings(program.spec, {"agent.0.algorithm.time_horizon": 4})
    wrong = [
        lambda: program.keep([]), lambda: program.keep([1, 1]), lambda: program.clone([0]),
        lambda: program.retune(program.sessions[:2]), lambda: program.retune([Session(other, 0, i) for i in range(M)]),
    ]  # fmt: skip
    for call in wrong:
        with pytest.raises(ValueError, match=r"need|another program"):
            call()
    with pytest.raises(IndexError):
        program.keep([0, M])
    with pytest.raises(TypeError, match="float has no keep"):
        Odd().keep([0])


class Odd(Membered):
    """Says that it has a number of every member, and has one number."""

    copied = ("number",)
    number = 1.0


OWN: tuple[Keys, Keys, Keys] = (
    {"name": "tests.own_learning:Cautious", "baseline": True},
    {"name": "tests.own_learning:Recent", "episodes": 2},
    {"type": "tests.own_learning:Affine", "scale": 0.5, "optim_spec": {"name": "Adam", "lr": 0.1}},
)


def own(**changes: float) -> Spec:
    """An agent whose parts are all a user's own."""
    env = {"name": "tests.probes:Drift", "max_frame": 400}
    algorithm, memory, net = OWN
    keys = {"caution": changes.get("caution", 1.0)}
    net = net | {"scale": changes.get("scale", 0.5)}
    return spec(algorithm | keys, memory, env, net, 2, {"dtype": "float64"})


def test_components_of_a_user_s_own_have_members_that_leave_are_copied_and_retuned() -> None:
    program, alone = (half("", "", [Session(own(), 0, i) for i in which]) for which in (range(M), [4, 1]))
    program.keep([4, 1])
    one, other = go_on(program), go_on(alone)
    for place in range(2):
        assert not departures("REINFORCE", one.of(place), other.of(place))
    program.clone([0, 0])
    assert not differences(of(program, 0), of(program, 1))
    same = [Session(one, 0, 0) for one in (own(), own(caution=5.0), own(scale=0.9))]
    program = half("", "", [same[0]] * 3)
    program.retune(same)
    go_on(program)
    assert differences(of(program, 0), of(program, 1)) and differences(of(program, 0), of(program, 2))


class Sharing(Algorithm):
    """Two networks of which one is part of the other."""

    def networks(self) -> dict[str, torch.nn.Module]:
        return {"trunk": self.trunk, "whole": torch.nn.Sequential(self.trunk, self.head)}

    def build(self) -> None:
        drawn = self.setting.streams("net").normal(4)
        self.trunk, self.head = torch.nn.ParameterList([drawn]), torch.nn.ParameterList([drawn + 1])  # type: ignore[assignment]
        self.trunk.register_buffer("seen", torch.arange(self.members))


def test_what_networks_share_is_moved_once() -> None:
    setting = half("Random", "discrete", sessions_of(spec_of("Random", "discrete"), range(4))).agents[0].setting
    agent = Sharing(setting)
    before = agent.trunk[0].detach().clone()
    agent.clone([1, 2, 3, 3])
    assert torch.equal(agent.trunk[0], before[[1, 2, 3, 3]]) and torch.equal(agent.head[0], agent.trunk[0] + 1)
    agent.keep([3, 0])
    assert torch.equal(agent.trunk[0], before[[3, 1]]) and agent.trunk.seen.tolist() == [3, 1]

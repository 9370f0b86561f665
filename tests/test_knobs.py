"""No accepted key of a spec is silent: each changes something that can be seen, or is refused where it would not.

The keys are those of the typed models, so a new field is tested here without a line about it. It is given other values
by a rule from its type (`others`), in every mode of the component that it belongs to; a field for which the rule finds
no value, or one that shows nothing, fails until it is mended or has a case of its own in the tables below.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import itertools
import json
import re
import types
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_origin

import pytest
import torch
from pydantic import BaseModel, Field
from torch import Tensor
from typer.testing import CliRunner

from slmx import env, evaluation, lab, session
from slmx.algorithm import ALGORITHMS
from slmx.analysis.files import TrialFiles
from slmx.analysis.objective import Objective
from slmx.cli import app
from slmx.env.spec import AtariSpec, EnvSpec, WrapperSpec
from slmx.errors import SlmxError, SpecError
from slmx.member.hyper import Hyper, Scheduled, Stacked, varies
from slmx.member.optim import OPTIMIZERS
from slmx.member.schedule import Schedule
from slmx.memory import MEMORIES
from slmx.net import NETS
from slmx.net.layer import Network
from slmx.net.mlp import MLP
from slmx.plain import put
from slmx.run_directory import folder_of
from slmx.search import SCHEDULERS, SEARCHERS, cluster, job, on_tune, start
from slmx.search.halving import Halving
from slmx.search.population import Population, Round
from slmx.search.scheduler import scheduler_of
from slmx.search.size import settings_a_program
from slmx.search.tune_schedulers import Asha, Median
from slmx.search.validate import chosen, fresh_spec
from slmx.session import Program, Session
from slmx.spec.build import attempt, build, spec_keys
from slmx.spec.check import PREPARATIONS, problems
from slmx.spec.dump import dump, static, with_settings
from slmx.spec.model import (
    AgentSpec,
    BodySpec,
    MetaSpec,
    ObjectiveSpec,
    ResourceSpec,
    Spec,
    StageSpec,
    ValidateSpec,
    VideoSpec,
)  # fmt: skip
from slmx.spec.registry import REGISTRIES, Registry, registry_of
from slmx.spec.search_space import search_space
from slmx.spec.words import arms
from tests.programs import Keys, parameters, program
from tests.search.test_job import finish, order_of
from tests.search.test_tune_schedulers import Court

EARLY: Keys = {"training_start_step": 16, "training_frequency": 8}
IMITATION: Keys = {"sil_iter": 1, "sil_max_size": 32, "sil_batch_size": 8}
# Values that make keys matter within few frames; keys that are not here have their defaults.
BASES: dict[str, Keys] = {
    "REINFORCE": {},
    "A2C": {"time_horizon": 8, **IMITATION},
    "PPO": {"time_horizon": 8, "minibatch_size": 8, "training_epoch": 3, "clip_eps": 0.05, **IMITATION},
    "SARSA": {"time_horizon": 8, "explore_var": 1.0},
    "DQN": {"explore_var": 1.0, "update_frequency": 80, "training_start_step": 16, "training_frequency": 8},
    "DDPG": EARLY,
    "TD3": EARLY,
    "SAC": EARLY,
    "CrossQ": EARLY,
    "Episodes": {"episodes": 2},
    "Replay": {"max_size": 24, "batch_size": 8},
    "PrioritizedReplay": {"max_size": 24, "batch_size": 8},
    "FrameReplay": {"max_size": 24, "batch_size": 8},
    "PrioritizedFrameReplay": {"max_size": 24, "batch_size": 8},
    "MLP": {"hid_layers": [8], "clip_grad_val": 0.1},
    "ConvNet": {  # without relu, of which relu6 is no other until something is above 6
        "conv_layers": [[4, 3, 1]],
        "conv_activation": "tanh",
        "hid_layers": [8],
        "hid_layers_activation": "tanh",
        "clip_grad_val": 0.1,
    },
    "SequenceReplay": {"max_size": 12, "batch_size": 2, "sequence_length": 4, "burn_in": 2},
    "PrioritizedSequenceReplay": {"max_size": 12, "batch_size": 2, "sequence_length": 4, "burn_in": 2},
    "RNN": {"hid_layers": [8], "rnn_hidden_size": 4, "clip_grad_val": 0.1},
}
SEEN = "tests.probes:Catch"  # the environment of networks that take images
# who learns from images: two that use each key of a network between them, and what takes images alone
SEEING = [("A2C", "Rollout"), ("DQN", "Replay"), ("DQN", "FrameReplay"), ("DQN", "PrioritizedFrameReplay")]
OPTIMIZER: Keys = {"name": "Adam", "lr": 0.01}
ENV: Keys = {"name": "CartPole-v1", "max_frame": 160, "max_t": 10}
CONTINUOUS: Keys = ENV | {"name": "Pendulum-v1"}
FEW = 4  # options of a key that makes modes, each tested with all the other keys


# ---- specs to change ----


def agent_of(algorithm: str, memory: str | None = None, optimizer: Keys = OPTIMIZER, net: str | None = None) -> Keys:
    """An agent with the values of BASES; its network is a perceptron where its memory is for any."""
    kind = REGISTRIES["algorithm"].find(algorithm)
    agent: Keys = {"name": "agent", "algorithm": {"name": algorithm, **BASES.get(algorithm, {})}}
    if kind.learns:
        name = memory or kind.memories[0]
        agent["memory"] = {"name": name, **BASES.get(name, {})}
        net = net or ("RNN" if needs_recurrence(name) else "MLP")
        agent["net"] = {"type": net, **BASES[net], "optim_spec": dict(optimizer)}
    return agent


def is_fit(agent: Keys, kind: str) -> bool:
    """Whether an agent can take actions of a kind as its keys are."""
    found = REGISTRIES["algorithm"].find(agent["algorithm"]["name"])
    return kind in found.actions and not found.unfit(found.Hyper(**agent["algorithm"]), kind)


def needs_recurrence(memory: str) -> bool:
    """Whether a memory is for recurrent networks alone."""
    return getattr(REGISTRIES["memory"].find(memory), "sequences", False)


def spec_of(agent: Keys, env: Keys | None = None, meta: Keys | None = None, **rest: Any) -> Keys:
    """A raw spec of two bodies, in float64, in which the smallest difference shows."""
    env = env or (ENV if is_fit(agent, "discrete") else CONTINUOUS)
    meta = {"dtype": "float64", "eval_episode": 1, "max_session": 1, **(meta or {})}
    return {"agent": agent, "env": env, "body": {"num": 2}, "meta": meta, **rest}


def built(raw: Keys) -> Spec:
    """The spec, where keys that do nothing are passed over."""
    return build("knobs", raw, idle=False)


def settled(raw: Keys) -> Keys:
    """The raw spec with every key that does something, and no other."""
    return dump(built(raw))


# ---- keys, and other values for them ----


@dataclass(frozen=True)
class Knob:
    """A key of a spec: where it stands, the field behind it, and its value."""

    path: str
    model: type[BaseModel]
    field: str
    value: Any

    @property
    def annotation(self) -> Any:
        return self.model.model_fields[self.field].annotation

    @property
    def scheduled(self) -> bool:
        return Schedule in arms(self.annotation)

    def __str__(self) -> str:
        return f"{self.model.__qualname__}.{self.field}"


def knobs(spec: Spec) -> list[Knob]:
    """All keys of the parts of the spec's only agent, but those that choose a class."""
    agent = spec.agent[0]
    parts = ((part, getattr(agent, part)) for part in ("algorithm", "memory", "net"))
    return [k for part, hyper in parts if hyper is not None for k in _knobs(hyper, REGISTRIES[part], f"agent.0.{part}")]


def _knobs(hyper: Hyper, registry: Registry, place: str) -> Iterator[Knob]:
    for key, field in spec_keys(type(hyper), registry).items():
        value, nested = getattr(hyper, field), registry_of(key)
        if isinstance(value, Hyper) and nested is not None:
            yield from _knobs(value, nested, f"{place}.{key}")
        elif key != registry.selector:
            yield Knob(f"{place}.{key}", type(hyper), field, value)


def others(annotation: Any, value: Any) -> list[Any]:
    """Values that a field of this type could have in place of `value`, at least one of each kind that it takes."""
    found: list[Any] = []
    number: Any = getattr(value, "start_val", value)
    for arm in arms(annotation):
        if arm is types.NoneType:
            found += [] if value is None else [None]
        elif arm is bool:
            found.append(not value)
        elif get_origin(arm) is Literal:
            found += [option for option in arm.__args__ if option != value]
        elif arm is int:
            found.append(2 if number is None else 2 * number)
        elif arm is float:
            found.append(0.5 * number if number else 0.5)
        elif arm is Schedule:
            found.append(decay(number))
        elif get_origin(arm) is list:
            found.append([*value, value[-1]] if value else [0])
    return found


def decay(number: float | None) -> Keys:
    """A schedule within the frames of ENV."""
    start = number or 0.5
    return {"name": "linear_decay", "start_val": start, "end_val": start / 4, "start_step": 40, "end_step": 140}


def is_mode(model: type[BaseModel], field: str) -> bool:
    """Whether a field chooses between ways of doing things."""
    parts = arms(model.model_fields[field].annotation)
    options = [len(arm.__args__) for arm in parts if get_origin(arm) is Literal]
    return bool in parts or types.NoneType in parts or bool(options and max(options) <= FEW)


def changed(raw: Keys, path: str, value: Any) -> Keys:
    """The raw spec with another value at a path."""
    raw = copy.deepcopy(raw)
    put(raw, path.split("."), value)
    return raw


def raw_at(raw: Any, path: str) -> Any:
    """What a raw spec has at a path."""
    for part in path.split("."):
        raw = raw[int(part)] if part.isdigit() else raw[part]
    return raw


def modes() -> dict[str, Keys]:
    """A spec for each algorithm, for each memory of it, and for each other value of its and its memory's modes."""
    found: dict[str, Keys] = {}
    for name in ALGORITHMS:
        for memory in REGISTRIES["algorithm"].find(name).memories or [None]:
            if (name, memory) in SEEING[2:]:  # whose keys are those of the memories before
                continue
            label = f"{name}-{memory}" if memory else name
            found[label] = raw = settled(spec_of(agent_of(name, memory)))
            for knob in knobs(built(raw)):
                if not knob.path.startswith("agent.0.net") and is_mode(knob.model, knob.field):
                    for value in others(knob.annotation, knob.value):
                        other = changed(raw, knob.path, value)
                        if knob.field == "value_rescale":  # so that errors come above Huber's threshold
                            other = changed(other, "agent.0.net.optim_spec.lr", 0.3)
                        other = settled(spec_of(settled(other)["agent"][0]))
                        if not problems(built(other)):
                            found[f"{label}-{knob.field}={value}"] = other
        for memory in REGISTRIES["algorithm"].find(name).recurrent:
            if not needs_recurrence(memory):
                agent, body = agent_of(name, memory, net="RNN"), {"num": 2}
                agent["algorithm"] = {key: x for key, x in agent["algorithm"].items() if key not in IMITATION}
                if name == "PPO":  # so that minibatches can be of one, two or four sequences
                    agent["algorithm"]["minibatch_size"], body = 16, {"num": 4}
                found[f"{name}-{memory}-RNN"] = settled(spec_of(agent, body=body))
    for name, memory in SEEING:
        agent = agent_of(name, memory, net="ConvNet")
        found[f"{name}-{memory}-ConvNet"] = settled(spec_of(agent, ENV | {"name": SEEN}))
    return found


def schedules() -> dict[str, tuple[Keys, str]]:
    """A spec for each field that takes a schedule, with a schedule there, and its path."""
    found: dict[str, tuple[Keys, str]] = {}
    raws = [settled(spec_of(agent_of(name, m))) for name in ALGORITHMS for m in _memories(name)]
    raws += [settled(spec_of(agent_of("A2C", None, {"name": name}))) for name in OPTIMIZERS]
    for raw in raws:
        for knob in knobs(built(raw)):
            if knob.scheduled and str(knob) not in found:
                number = getattr(knob.value, "start_val", knob.value)
                found[str(knob)] = (changed(raw, knob.path, decay(number)), knob.path)
    return found


def _memories(algorithm: str) -> Sequence[str]:
    return REGISTRIES["algorithm"].find(algorithm).memories


# ---- what can be seen ----


def learned(specs: Sequence[Spec]) -> list[Tensor]:
    """The parameters that one session of each spec ends with, `[P]`; those that can train together do."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, spec in enumerate(specs):
        groups[static(spec)].append(i)
    result: dict[int, Tensor] = {}
    for where in groups.values():
        trained = program([specs[i] for i in where])
        trained.run()
        assert not trained.failures
        result |= dict(zip(where, parameters(trained.agents[0]), strict=True))
    return [result[i] for i in range(len(specs))]


def same(one: Tensor, other: Tensor) -> bool:
    """Whether nothing but rounding, as it may differ between programs, tells one end from the other."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=1e-11)


# ---- agents ----


MODES = modes()
SCHEDULES = schedules()


def test_every_component_is_in_some_mode() -> None:
    raw = json.dumps(MODES)
    assert all(f'"{name}"' in raw for name in [*ALGORITHMS, *MEMORIES, *NETS])
    defined = {
        (model, field)
        for table in ("algorithm", "memory", "net", "optim_spec")
        for found in REGISTRIES[table].classes()
        for model in [found.Hyper]
        for field in model.model_fields
        if field not in (REGISTRIES[table].selector, "name", "optim_spec")
    }
    seen = {(knob.model, knob.field) for raw in MODES.values() for knob in knobs(built(raw))}
    optimised = [built(spec_of(agent_of("A2C", None, {"name": name}))) for name in OPTIMIZERS]
    seen |= {(knob.model, knob.field) for spec in optimised for knob in knobs(spec)}
    assert defined == seen
    assert set(SCHEDULES) == {
        f"{model.__qualname__}.{field}"
        for model, field in seen
        if Schedule in arms(model.model_fields[field].annotation)
    }


def keys_of(raw: Keys) -> set[str]:
    """The paths of the keys of a raw spec's agent, all of which do something."""
    return {knob.path for knob in knobs(built(raw)) if is_in(raw, knob.path)}


def is_in(raw: Any, path: str) -> bool:
    """Whether a raw spec has the key at a path."""
    try:
        raw_at(raw, path)
    except (KeyError, TypeError):
        return False
    return True


def quick(mode: str) -> set[str] | None:
    """Which keys of a mode are looked at by default: all, or those that do nothing without the mode's own key."""
    base = re.sub("-[a-z_]+=.*", "", mode)
    return None if mode == base else keys_of(MODES[mode]) - keys_of(MODES[base])


def is_first(mode: str) -> bool:
    """Whether a mode is that of an algorithm with its first memory."""
    algorithm, memory, *_ = mode.split("-")
    return memory == _memories(algorithm)[0]


KEYS = {mode: quick(mode) for mode in MODES if mode != "Random"}
QUICK = [mode for mode, keys in KEYS.items() if keys is None or (keys and is_first(mode))]


def test_every_key_is_looked_at_by_default() -> None:
    def looked_at(keys: Callable[[str], set[str]], modes: Iterable[str]) -> set[tuple[type[BaseModel], str]]:
        return {
            (knob.model, knob.field) for mode in modes for knob in knobs(built(MODES[mode])) if knob.path in keys(mode)
        }

    every = looked_at(lambda mode: keys_of(MODES[mode]), KEYS)
    assert looked_at(lambda mode: KEYS[mode] or keys_of(MODES[mode]), QUICK) == every


@pytest.mark.parametrize("mode", QUICK)
def test_every_key_of_an_agent_changes_what_it_learns_or_is_refused(mode: str) -> None:
    algorithm, _, *changes = mode.split("-")
    keys, is_a2c = KEYS[mode], algorithm == "A2C"
    check_agent(MODES[mode], is_first(mode) and keys is None and (not changes or is_a2c), keys, is_a2c)


@pytest.mark.slow
@pytest.mark.parametrize("mode", KEYS)
def test_so_does_every_key_beside_every_other_mode(mode: str) -> None:
    check_agent(MODES[mode], is_first(mode) and mode.split("-")[2:] in ([], ["ConvNet"], ["RNN"]))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_key_of_an_optimiser_changes_what_is_learned(name: str) -> None:
    check_agent(settled(spec_of(agent_of("A2C", None, {"name": name}))), whole=False)


def check_agent(raw: Keys, whole: bool, only: set[str] | None = None, every_net: bool = True) -> None:
    """Each key with another value either ends with other parameters, or is refused and would change none.

    `whole`: with each other value, and each key of the network too; else with one, and no key that shapes networks.
    `only`: the keys at these paths. `every_net`: the network's keys with each other value too, else with one.
    """
    control = build("knobs", raw)
    alive: dict[str, Spec] = {}
    silent: dict[str, Spec] = {}
    for knob in knobs(control):
        if only is not None and knob.path not in only:
            continue
        if (
            not whole
            and knob.path.startswith("agent.0.net.")
            and not (varies(knob.model, knob.field) or bool in arms(knob.annotation))
        ):
            continue
        values = others(knob.annotation, knob.value)
        assert values, f"{knob}: no other value; give the rule one"
        is_full = whole and (every_net or not knob.path.startswith("agent.0.net."))
        for value in values if is_full else values[:1]:
            other = changed(raw, knob.path, value)
            if {knob.path} == {error.path for error in problems(built(other))}:
                continue  # refused in this environment
            _, errors = attempt("knobs", other)
            assert all("does nothing" in error.message for error in errors), f"{knob} = {value}: {errors}"
            (silent if knob.path in {e.path for e in errors} else alive)[f"{knob} = {value}"] = built(other)
    ends = learned([control, control, *alive.values()])
    assert same(ends[0], ends[1])
    assert same(ends[0], learned([control])[0])
    unseen = [label for label, end in zip(alive, ends[2:], strict=True) if same(end, ends[0])]
    assert not unseen, "accepted, and nothing changes"
    heard = [label for label, spec in silent.items() if not same(learned([spec])[0], ends[0])]
    assert not heard, "refused as if they did nothing"


@pytest.mark.parametrize("where", SCHEDULES)
def test_every_key_of_a_schedule_changes_what_is_learned(where: str) -> None:
    raw, path = SCHEDULES[where]
    control = built(raw)
    values = decay(raw_at(raw, path)["start_val"])
    specs = {
        f"{field} = {value}": built(changed(raw, f"{path}.{field}", value))
        for field, found in Schedule.model_fields.items()
        for value in others(found.annotation, values[field])
    }
    assert {label.partition(" ")[0] for label in specs} == set(Schedule.model_fields)
    ends = learned([control, *specs.values()])
    assert not [label for label, end in zip(specs, ends[1:], strict=True) if same(end, ends[0])]


class Scaled(MLP):
    """A network of one's own whose outputs are scaled by a number that changes over time."""

    class Hyper(MLP.Hyper):
        """A scaled multi-layer perceptron."""

        scale: Scheduled = Field(1.0, description="what outputs are multiplied by")

    @staticmethod
    def build(hp: Stacked, streams: Any, inputs: Any, heads: Any) -> Network:
        network = MLP.build(hp, streams, inputs, heads)
        network.register_forward_hook(lambda _, __, output: output * hp.scale[..., None])
        return network


def test_schedules_of_a_network_of_ones_own_go_on() -> None:
    raw = settled(spec_of(agent_of("A2C")))
    raw["agent"][0]["net"] |= {"type": "tests.test_knobs:Scaled", "scale": decay(1.0)}
    kept, changing = learned([built(changed(raw, "agent.0.net.scale", 1.0)), built(raw)])
    assert not same(kept, changing)


# a rollout of 8 steps of two bodies
ONCE = agent_of("PPO") | {"algorithm": {"name": "PPO", "time_horizon": 8, "minibatch_size": 16, "training_epoch": 1}}
UNMOVED = "each rollout is one minibatch, learned from once: nothing has moved that could be clipped"

REFUSED: list[tuple[Keys, Keys, str]] = [
    (agent_of("A2C", "Episodes"), {"algorithm.time_horizon": 16},
     "agent.0.algorithm.time_horizon: does nothing when the memory holds whole episodes"),
    (agent_of("A2C"), {"algorithm.num_step_returns": 2},
     "agent.0.algorithm.num_step_returns: does nothing when lam is not null"),
    (agent_of("REINFORCE"), {"net.shared": True},
     "agent.0.net.shared: does nothing when baseline is false: there is no critic"),
    (agent_of("REINFORCE"), {"algorithm.val_loss_coef": 1.0},
     "agent.0.algorithm.val_loss_coef: does nothing when baseline is false"),
    (agent_of("SARSA"), {"net.shared": True}, "agent.0.net.shared: does nothing: SARSA does not use it"),
    (agent_of("PPO"), {"net.dueling": True}, "agent.0.net.dueling: does nothing: PPO does not use it"),
    (agent_of("DQN") | {"algorithm": {"name": "DQN", "update_type": "none"}}, {"algorithm.double": True},
     'agent.0.algorithm.double: does nothing when update_type is "none": both networks are one'),
    (agent_of("DQN"), {"algorithm.polyak_coef": 0.1},
     'agent.0.algorithm.polyak_coef: does nothing when update_type is "replace"'),
    (agent_of("DQN"), {"algorithm.v_min": -1.0}, "agent.0.algorithm.v_min: does nothing when atoms is null"),
    (agent_of("DQN") | {"algorithm": {"name": "DQN", "atoms": 5}}, {"algorithm.loss": "squared"},
     "agent.0.algorithm.loss: does nothing when atoms is not null: it is the divergence of distributions"),
    (agent_of("DQN") | {"algorithm": {"name": "DQN", "atoms": 5}}, {"algorithm.v_max": -10.0},
     "agent.0.algorithm.v_min: -10.0 is not below v_max -10.0"),
    (agent_of("DQN") | {"algorithm": {"name": "DQN", "action_policy": "greedy"}}, {"algorithm.explore_var": 0.1},
     'agent.0.algorithm.explore_var: does nothing when action_policy is "greedy"'),
    (agent_of("PPO"), {"net.noisy": True}, "agent.0.net.noisy: does nothing: PPO does not use it"),
    (agent_of("A2C") | {"algorithm": {"name": "A2C"}}, {"algorithm.sil_alpha": 0.1},
     "agent.0.algorithm.sil_alpha: does nothing when sil_iter is null"),
    (agent_of("A2C", "Episodes"), {"algorithm.sil_iter": 4},
     "agent.0.algorithm.sil_iter: does nothing when the memory holds whole episodes"),
    (agent_of("PPO"), {"algorithm.sil_max_size": 4},
     "agent.0.algorithm.sil_batch_size: 8 is more than sil_max_size 4"),
    (ONCE, {"algorithm.clip_eps": 0.1}, f"agent.0.algorithm.clip_eps: does nothing when {UNMOVED}"),
    (ONCE, {"algorithm.clip_vloss": True}, f"agent.0.algorithm.clip_vloss: does nothing when {UNMOVED}"),
    (agent_of("Random"), {"net": agent_of("PPO")["net"]}, "agent.0.net: does nothing: Random learns nothing"),
    (agent_of("Random"), {"memory": {"name": "Rollout"}}, "agent.0.memory: does nothing: Random remembers nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("agent", "change", "message"), REFUSED, ids=lambda x: x if isinstance(x, str) else "")
def test_key_that_its_company_makes_meaningless_is_one_error(agent: Keys, change: Keys, message: str) -> None:
    if agent["algorithm"]["name"] == "A2C" and agent["memory"]["name"] == "Episodes":
        agent = agent | {"algorithm": {"name": "A2C"}}
    raw = spec_of(agent)
    build("knobs", raw)
    for path, value in change.items():
        raw = changed(raw, f"agent.{path}", value)
    assert [str(error) for error in attempt("knobs", raw)[1]] == [message]


def test_ppo_clips_nothing_where_it_learns_once_from_all() -> None:
    def ends(*changes: Keys) -> list[Tensor]:
        specs = [built(spec_of(ONCE | {"algorithm": ONCE["algorithm"] | change})) for change in changes]
        return [learned([spec])[0] for spec in specs]  # apart: clip_vloss is part of the program

    control, *others = ends({}, {"clip_eps": 0.001}, {"clip_eps": 0.001, "clip_vloss": True})
    assert all(same(other, control) for other in others)
    for moved in ({"training_epoch": 2}, {"minibatch_size": 8}):
        control, *others = ends(moved, moved | {"clip_eps": 0.001}, moved | {"clip_vloss": True, "clip_eps": 0.001})
        assert not any(same(other, control) for other in others)
        assert not attempt("knobs", spec_of(ONCE | {"algorithm": ONCE["algorithm"] | moved | {"clip_eps": 0.1}}))[1]
    plain = dump(build("knobs", spec_of(ONCE)))
    assert "clip_eps" not in plain["agent"][0]["algorithm"] and build("knobs", plain) == build("knobs", spec_of(ONCE))


def test_settings_that_do_nothing_beside_others_are_dropped() -> None:
    spec, place = built(spec_of(agent_of("DQN"))), "agent.0.algorithm"
    polyak = [with_settings(spec, {f"{place}.update_type": "polyak", f"{place}.update_frequency": n}) for n in (20, 40)]
    assert polyak[0] == polyak[1]
    assert len(Program([Session(one) for one in polyak]).sessions) == 2


# ---- environments ----

ENVS: dict[str, Keys] = {
    "gymnasium": ENV | {"backend": "gymnasium"},
    "envpool": ENV | {"backend": "envpool"},
    "prepared": ENV | {"normalize_obs": True, "normalize_reward": True, "clip_obs": 0.5, "clip_reward": 0.5},
}
# where the rule has no value, or one that changes nothing: the changes before and after which the spec is looked at
ENV_CASES: dict[tuple[str, str], list[tuple[Keys, Keys]]] = {
    ("gymnasium", "backend"): [({}, {"backend": "envpool"})],  # and ALE's, of games: see below
    ("envpool", "backend"): [({}, {"backend": "gymnasium"})],  # "auto" is envpool, where that has the environment
    ("prepared", "backend"): [({}, {"backend": "gymnasium"})],
    ("envpool", "kwargs"): [({"name": "FrozenLake-v1"}, {"name": "FrozenLake-v1", "kwargs": {"size": 8}})],
    ("gymnasium", "wrappers"): [
        ({}, {"wrappers": ["TimeAwareObservation"]}),
        ({}, {"wrappers": [{"name": "TimeAwareObservation"}]}),
    ],
    ("envpool", "wrappers"): [],  # refused, see below
    **{(base, "atari"): [] for base in ENVS},  # refused where there is no Atari game
} | {(base, "clip_obs"): [({}, {"clip_obs": 0.01})] for base in ("gymnasium", "envpool")}
ENV_CASES |= {(base, "name"): [({}, {"name": "Acrobot-v1"})] for base in ENVS}
ENV_CASES |= {
    (base, "kwargs"): [({}, {"backend": "gymnasium", "kwargs": {"sutton_barto_reward": True}})]
    for base in ("gymnasium", "prepared")
}
ENV_CASES |= {(base, "workers"): [] for base in ENVS}  # the same by more processes: tests/env/test_workers.py
ENV_CASES["prepared", "reward_scale"] = []  # refused beside normalize_reward
ENV_CASES["prepared", "wrappers"] = ENV_CASES["gymnasium", "wrappers"]


@pytest.mark.parametrize("field", EnvSpec.model_fields)
@pytest.mark.parametrize("base", ENVS)
def test_every_key_of_an_environment_changes_what_is_learned(base: str, field: str) -> None:
    raw = ENVS[base]
    info = EnvSpec.model_fields[field]
    value = raw.get(field, info.get_default(call_default_factory=True))
    by_rule = [({}, {field: other}) for other in others(info.annotation, value)]
    cases = ENV_CASES.get((base, field), by_rule)
    assert cases or (base, field) in ENV_CASES, "no other value; give it a case"
    for before, after in cases:
        ends = learned([build("knobs", spec_of(agent_of("A2C"), raw | change)) for change in (before, after)])
        assert not same(*ends), f"{before} and {after}"


def test_every_key_of_a_wrapper_changes_what_is_learned() -> None:
    assert set(WrapperSpec.model_fields) == {"name"}
    wrappers: list[Keys] = [
        {"name": "TimeAwareObservation"},
        {"name": "FrameStackObservation", "stack_size": 2},
        {"name": "FrameStackObservation", "stack_size": 3},
    ]
    ends = learned([build("knobs", spec_of(agent_of("A2C"), ENV | {"wrappers": [one]})) for one in wrappers])
    assert not any(same(one, other) for one, other in itertools.combinations(ends, 2))


GAME: Keys = {"name": "Asterix-v5", "max_frame": 120, "max_t": 60, "backend": "envpool"}


def test_rewards_of_atari_are_learned_from_by_their_signs_and_counted_as_they_are() -> None:
    """The other keys of atari: tests/env/test_contract.py."""
    agent, small = agent_of("A2C", net="ConvNet"), {"img_height": 24, "img_width": 20}
    ends, totals = [], []
    for keys in ({}, {"atari.reward_clip": False}, {"atari.reward_clip": False, "clip_reward": 1.0}):
        raw = spec_of(agent, GAME | {"atari": small})
        for key, value in keys.items():
            put(raw, ["env", *key.split(".")], value)
        played = program(build("knobs", raw))
        played.run()
        ends.append(parameters(played.agents[0]))
        totals.append(sum(episode.total for episode in played.watcher.returns))  # type: ignore[attr-defined]
    other = program(build("knobs", spec_of(agent, GAME | {"atari": small, "backend": "ale"})))
    other.run()
    assert not same(ends[0], ends[1]) and same(ends[0], ends[2]) and not same(ends[0], parameters(other.agents[0]))
    assert totals[0] == totals[2] >= 100 and totals[0] % 50 == 0


def test_wrappers_need_their_backend() -> None:
    _, errors = attempt("knobs", spec_of(agent_of("A2C"), ENVS["envpool"] | {"wrappers": ["TimeAwareObservation"]}))
    assert [str(error) for error in errors] == ['env.0.wrappers: only the backend "gymnasium" has wrappers']


@pytest.mark.parametrize("field", PREPARATIONS)
def test_preparing_what_nobody_learns_from_is_an_error(field: str) -> None:
    value = others(EnvSpec.model_fields[field].annotation, EnvSpec.model_fields[field].default)[0]
    idle, learner = (build("knobs", spec_of(agent_of(name), ENV | {field: value})) for name in ("Random", "A2C"))
    assert [str(error) for error in problems(idle)] == [f"env.0.{field}: does nothing: Random learns nothing"]
    assert not problems(learner)
    company = idle.model_copy(update={"agent": [*idle.agent, *learner.agent]})
    assert not problems(company)


# ---- bodies ----

BODIES: dict[str, list[tuple[Keys, Keys]]] = {
    "product": [({}, {"product": "inner"}), ({}, {"product": "custom", "num": [[0, 0, 0], [1, 0, 0], [1, 1, 0]]})],
    "num": [({}, {"num": 2}), ({"num": 2}, {"num": [2, 1]})],
}


@pytest.mark.parametrize("field", BodySpec.model_fields)
def test_every_key_of_bodies_changes_who_lives_where(field: str) -> None:
    def lived(body: Keys) -> set[tuple[int, int, int]]:
        agents = [agent_of("Random") | {"name": name} for name in ("one", "other")]
        played = program(build("knobs", {"agent": agents, "env": [ENV, ENV], "body": body}))
        played.run()
        return {(episode.agent, episode.env, episode.body) for episode in played.watcher.returns}  # type: ignore[attr-defined]

    for before, after in BODIES[field]:
        assert lived(before) != lived(after)


# ---- the rest: what a run leaves ----

ON_DISK: Keys = {
    "max_session": 2, "seed": 1, "log_frequency": 80, "eval_episode": 2, "eval_frequency": 120, "dtype": "float32",
    "save": 80, "checkpoint_frequency": 120, "stages": [{"frame": 120, "settings": {"agent.0.algorithm.gamma": 0.5}}],
}  # fmt: skip
BEFORE_IT_RUNS = {"device", "threads", "max_trial", "storage", "video", "save_state_img", "amp"}  # tested one by one
OF_A_SEARCH = {
    "common_seeds",
    "scheduler_spec",
    "search_spec",
    "objective",
    "validation",
    "max_member",
    "resources",
    "ray_address",
}  # likewise, at the end of this section


def left(meta: Keys, data: Path) -> dict[str, bytes]:
    """The tables and models of a training, by file; not what only repeats the spec."""
    run = lab.train(build("knobs", spec_of(agent_of("A2C"), meta=meta)), data, quiet=True, graphs=False)
    names = ("session_*.csv", "episodes_*.csv", "eval_*.csv", "model/*")
    trial = run.directory / "trial_0"
    return {str(path.relative_to(trial)): path.read_bytes() for name in names for path in trial.glob(name)}


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return left({}, tmp_path_factory.mktemp("control"))


@pytest.mark.parametrize("field", ON_DISK)
def test_every_key_of_meta_changes_what_a_run_leaves(field: str, control: dict[str, bytes], tmp_path: Path) -> None:
    assert left({field: ON_DISK[field]}, tmp_path) != control


def test_nothing_changes_what_a_run_leaves_but_a_key(control: dict[str, bytes], tmp_path: Path) -> None:
    assert left({}, tmp_path) == control
    assert set(MetaSpec.model_fields) == BEFORE_IT_RUNS | OF_A_SEARCH | set(ON_DISK)


def test_threads_are_those_of_torch_and_of_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    threads = torch.get_num_threads()

    def make(*args: Any, **options: Any) -> Any:
        asked.append(options["threads"])
        return env.make(*args, **options)

    for place in (session, evaluation):
        monkeypatch.setattr(place, "make", make)
    try:
        for n in (1, 2):
            trained = program(build("knobs", spec_of(agent_of("A2C"), meta={"threads": n})))
            assert torch.get_num_threads() == n
            trained.run()
    finally:
        torch.set_num_threads(threads)
    assert asked == [1, 1, 2, 2], "of the training and of the evaluation"


VIDEO: Keys = {"frequency": 80, "best": True, "end": False, "session": [1], "search": True}


@pytest.mark.parametrize("key", VIDEO)
def test_every_key_of_video_changes_what_is_filmed(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The models that are left for a camera that never comes: of a training, and of a program of a search."""
    assert set(VideoSpec.model_fields) == set(VIDEO)
    blind = SimpleNamespace(look=lambda: None, finish=lambda: None)
    for module in (lab, job):
        monkeypatch.setattr(module, "filming", lambda video, _: contextlib.nullcontext(video and blind))

    def asked(place: Path, **video: Any) -> list[str]:
        meta = {"max_session": 2, "eval_frequency": 120, "video": {"frequency": 100, **video}}
        data, run = place / "data", place / "run"
        lab.train(build("knobs", spec_of(agent_of("A2C"), meta=meta)), data, quiet=True, graphs=False)
        run.mkdir()
        finish(job.Job(order_of(run, [0.9], **meta)))
        return sorted(
            f"{folder} {path.name}" for folder in ("data", "run") for path in (place / folder).rglob("video/*")
        )

    assert asked(tmp_path / "other", **{key: VIDEO[key]}) != asked(tmp_path / "control")


def test_device_is_where_parameters_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = {name: build("knobs", spec_of(agent_of("A2C"), meta={"device": name})) for name in ("cpu", "auto", "cuda")}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cpu", "auto"):
        assert parameters(program(specs[name]).agents[0]).device.type == "cpu"
    with pytest.raises(SpecError, match=r'meta.device: torch finds no CUDA device here; use "cpu" or "auto"'):
        program(specs["cuda"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [session.resolve_device(name) for name in specs] == ["cpu", "cuda", "cuda"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("mode", [mode for mode in MODES if "=" not in mode and mode != "Random"])
def test_cuda_learns_what_the_cpu_learns(mode: str) -> None:
    specs = [built(changed(MODES[mode], "meta.device", device)) for device in ("cpu", "cuda")]
    ends = []
    for spec in specs:
        trained = program(spec)
        trained.run()
        assert parameters(trained.agents[0]).device.type == spec.meta.device
        ends.append(parameters(trained.agents[0]).cpu())
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-4)


def test_max_trial_multiplies_the_grid() -> None:
    search = {"agent.0.algorithm.gamma__grid_search": [0.9, 0.99]}
    spec = build("knobs", spec_of(agent_of("A2C"), search=search))
    assert [search_space(spec)[0].trials(n) for n in (1, 3)] == [2, 6]
    assert not search_space(build("knobs", spec_of(agent_of("A2C"))))[0].domains


def searching(**meta: Any) -> Spec:
    """A spec with a search block over lists."""
    search = {"agent.0.algorithm.gamma": [0.9, 0.99], "agent.0.algorithm.lam__choice": [0.5, 0.8, 0.9]}
    return build("knobs", spec_of(agent_of("A2C"), search=search, meta={"max_session": 2, "max_trial": 9, **meta}))


def test_search_spec_chooses_the_settings() -> None:
    def settings(name: str) -> str:
        meta = searching(search_spec={"name": name}).meta
        space, _ = search_space(searching())
        kind = REGISTRIES["search_spec"].find(meta.search_spec.name)
        searcher = kind(meta.search_spec, space, meta.max_trial, meta.seed, meta.objective.mode)
        return json.dumps([searcher.ask() for _ in range(searcher.total)])

    there = [name for name in SEARCHERS if name != "bohb" or importlib.util.find_spec("hpbandster")]
    assert len({settings(name) for name in there}) == len(there)
    # that each key changes what is asked for: tests/search/test_searchers.py
    keys = {name: set(REGISTRIES["search_spec"].find(name).Hyper.model_fields) - {"name"} for name in SEARCHERS}
    assert keys == {
        "random": set(), "grid": set(),
        "optuna": {"sampler", "startup", "candidates", "multivariate", "constant_liar", "population", "objectives"},
        "hyperopt": {"startup", "good_share"}, "nevergrad": {"optimizer"},
        "bohb": {"candidates", "good_share", "random_share"},
    }  # fmt: skip


def test_scheduler_spec_says_who_schedules() -> None:
    found = {name: scheduler_of(searching(scheduler_spec={"name": name})) for name in SCHEDULERS}
    assert scheduler_of(searching()) is None
    kinds = {
        "halving": "Halving",
        "pbt": "Pbt",
        "pb2": "Pb2",
        "asha": "Asha",
        "hyperband": "HyperBand",
        "median": "Median",
    }
    assert {name: type(scheduler).__name__ for name, scheduler in found.items()} == kinds


def scheduled(**keys: Any) -> str:
    """What a scheduler decides: when, of which trials, and with which values."""
    search = {"agent.0.algorithm.gamma__uniform": [0.9, 0.99]}
    spec = build("knobs", spec_of(agent_of("A2C"), search=search, meta={"scheduler_spec": keys}))
    scheduler = scheduler_of(spec, search_space(spec)[0].domains)
    scores = {trial: float(trial % 7) for trial in range(20)}
    assert scheduler is not None
    found: list[Any] = [scheduler.pauses()]
    if isinstance(scheduler, Halving):
        found.append(scheduler.referee.dismissed(0, scores))
    if isinstance(scheduler, Population):
        sources = scheduler.sources(scores, 0)
        settings: dict[int, Keys] = {trial: {"agent.0.algorithm.gamma": 0.95} for trial in scores}
        found.append(scheduler.values(Round(0, scores, sources, settings, {})))
    if isinstance(scheduler, Asha | Median):
        court = Court(keys, len(scores))
        found += [court.tell(trial, 1, score) for trial, score in scores.items()]
    return str(found)


SCHEDULED: dict[str, Keys] = {
    "halving": {"eta": 2.0, "grace": 0.02},
    "asha": {"eta": 2.0, "grace": 0.02, "brackets": 2},
    "hyperband": {"eta": 2.0, "grace": 0.02},
    "median": {"interval": 50, "grace": 0.5, "others": 12},
    "pbt": {"interval": 50, "quantile": 0.5, "resample": 0.9, "factors": [0.5]},
    "pb2": {"interval": 50, "quantile": 0.5},
}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in SCHEDULED.items() for key in keys])
def test_every_key_of_a_scheduler_changes_what_it_decides(name: str, key: str) -> None:
    assert set(REGISTRIES["scheduler_spec"].find(name).Hyper.model_fields) == {"name", *SCHEDULED[name]}
    assert scheduled(name=name, **{key: SCHEDULED[name][key]}) != scheduled(name=name)


@pytest.mark.parametrize(("field", "value"), [("metric", "strength"), ("mode", "min"), ("aggregate", "worst")])
def test_every_key_of_the_objective_changes_a_score(field: str, value: str) -> None:
    def score(**keys: str) -> float:
        given = searching(objective=keys).meta.objective
        seeds = {"final_return": [1.0, 2.0], "strength": [3.0, 4.0]}[given.metric]
        return Objective(**given.model_dump()).score(seeds, failed=1, random=1.5)

    assert set(ObjectiveSpec.model_fields) == {"metric", "mode", "aggregate"}
    assert score(**{field: value}) != score()


def test_common_seeds_give_all_trials_the_same_streams() -> None:
    def drawn(common: bool) -> list[str]:
        spec = searching(common_seeds=common)
        sessions = [Session(spec, trial, index) for trial in (0, 7) for index in (0, 1)]
        return [str(session.seeds("env", 0).generate_state(2)) for session in sessions]

    assert len(set(drawn(False))) == 4 and drawn(True) == drawn(False)[:2] * 2


@pytest.mark.parametrize(("field", "value"), [("top", 1), ("sessions", 5), ("seed", 7)])
def test_every_key_of_validate_changes_what_is_tested(field: str, value: int) -> None:
    def tested(**keys: int) -> tuple[list[int], Keys]:
        spec = searching(validate=keys)
        asked = spec.meta.validation
        assert asked is not None
        specs = {number: {"gamma": number} for number in range(9)}
        return chosen(specs, [4, 2, 0, 5, 1], asked.top), dump(fresh_spec(spec, asked))["meta"]

    assert set(ValidateSpec.model_fields) == {"top", "sessions", "seed"}
    assert tested(**{field: value}) != tested()


def test_max_member_is_how_many_sessions_share_a_program() -> None:
    sizes = [settings_a_program(searching(**meta), 10, 1, False) for meta in ({}, {"max_member": 4}, {"max_member": 7})]
    assert sizes == [10, 2, 3]


NODE = {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}
LOST = {"Alive": False, "Resources": {"CPU": 64.0}}


@pytest.mark.parametrize(
    ("resources", "programs"),
    [({}, 8), ({"cpu": 2.5}, 2), ({"gpu": 0.5}, 4), ({"gpu": 1}, 2), ({"cpu": 0.1, "gpu": 0.1}, 20)],
)
def test_resources_are_how_many_programs_run_at_once_on_all_nodes(
    resources: Keys, programs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(ResourceSpec.model_fields) == {"cpu", "gpu"}
    monkeypatch.setattr(on_tune.ray, "nodes", lambda: [NODE, LOST, NODE])
    assert on_tune.workers(searching(resources=resources).meta.resources) == programs


def test_resources_that_no_node_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"Alive": True, "Resources": own} for own in ({"CPU": 8.0}, {"CPU": 1.0, "GPU": 1.0})]
    monkeypatch.setattr(on_tune.ray, "nodes", lambda: nodes)
    with pytest.raises(SpecError, match=r"meta.resources.gpu: 2 for each program, but there is 1 here"):
        on_tune.workers(searching(resources={"gpu": 2}).meta.resources)
    with pytest.raises(SpecError, match=r"meta.resources: no node has as many cores and GPUs together"):
        on_tune.workers(searching(resources={"cpu": 2, "gpu": 1}).meta.resources)


def test_ray_address_is_the_cluster_of_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(address: str) -> None:
        asked.append(address)
        raise SlmxError("nobody is there")

    monkeypatch.setattr(cluster, "ask", ask)
    with pytest.raises(SlmxError, match="nobody"), start.ray_for(searching(ray_address="head.example:6379")):
        pass
    assert asked == ["head.example:6379"]
    for wrong in ("auto", "head.example", "ray://head.example:10001", ""):
        with pytest.raises(SlmxError, match=r"ray_address: .*must be HOST:PORT"):
            searching(ray_address=wrong)


def test_storage_is_where_results_go_unless_data_is_given(tmp_path: Path) -> None:
    one, other = searching(storage=str(tmp_path)), searching()
    assert folder_of(None, [one]) == tmp_path and folder_of(Path("given"), [one]) == Path("given")
    assert folder_of(None, [other]) == Path("data") and folder_of(None, [searching(storage="~/x")]) == Path.home() / "x"
    with pytest.raises(SlmxError, match=rf"meta.storage: one of {tmp_path}, data must hold all"):
        folder_of(None, [one, other])
    assert folder_of(None, [searching(storage="s3://bucket/results")]) == Path("data")
    with pytest.raises(SlmxError, match=r"storage: .*must be a folder, or a URI"):
        searching(storage="")
    with pytest.raises(SlmxError, match=r'storage: .*"s4" is no kind of URI that is known here; did you mean "s3"'):
        searching(storage="s4://bucket/results")


def test_names_are_those_of_the_directory_and_of_the_ports(tmp_path: Path) -> None:
    assert set(Spec.model_fields) == {"name", "agent", "env", "body", "meta", "search"}
    assert set(AgentSpec.model_fields) == {"name", "algorithm", "memory", "net"}
    agents = [agent_of("Random") | {"name": name} for name in ("one", "other")]
    spec = build("called", {"agent": agents, "env": ENV, "meta": {"max_session": 1, "eval_episode": 1}})
    run = lab.train(spec, tmp_path, quiet=True, graphs=False)
    assert run.directory.name.startswith("called_")
    trial = TrialFiles(run.directory / "trial_0")
    assert [trial.label(agent, 0) for agent in (0, 1)] == ["one, CartPole-v1", "other, CartPole-v1"]


# ---- every key is documented ----

# the groups of keys: as `slmx list` calls them, where they stand in the schema, and their fields
GROUPS: dict[str, tuple[str, type[BaseModel]]] = {
    name: (f"{table}.{name}", registry.find(name).Hyper)
    for table, registry in REGISTRIES.items()
    for name in registry.known
} | {
    "agent": ("agent", AgentSpec),
    "env": ("env", EnvSpec),
    "atari": ("AtariSpec", AtariSpec),
    "wrapper": ("WrapperSpec", WrapperSpec),
    "body": ("body", BodySpec),
    "meta": ("meta", MetaSpec),
    "objective": ("ObjectiveSpec", ObjectiveSpec),
    "validate": ("ValidateSpec", ValidateSpec),
    "resources": ("ResourceSpec", ResourceSpec),
    "video": ("VideoSpec", VideoSpec),
    "stage": ("StageSpec", StageSpec),
    "schedule": ("Schedule", Schedule),
}


@pytest.fixture(scope="module")
def schema() -> Keys:
    return json.loads(CliRunner().invoke(app, ["check", "--schema"]).stdout)


@pytest.mark.parametrize("name", GROUPS)
def test_every_key_is_described_listed_and_in_the_schema(name: str, schema: Keys) -> None:
    place, model = GROUPS[name]
    registry = REGISTRIES.get(place.partition(".")[0]) if "." in place else None
    listed = CliRunner().invoke(app, ["list", name]).stdout.splitlines()
    overview = CliRunner().invoke(app, ["list"]).stdout
    assert f"{name}: " in overview
    properties = schema["$defs"][place]["properties"]
    keys = spec_keys(model, registry)
    assert set(properties) == set(keys)
    for key, field in keys.items():
        description = model.model_fields[field].description or ""
        assert description.strip(), key
        assert "\n" not in description
        if registry is None or key != registry.selector:
            assert f"  {key}: {description}" in listed
            assert properties[key]["description"] == description
            assert key in overview


def test_groups_of_a_spec_are_described_listed_and_in_the_schema(schema: Keys) -> None:
    overview = CliRunner().invoke(app, ["list"]).stdout.splitlines()
    for key in set(Spec.model_fields) - {"name"}:
        assert (Spec.model_fields[key].description or "").strip()
        assert any(line.startswith(f"{key}: ") or line == key for line in overview), key
        assert key in schema["$defs"]["spec"]["properties"]

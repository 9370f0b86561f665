"""Sessions and the one loop in which agents meet environments.

A Session is a value: one seed of one trial. A Program trains any list of sessions that build the same networks,
memories and environments; a session's position in the list is its position on the member axis, and it learns there what
it would learn alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from slmx.algorithm.base import Algorithm, Setting
from slmx.env import describe, make
from slmx.env.action import converter
from slmx.env.base import Env, Spaces, Step
from slmx.env.normalize import Normalizer
from slmx.errors import SpecError
from slmx.evaluation import evaluate
from slmx.heap import keep_freed
from slmx.lazy import torch
from slmx.member.hyper import Hyper, NamedHyper
from slmx.member.optim import Optimizer
from slmx.member.schedule import Schedule
from slmx.member.streams import Streams, integer_seeds, seed_sequence, tensor_of
from slmx.net.port import Port
from slmx.space import resolve
from slmx.spec.dump import in_force, static
from slmx.spec.registry import REGISTRIES
from slmx.watch import Silence, Tracker, View, Watcher

if TYPE_CHECKING:
    from slmx.spec.model import AgentSpec, Spec

STATE = ("tick", "failures", "sessions", "spec", "agents", "gone")  # what of a program is saved


@dataclass(frozen=True)
class Session:
    """One seed of one trial: the spec with all its numbers, the trial's and the session's number."""

    spec: Spec
    trial: int = 0
    index: int = 0

    def seeds(self, *purpose: str | int) -> np.random.SeedSequence:
        """The seed of one purpose."""
        meta = self.spec.meta
        return seed_sequence(meta.seed, 0 if meta.common_seeds else self.trial, self.index, *purpose)


class Program:
    """M sessions trained together, from epoch to epoch.

    An epoch ends at every multiple of meta.checkpoint_frequency, where one of meta.stages begins, and at `pauses`
    (frames of the first environment): the running episodes are cut off there, and new environments begin, with seeds of
    their own. So what follows depends on nothing but what `state` holds, and a training that was left there goes on as
    if it had not been.

    Raises SpecError where an environment or the layout of bodies does not fit.
    """

    def __init__(self, sessions: Sequence[Session], watcher: Watcher | None = None, pauses: Sequence[int] = ()):
        self.sessions, self.spec = list(sessions), sessions[0].spec
        self.began = [(session.trial, session.index) for session in sessions]
        self.watcher: Watcher = watcher or Silence()
        meta = self.spec.meta
        torch.set_num_threads(meta.threads)
        keep_freed()
        self.dtype = getattr(torch, meta.dtype)
        self.device = resolve_device(meta.device)
        self.spaces = [describe(env) for env in self.spec.env]
        self.space = resolve(self.spec.body, len(self.spec.agent), len(self.spec.env))
        self.layout = self.space.layout([spaces.slots for spaces in self.spaces])
        self.ticks = [
            math.ceil(env.max_frame / rows) for env, rows in zip(self.spec.env, self.layout.rows, strict=True)
        ]
        rows = max(1, self.layout.rows[0])
        self._row_every = max(1, (meta.log_frequency or self.total_frames[0] // 100) // rows)
        self._evaluate_every = max(1, meta.eval_frequency // rows) if meta.eval_frequency else max(self.ticks)
        self._save_every = max(1, meta.save // rows) if isinstance(meta.save, int) else None
        self._film_every = max(1, meta.video.frequency // rows) if meta.video and meta.video.frequency else None
        self._view_every = max(1, meta.save_state_img // rows) if meta.save_state_img else None
        self._epoch_every = max(1, meta.checkpoint_frequency // rows) if meta.checkpoint_frequency else max(self.ticks)
        self._pauses = sorted({math.ceil(frames / rows) for frames in pauses})
        self._examined = self.tick = self.gone = 0
        self.agents = [self._agent(a) for a in range(len(self.spec.agent))]
        self.acts = [[converter(self.spaces[p.env].action_space) for p in own] for own in self.layout.places]
        self.failures: dict[int, str] = {}

    @property
    def members(self) -> int:
        return len(self.sessions)

    @property
    def frames(self) -> list[int]:
        """Frames so far of one member in each environment."""
        return [min(self.tick, ticks) * rows for ticks, rows in zip(self.ticks, self.layout.rows, strict=True)]

    @property
    def spent(self) -> int:
        """Frames so far of all members together, those that have left too."""
        return self.gone + sum(self.frames) * self.members

    @property
    def pause(self) -> int | None:
        """Which of its pauses the program is at, counted from 0; None if it is at none."""
        return self._pauses.index(self.tick) if self.tick in self._pauses else None

    @property
    def total_frames(self) -> list[int]:
        """Frames at the end of one member in each environment."""
        return [ticks * rows for ticks, rows in zip(self.ticks, self.layout.rows, strict=True)]

    def run(self, report: Callable[[Program], None] | None = None, check: bool = False) -> None:
        """Train to the end. `report` is called after each table row; `check`: look at every update for bad numbers."""
        for epoch_ends in self.rows(check):
            if report and not epoch_ends:
                report(self)

    def rows(self, check: bool = False) -> Iterator[bool]:
        """Train from table row to table row: a training that can be left and gone on with.

        Yields False after each row. Yields True between two epochs: no environment is open then, and the program may be
        saved.
        """
        while True:
            if self.tick in self._stages():
                self.retune(self.sessions)
            envs = self._envs()
            try:
                yield from self._epoch(envs, check)
            finally:
                for env in envs:
                    env.close()
            if self.tick == max(self.ticks) or len(self.failures) == self.members:
                return
            yield True

    def _epoch(self, envs: list[Env], check: bool) -> Iterator[bool]:
        """Train in new environments until the epoch ends; yields after each table row."""
        trackers = [Tracker(e, self.layout, self.members) for e in range(len(envs))]
        obs = self._first_obs(envs)
        last, end = max(self.ticks), self._epoch_end()
        while self.tick < end:
            self.tick += 1
            live = [self.tick <= ticks for ticks in self.ticks]
            if self._view_every is not None and self.tick % self._view_every == 0:
                self.watcher.views(self.clock, self._views(obs))
            actions = [agent.act(own) for agent, own in zip(self.agents, obs, strict=True)]
            by_env = self.layout.scatter(self.to_envs(actions))
            steps = [env.step(action) if alive else None for env, action, alive in zip(envs, by_env, live, strict=True)]
            ended = [
                episode
                for tracker, step in zip(trackers, steps, strict=True)
                if step is not None
                for episode in tracker.add(step, self.tick)
            ]
            if ended:
                self.watcher.episodes(ended)
            if self.tick == end < last:
                steps = [None if step is None else step.cut() for step in steps]
            obs = self._learn(obs, actions, steps)
            row = self.tick % self._row_every == 0 or self.tick == last
            if check or row or self.tick == end:
                self._look_for_failures()
            if row:
                alive = [m not in self.failures for m in range(self.members)]
                self.watcher.row(self.frames, alive, [agent.drain() for agent in self.agents])
                yield False
                if not any(alive):
                    return
            if self.tick % self._evaluate_every == 0 or self._saves or self.tick == last:
                self.examine()
            if self._films:
                self.watcher.film(self.clock, self.model)

    def _epoch_end(self) -> int:
        """The tick at which the epoch ends that begins now."""
        following = [(self.tick // self._epoch_every + 1) * self._epoch_every, max(self.ticks)]
        return min([*following, *(tick for tick in (*self._pauses, *self._stages()) if tick > self.tick)])

    def _stages(self) -> set[int]:
        """The ticks at which other values begin for some session."""
        stages = [stage for session in self.sessions for stage in session.spec.meta.stages]
        return {math.ceil(stage.frame / max(1, self.layout.rows[0])) for stage in stages}

    def state(self) -> dict[str, Any]:
        """All that the rest of the training depends on, between two epochs; `torch.save` can write it."""
        return {name: getattr(self, name) for name in STATE}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave, with the sessions that were left then."""
        for name in STATE:
            setattr(self, name, state[name])

    def examine(self) -> None:
        """Play the episodes of an evaluation and tell them and the models, unless that was just done."""
        if self._examined < self.tick:
            self._examined = self.tick
            self.watcher.evaluations(evaluate(self, self.spec.meta.eval_episode))
            self.watcher.models(self.clock, self.model, self._saves or self.spec.meta.save == "all")

    @property
    def clock(self) -> int:
        """Frames so far of one member in the first environment, counted on where that is over before another."""
        return self.tick * max(1, self.layout.rows[0])

    @property
    def _saves(self) -> bool:
        """Whether meta.save asks for the models of this tick."""
        return self._save_every is not None and self.tick % self._save_every == 0

    @property
    def _films(self) -> bool:
        """Whether meta.video asks for films of the models of this tick, whatever their evaluation."""
        video = self.spec.meta.video
        if video is not None and video.end and self.tick == max(self.ticks):
            return True
        return self._film_every is not None and self.tick % self._film_every == 0

    def _views(self, obs: list[list[torch.Tensor | None]]) -> list[View]:
        """What every member's agents see of images, of their first bodies."""
        return [
            View(m, a, place.env, image.cpu().numpy().copy())
            for a, own in enumerate(obs)
            for place, x in zip(self.layout.places[a], own, strict=True)
            if x is not None and x.dtype == torch.uint8
            for m, image in enumerate(x[:, 0])
        ]

    def model(self, member: int) -> dict[str, torch.Tensor]:
        """What one session has learned: parameters and normaliser statistics, by name, without the member axis."""
        tensors = {
            f"agent.{a}.{name}.{key}": value[member].contiguous()
            for a, agent in enumerate(self.agents)
            for name, network in agent.networks().items()
            for key, value in network.state_dict().items()
        }
        for a, agent in enumerate(self.agents):
            for p, normalizer in enumerate(agent.normalizers):
                for key, value in normalizer.state().items():
                    tensors[f"agent.{a}.normalizer.{p}.{key}"] = value[member].contiguous()
        return tensors

    def load(self, models: Sequence[dict[str, torch.Tensor]]) -> None:
        """Take over what `model` gave, one for each member. ValueError where names or shapes do not fit."""
        expected = self.model(0)
        for model in models:
            if {k: v.shape for k, v in model.items()} != {k: v.shape for k, v in expected.items()}:
                raise ValueError("the model's tensors do not fit the networks that its spec describes")
        stacked = {key: torch.stack([model[key] for model in models]) for key in expected}
        for a, agent in enumerate(self.agents):
            for name, network in agent.networks().items():
                state = network.state_dict()
                for key in state:
                    state[key].copy_(stacked[f"agent.{a}.{name}.{key}"])
            for p, normalizer in enumerate(agent.normalizers):
                prefix = f"agent.{a}.normalizer.{p}."
                normalizer.load({k.removeprefix(prefix): v for k, v in stacked.items() if k.startswith(prefix)})

    def stand_at(self, clock: int | None) -> None:
        """Be where a training was when `clock` said this, or at its end, with the numbers that its agents had there."""
        tick = max(self.ticks) if clock is None else clock // max(1, self.layout.rows[0])
        self.tick = max(0, tick - 1)  # a stage that begins at a tick does so after the evaluation there
        self.retune(self.sessions)
        self.tick = tick
        for agent, own in zip(self.agents, self.layout.places, strict=True):
            agent.frame = sum(len(place.rows) * min(tick, self.ticks[place.env]) for place in own)
            agent.schedule()

    def keep(self, index: Sequence[int]) -> None:
        """Only the members `index` go on, in that order, and learn what they would have learned in any company.

        As `clone` and `retune`, between two epochs alone. IndexError, ValueError: these are no members.
        """
        index = list(index)
        if not index or len(set(index)) < len(index):
            raise ValueError(f"need some members, each once, not {index}")
        self.failures = {new: self.failures[old] for new, old in enumerate(index) if old in self.failures}
        self.gone += sum(self.frames) * (self.members - len(index))
        for agent in self.agents:
            agent.keep(index)
        self.retune([self.sessions[i] for i in index])

    def clone(self, source: Sequence[int]) -> None:
        """Member i becomes a copy of member `source[i]` in all that is learned; a failed one is then as sound as that.

        Its session, its hyperparameters and its random streams stay its own.
        """
        source = list(source)
        if len(source) != self.members:
            raise ValueError(f"need a source for each of {self.members} members, not {source}")
        self.failures = {new: self.failures[old] for new, old in enumerate(source) if old in self.failures}
        for agent in self.agents:
            agent.clone(source)

    def retune(self, sessions: Sequence[Session]) -> None:
        """Member i goes on as `sessions[i]`, whose spec may have other numbers where members may differ.

        Of a spec with stages those count that have begun. ValueError where a spec would make another program.
        """
        if len(sessions) != self.agents[0].members:
            raise ValueError(f"need a session for each of {self.agents[0].members} members, not {len(sessions)}")
        distinct = {id(spec): spec for spec in (*self._now(self.sessions[:1]), *self._now(sessions))}
        if len({static(spec) for spec in distinct.values()}) > 1:
            raise ValueError("a session that needs another program cannot go on in this one")
        self.sessions = list(sessions)
        for a, agent in enumerate(self.agents):
            agent.setting = replace(agent.setting, streams=self._streams(a))
            agent.retune(*self._hypers(a))

    def _now(self, sessions: Sequence[Session]) -> list[Spec]:
        """Their specs as they stand at this frame; sessions of one trial share one."""
        found: dict[int, Spec] = {}
        for session in sessions:
            if id(session.spec) not in found:
                found[id(session.spec)] = in_force(session.spec, self.frames[0])
        return [found[id(session.spec)] for session in sessions]

    def _hypers(self, a: int) -> list[list[Any]]:
        """An agent's hyperparameters of all members: of the algorithm, the memory and the network."""
        total = sum(len(place.rows) * self.ticks[place.env] for place in self.layout.places[a])
        specs = [spec.agent[a] for spec in self._now(self.sessions)]
        return [[_closed(getattr(spec, kind), total) for spec in specs] for kind in ("algorithm", "memory", "net")]

    def _agent(self, a: int) -> Algorithm:
        spec, places = self.spec.agent[a], self.layout.places[a]
        ports = [_port(self.spaces[place.env], len(place.rows)) for place in places]
        kinds = [_component(spec, kind) for kind in ("algorithm", "memory", "net")]
        hypers = self._hypers(a)
        optim = getattr(spec.net, "optim_spec", None)
        return kinds[0](
            Setting(
                ports, [self._normalizer(place.env) for place in places],
                hypers[0], kinds[1], hypers[1], kinds[2], hypers[2],
                REGISTRIES["optim_spec"].find(optim.name) if optim is not None else Optimizer,
                self._streams(a), self.dtype, self.device, self.spec.meta.amp,
            )
        )  # fmt: skip

    def _streams(self, a: int) -> _StreamsOf:
        return _StreamsOf(tuple(self.sessions), a, self.dtype, self.device)

    def _normalizer(self, e: int) -> Normalizer:
        return Normalizer(self.spec.env[e], self.members, self.spaces[e].obs_space.shape, self.dtype, self.device)

    def _envs(self) -> list[Env]:
        epoch = (self.tick,) if self.tick else ()
        return [
            make(
                env,
                np.array([integer_seeds(session.seeds("env", e, *epoch), copies) for session in self.sessions]),
                threads=self.spec.meta.threads,
            )
            for e, (env, copies) in enumerate(zip(self.spec.env, self.layout.copies, strict=True))
        ]

    def _first_obs(self, envs: list[Env]) -> list[list[torch.Tensor | None]]:
        live = [self.tick < ticks for ticks in self.ticks]
        values = [self.tensor(env.reset()) if alive else None for env, alive in zip(envs, live, strict=True)]
        by_agent = self.layout.gather(values)
        for agent, own in zip(self.agents, by_agent, strict=True):
            agent.begin(own)
        return by_agent

    def to_envs(self, actions: list[list[torch.Tensor | None]]) -> list[list[np.ndarray | None]]:
        return [
            [None if x is None else convert(x) for convert, x in zip(converts, own, strict=True)]
            for converts, own in zip(self.acts, actions, strict=True)
        ]

    def _learn(
        self, obs: list[list[Any]], actions: list[list[Any]], steps: list[Step | None]
    ) -> list[list[torch.Tensor | None]]:
        """Every agent takes in its steps; returns what to act on next."""
        converted = [None if step is None else step.map(self.tensor) for step in steps]
        following = []
        for a, agent in enumerate(self.agents):
            own: list[Step | None] = []
            for place in self.layout.places[a]:
                step = converted[place.env]
                if step is not None and not self.layout.alone(a, place.env):
                    step = step.map(lambda x, a=a, p=place.env: self.layout.take(a, p, x))
                own.append(step)
            agent.update(obs[a], actions[a], own)
            following.append([None if step is None else step.obs for step in own])
        return following

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        return tensor_of(array, self.dtype, self.device)

    def _look_for_failures(self) -> None:
        for a, agent in enumerate(self.agents):
            for member in (~agent.finite).nonzero().flatten().tolist():
                if member not in self.failures:
                    self.failures[member] = f"agent {a}: the loss or its gradient is not a finite number"
                    self.watcher.failed(member, self.frames[0], self.failures[member])


@dataclass(frozen=True)
class _StreamsOf:
    """The random streams of one agent's members for each purpose."""

    sessions: tuple[Session, ...]
    agent: int
    dtype: torch.dtype
    device: str

    def __call__(self, purpose: str) -> Streams:
        seeds = [session.seeds("agent", self.agent, purpose) for session in self.sessions]
        return Streams(seeds, self.dtype, self.device)


def resolve_device(device: str) -> str:
    """ "auto" is CUDA where there is one; SpecError where "cuda" is asked for and there is none."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise SpecError("meta.device", "torch finds no CUDA device here", 'use "cpu" or "auto"')
    return device


def _component(agent: AgentSpec, kind: str) -> Any:
    """The class that a spec names as the agent's algorithm, memory or net; None where it names none."""
    hyper = getattr(agent, kind)
    if hyper is None:
        return None
    registry = REGISTRIES[kind]
    return registry.find(getattr(hyper, registry.selector))


def _closed(hyper: Any, end: int) -> Any:
    """The hyperparameters with every open end_step of a schedule set to the end of the training."""
    if not isinstance(hyper, Hyper):
        return NamedHyper(name="") if hyper is None else hyper
    changes: dict[str, Any] = {}
    for name in type(hyper).model_fields:
        value = getattr(hyper, name)
        if isinstance(value, Schedule) and value.end_step is None:
            changes[name] = value.model_copy(update={"end_step": max(end, value.start_step + 1)})
        elif isinstance(value, Hyper):
            changes[name] = _closed(value, end)
    return hyper.model_copy(update=changes)


def _port(spaces: Spaces, bodies: int) -> Port:
    discrete = spaces.kind != "continuous"
    return Port(tuple(spaces.obs_space.shape), spaces.action_size, discrete, bodies, spaces.choices)

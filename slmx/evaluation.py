"""Greedy episodes of what a program has learned so far, in environments of their own; nothing is learned from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from slmx.env import make
from slmx.member.streams import integer_seeds
from slmx.watch import Episode, Evaluation, Tracker

if TYPE_CHECKING:
    from torch import Tensor

    from slmx.env.base import Env, Step
    from slmx.session import Program, Session
    from slmx.space import Layout

    Seeds = Callable[[Session, int, int], Sequence[int]]
    See = Callable[[np.ndarray, int], None]

LONGEST_EPISODE = 108_000  # steps after which an evaluation gives up on an episode without end (30 minutes at 60 Hz)


def evaluation_seeds(session: Session, env: int, copies: int) -> list[int]:
    """The seeds of the sub-environments of a session's own evaluations."""
    return integer_seeds(session.seeds("evaluation", env), copies)


def evaluate(
    program: Program, episodes: int, seeds: Seeds = evaluation_seeds, see: See | None = None
) -> list[Evaluation]:
    """`episodes` greedy episodes per member and port, each from an own seed; nothing is learned.

    One episode of every sub-environment counts, its first, so that short episodes are not favoured.
    `seeds(session, env, copies)`: the sub-environments' seeds, by default those of the session's evaluation.
    `see`: is shown a picture `[H, W, 3]` of the first sub-environment before every step, and the environment's number.
    """
    space, slots = program.space, [spaces.slots for spaces in program.spaces]
    share = {e: space.share(e, n) if n > 1 else 1 for e, n in enumerate(slots)}
    layout = space.with_counts(lambda a, e: episodes * share[e]).layout(slots)
    drawn = [
        np.array([seeds(session, e, copies) for session in program.sessions], np.int64)
        for e, copies in enumerate(layout.copies)
    ]
    envs = [
        make(env, seed, "rgb_array" if see else None, threads=program.spec.meta.threads)
        for env, seed in zip(program.spec.env, drawn, strict=True)
    ]
    try:
        return [own for e, env in enumerate(envs) for own in _Play(program, layout, e, env, see).episodes(drawn[e])]
    finally:
        for env in envs:
            env.close()


class _Play:
    """All members' agents in the copies of one environment, until each copy has ended an episode."""

    def __init__(self, program: Program, layout: Layout, e: int, env: Env, see: See | None):
        self.program, self.layout, self.e, self.env, self.see = program, layout, e, env, see

    def episodes(self, seeds: np.ndarray) -> list[Evaluation]:
        """The first episode of each copy; `seeds` `[M, copies]` are theirs."""
        program, e = self.program, self.e
        slots, frame = program.spaces[e].slots, program.frames[e]
        return [
            Evaluation(m, frame, ep.agent, e, int(seeds[m, row // slots]), ep.total, ep.length)
            for (m, row), ep in sorted(self._first().items(), key=lambda item: (item[1].agent, item[0]))
        ]

    def _first(self) -> dict[tuple[int, int], Episode]:
        """The first episode of each member's row in the environment."""
        program, env = self.program, self.env
        tracker = Tracker(self.e, self.layout, program.members)
        first: dict[tuple[int, int], Episode] = {}
        for agent in program.agents:
            agent.begin_evaluation()
        emitted = env.reset()
        for tick in range(1, LONGEST_EPISODE + 1):
            if self.see:
                self.see(env.render(), self.e)
            values = [program.tensor(emitted) if i == self.e else None for i in range(len(program.spaces))]
            obs = self.layout.gather(values)
            actions = [agent.act(own, greedy=True) for agent, own in zip(program.agents, obs, strict=True)]
            step = env.step(self.layout.scatter(program.to_envs(actions))[self.e])
            emitted = step.obs
            self._recall(actions, step)
            for row, episode in tracker.add_rows(step, tick):
                first.setdefault((episode.member, row), episode)
            if len(first) == program.members * env.rows:
                return first
        # an episode without end counts with what it has come to: left out, it would flatter the others' mean
        for row, episode in tracker.unfinished(LONGEST_EPISODE):
            first.setdefault((episode.member, row), episode)
        return first

    def _recall(self, actions: list[list[Tensor | None]], step: Step) -> None:
        """Tell recurrent agents of a step."""
        program = self.program
        for a, agent in enumerate(program.agents):
            for port, place in enumerate(program.layout.places[a]):
                action = actions[a][port]
                if agent.greedy_carry is not None and action is not None:
                    reward, done = (program.tensor(self.layout.take(a, place.env, x)) for x in (step.reward, step.done))
                    agent.recall(port, action, reward, done)

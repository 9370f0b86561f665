"""A population inside a program: in mid-training the worst become copies of the best, with other values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from slmx.errors import SlmxError, SpecError, counted
from slmx.member.hyper import Int, NamedHyper
from slmx.member.streams import seed_sequence
from slmx.plain import value_at
from slmx.run_directory import LINEAGE, rewrite_spec
from slmx.search.base import Setting
from slmx.search.scheduler import Scheduler, Scores, scores
from slmx.search.size import room
from slmx.spec.dump import dump, in_force, static, with_settings
from slmx.spec.model import StageSpec
from slmx.spec.registry import REGISTRIES
from slmx.spec.search_space import Domain, SearchSpace

if TYPE_CHECKING:
    from slmx.record import Records
    from slmx.session import Program
    from slmx.spec.model import Spec

ROUNDS = 20  # in a training, where their interval is not given


@dataclass(frozen=True)
class Round:
    """What is known when copies are about to go on: all by trial, settings as they stand before anybody copies."""

    number: int
    scores: Scores
    sources: Mapping[int, int]
    settings: Mapping[int, Setting]
    directories: Mapping[int, Path]


class Population(Scheduler):
    """The worst settings become copies of the best, in all that was learned, and go on with values of their own.

    Session s of a setting copies session s of another; all settings are judged over their seeds. The spec's own setting
    may be copied, but is never changed: it is what all others are compared with at the end.
    """

    whole: ClassVar[bool] = True

    class Hyper(NamedHyper):
        """Keys of all populations."""

        interval: Int | None = Field(
            None, ge=1, description="frames between two rounds of copying; null: a twentieth of the training"
        )
        quantile: float = Field(
            0.2, gt=0, le=0.5, description="share of the settings that is replaced in a round, and that they copy from"
        )

    def values(self, now: Round) -> dict[int, Setting]:
        """With what values each trial goes on that becomes a copy of another."""
        raise NotImplementedError

    @classmethod
    def misfits(cls, hp: Any, spec: Spec, space: SearchSpace) -> list[SpecError]:
        meta, name, searcher = spec.meta, hp.name, REGISTRIES["search_spec"].find(spec.meta.search_spec.name)
        errors = [
            SpecError(domain.written, f"{name} changes values in mid-training, but {domain.path} makes another program")
            for domain in space.domains
            if _is_static(spec, domain)
        ]
        if searcher.learns:
            wrong = f"{meta.search_spec.name} learns from trials that ended, but {name} trains all of them at once"
            errors.append(SpecError("meta.search_spec.name", wrong, "use random or grid"))
        if hp.interval and hp.interval >= spec.env[0].max_frame:
            wrong = f"{hp.interval} is not less than the {spec.env[0].max_frame} frames of the training"
            errors.append(SpecError("meta.scheduler_spec.interval", wrong))
        if not errors:
            errors += _crowded(spec, 1 + searcher.count(space, meta.max_trial), name)
        return errors

    @property
    def sign(self) -> int:
        """What turns the objective into something to be increased."""
        return 1 if self.spec.meta.objective.mode == "max" else -1

    def pauses(self) -> list[int]:
        last = self.spec.env[0].max_frame
        interval = self.hp.interval or math.ceil(last / ROUNDS)
        return list(range(interval, last, interval))

    def begin(self, program: Program, records: Records) -> None:
        for recorder in records.recorders:
            spec = next(session.spec for session in program.sessions if session.trial == recorder.trial)
            rewrite_spec(recorder.directory, dump(spec))  # an earlier attempt may have gone further

    def meet(self, program: Program, records: Records) -> bool:
        from slmx.analysis.objective import cell

        if program.pause is None:
            return True
        reached, frame = scores(program, records), program.frames[0]
        before = {session.trial: session.spec for session in program.sessions}
        sources = self.sources(reached, program.pause)
        settings = {trial: self._setting(spec, frame) for trial, spec in before.items()}
        directories = {recorder.trial: recorder.directory for recorder in records.recorders}
        now = Round(program.pause, reached, sources, settings, directories)
        new = self.values(now) if sources else {}
        after = before | {trial: self._child(before[sources[trial]], frame, values) for trial, values in new.items()}
        self._copy(program, records, sources, after)
        for recorder in records.recorders:
            trial = recorder.trial
            values = {"round": program.pause, "frame": frame, "objective": reached[trial]}
            values |= {"source": sources.get(trial, ""), **self._setting(after[trial], frame)}
            recorder.note(LINEAGE, {key: cell(value) for key, value in values.items()})
            if trial in sources:
                rewrite_spec(recorder.directory, dump(after[trial]))
        return True

    def sources(self, scores: Scores, number: int) -> dict[int, int]:
        """Which trial each of the worst is to copy in the round of this number: one of the best, better than itself.

        What has no score is worst of all, and nobody's source.
        """
        goodness = {trial: self.sign * score if math.isfinite(score) else -math.inf for trial, score in scores.items()}
        order = sorted(goodness, key=lambda trial: (-goodness[trial], trial))
        count = min(max(1, int(len(order) * self.hp.quantile)), len(order) // 2)
        best, worst = order[:count], [trial for trial in order if trial][-count:] if count else []
        found = {}
        for trial in worst:
            drawn = best[int(self._rng(trial, number, "source").integers(count))]
            if goodness[drawn] > goodness[trial]:
                found[trial] = drawn
        return found

    def _copy(self, program: Program, records: Records, sources: Mapping[int, int], after: Mapping[int, Spec]) -> None:
        """Let the sessions of trials become those of their sources, and go on with their new specs."""
        source, sessions = list(range(program.members)), list(program.sessions)
        places: dict[int, list[int]] = {}
        for member, session in enumerate(sessions):
            places.setdefault(session.trial, []).append(member)
        for trial, other in sources.items():
            # the seed of a source that has failed is no use to anybody: another one is copied twice
            sound = [member for member in places[other] if member not in program.failures]
            for i, member in enumerate(places[trial]):
                source[member] = places[other][i] if places[other][i] in sound else sound[i % len(sound)]
                sessions[member] = replace(sessions[member], spec=after[trial])
                records.revive(member)
        if sources:
            program.clone(source)
            program.retune(sessions)

    def _child(self, parent: Spec, frame: int, values: Setting) -> Spec:
        """A spec with its parent's past, and other values from this frame on where they fit one another."""
        stages = [*parent.meta.stages, StageSpec(frame=frame, settings=values)]
        child = parent.model_copy(update={"meta": parent.meta.model_copy(update={"stages": stages})})
        try:
            fits = static(in_force(child, frame)) == static(in_force(parent, frame))
        except SlmxError:
            fits = False
        return child if fits else parent

    def _setting(self, spec: Spec, frame: int) -> Setting:
        """The searched values of a spec as they stand at a frame."""
        now = dump(in_force(spec, frame))
        return {domain.path: value_at(now, domain.path) for domain in self.domains}

    def _rng(self, trial: int, number: int, purpose: str) -> np.random.Generator:
        return np.random.default_rng(seed_sequence(self.spec.meta.seed, trial, 0, self.hp.name, number, purpose))


def _is_static(spec: Spec, domain: Domain) -> bool:
    """Whether not all values of a domain can train in one program; what does not fit at all is reported elsewhere."""
    programs = set()
    for value in domain.samples():
        try:
            programs.add(static(with_settings(spec, {domain.path: value})))
        except SlmxError:
            continue
    return len(programs) > 1


def _crowded(spec: Spec, settings: int, name: str) -> list[SpecError]:
    """Whether a population is larger than a program may be."""
    meta = spec.meta
    trained = f"{counted(settings, 'setting')} x {counted(meta.max_session, 'session')}"
    population = f"{trained} are one program in {name}"
    if meta.max_member != "auto":
        most, hint = meta.max_member, "set it higher, or meta.max_trial lower"
    else:
        most, hint = room(spec), "set a number where there is memory enough, or meta.max_trial lower"
    if settings * meta.max_session <= most:
        return []
    return [SpecError("meta.max_member", f"{population}, but it may have {counted(most, 'session')}", hint)]

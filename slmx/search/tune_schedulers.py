"""Ray Tune's own schedulers: they hear what settings have reached at pauses, and say which are stopped.

A setting is then a program of its own and a trial of Tune's. Here is what a worker does at a pause, and which keys
there are; what runs beside Tune is in tune_judges.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from slmx.errors import SpecError
from slmx.member.hyper import Int, NamedHyper
from slmx.run_directory import RUNGS
from slmx.search.halving import Halving, rung_frames
from slmx.search.scheduler import Scheduler, scores
from slmx.spec.registry import REGISTRIES
from slmx.spec.search_space import SearchSpace

if TYPE_CHECKING:
    from slmx.record import Records
    from slmx.search.tune_judges import Judge
    from slmx.session import Program
    from slmx.spec.model import Spec

ROUNDS = 20  # in a training, where their interval is not given


class TuneScheduler(Scheduler):
    """At a pause the objective is evaluated, noted and reported; then the training waits for what Tune says of it.

    A setting whose objective is no number there is not judged there, and nothing is compared with it.
    """

    alone: ClassVar[bool] = True

    @classmethod
    def misfits(cls, hp: Any, spec: Spec, space: SearchSpace) -> list[SpecError]:
        meta = spec.meta
        if meta.max_member != "auto" and meta.max_member > meta.max_session:
            wrong = f"{meta.max_member}, but with {hp.name} a program is the {meta.max_session} of one setting"
            return [SpecError("meta.max_member", wrong, "leave it out, or use halving")]
        return []

    def meet(self, program: Program, records: Records) -> bool:
        self.told = {}
        if program.pause is not None:
            (reached,) = scores(program, records).values()
            for recorder in records.recorders:
                values = {"rung": program.pause, "frame": program.frames[0], "objective": reached}
                recorder.note(RUNGS, values)
            if math.isfinite(reached):
                records.rest(program)
                self.told = {"objective": reached, "point": self.point(program)}
        return True

    def point(self, program: Program) -> float:
        """How far a program is, in the units of its judge."""
        raise NotImplementedError

    def judge(self, rest: Callable[[str], None]) -> Judge:
        """What runs beside Tune. `rest` is told of a trial of Tune's that is paused."""
        raise NotImplementedError


class Rungs(TuneScheduler):
    """One of those that judge at rungs, which are those of halving; its judge counts in the training's first one."""

    def pauses(self) -> list[int]:
        return rung_frames(self.spec.env[0].max_frame, self.hp)

    def point(self, program: Program) -> float:
        assert program.pause is not None
        return self.hp.eta**program.pause


class Asha(Rungs):
    """Asynchronous successive halving (Li et al., 2020, arXiv:1810.05934), by Ray Tune.

    At a rung a setting goes on if it is among the best of those that have come there so far, one in `eta`.
    """

    class Hyper(Halving.Hyper):
        """Ray Tune's ASHAScheduler."""

        brackets: Int = Field(
            1, ge=1, description="how many: a setting is in one by chance; in the next one it is judged a rung later"
        )

        def conflicts(self) -> dict[str, str]:
            wrong, count = super().conflicts(), len(rung_frames(10**9, self))
            if not wrong and self.brackets > count:
                wrong["brackets"] = f"there {'is' if count == 1 else 'are'} but {count} of the rungs that they begin at"
            return wrong

    def judge(self, rest: Callable[[str], None]) -> Judge:
        from slmx.search.tune_judges import AshaJudge

        hp, last = self.hp, self.hp.eta ** len(self.pauses())
        return AshaJudge(
            self.spec, rest, max_t=last, grace_period=1, reduction_factor=hp.eta, brackets=hp.brackets,
            stop_last_trials=False,
        )  # fmt: skip


class HyperBand(Rungs):
    """Hyperband (Li et al., 2018, arXiv:1603.06560), by Ray Tune.

    Brackets of settings are halved together: whoever comes to a rung first is paused until the bracket is there. The
    first bracket of a round is not judged at all, each further one begins a rung earlier and has more settings.
    """

    holds: ClassVar[bool] = True

    class Hyper(Halving.Hyper):
        """Ray Tune's HyperBandScheduler."""

        def conflicts(self) -> dict[str, str]:
            if self.eta % 1:
                return {"eta": f"must be a whole number with hyperband, not {self.eta:g}"}
            return super().conflicts()

    @classmethod
    def misfits(cls, hp: Any, spec: Spec, space: SearchSpace) -> list[SpecError]:
        errors, name = super().misfits(hp, spec, space), spec.meta.search_spec.name
        count, spared = settings_of(spec, space), 1 + len(cls(hp, spec).pauses())
        if count <= spared:
            wrong = f"hyperband never stops its first {spared} settings, and there are but {count}"
            errors.append(SpecError("meta.max_trial", wrong, "set it higher, or use asha"))
        if REGISTRIES["search_spec"].find(name).learns:
            wrong = f"{name} learns from settings that ended, but hyperband pauses them until a bracket is full"
            errors.append(SpecError("meta.search_spec.name", wrong, "use random or grid, or asha"))
        return errors

    def judge(self, rest: Callable[[str], None]) -> Judge:
        from slmx.search.tune_judges import HyperBandJudge

        last = self.hp.eta ** len(self.pauses())
        # Tune rounds down the first rung of a bracket, last / eta^s
        return HyperBandJudge(self.spec, rest, max_t=last * (1 + 1e-9), reduction_factor=self.hp.eta)


class Median(TuneScheduler):
    """Stops a setting whose best so far is worse than the median of the others' means up to there, by Ray Tune.

    (Golovin et al., 2017, doi:10.1145/3097983.3098043.)
    """

    class Hyper(NamedHyper):
        """Ray Tune's MedianStoppingRule."""

        interval: Int | None = Field(
            None, ge=1, description="frames between two judgements; null: a twentieth of the training"
        )
        grace: float = Field(0.1, ge=0, lt=1, description="share of the training before which no setting is judged")
        others: Int = Field(3, ge=1, description="how many others must have come as far before a setting is stopped")

    @classmethod
    def misfits(cls, hp: Any, spec: Spec, space: SearchSpace) -> list[SpecError]:
        errors, rule = super().misfits(hp, spec, space), cls(hp, spec)
        if not rule.pauses():
            begin, end = hp.grace * rule.last, rule.last
            wrong = f"no multiple of {rule.interval} frames is between the grace, {begin:g}, and the end, {end}"
            errors.append(SpecError("meta.scheduler_spec.interval", wrong))
        if hp.others >= (count := settings_of(spec, space)):
            wrong = f"nobody would be stopped: there are but {count} settings, each with {count - 1} others"
            errors.append(SpecError("meta.scheduler_spec.others", wrong))
        return errors

    @property
    def last(self) -> int:
        """The frame at which the training ends."""
        return self.spec.env[0].max_frame

    @property
    def interval(self) -> int:
        """Frames between two judgements."""
        return self.hp.interval or math.ceil(self.last / ROUNDS)

    def pauses(self) -> list[int]:
        every = range(self.interval, self.last, self.interval)
        return [frame for frame in every if frame >= self.hp.grace * self.last]

    def point(self, program: Program) -> float:
        return program.frames[0]

    def judge(self, rest: Callable[[str], None]) -> Judge:
        from slmx.search.tune_judges import MedianJudge

        # unlike as by default, none is ever paused that others may catch up
        return MedianJudge(
            self.spec, rest, grace_period=0, min_samples_required=self.hp.others, min_time_slice=math.inf
        )


def settings_of(spec: Spec, space: SearchSpace) -> int:
    """How many settings a search draws."""
    return REGISTRIES["search_spec"].find(spec.meta.search_spec.name).count(space, spec.meta.max_trial)

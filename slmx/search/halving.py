"""Successive halving of the settings of a program (Jamieson and Talwalkar, 2016, arXiv:1502.07943)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from slmx.member.hyper import NamedHyper
from slmx.run_directory import RUNGS
from slmx.search.scheduler import Known, Scheduler, scores

if TYPE_CHECKING:
    from slmx.record import Records
    from slmx.session import Program


class Halving(Scheduler):
    """At each rung only the best settings go on, one in `eta`; the others leave their program, which makes it faster.

    Rungs are at 1/eta, 1/eta^2, ... of the training. Settings are ranked among all that have come to the rung: those of
    the same program and of programs that ended before it began, as in the asynchronous form (Li et al., 2020,
    arXiv:1810.05934).
    """

    shares: ClassVar[bool] = True

    class Hyper(NamedHyper):
        """Successive halving."""

        # The best factor is e in theory, 3 or 4 in practice (Li et al., 2018, arXiv:1603.06560). 3 dismisses fewer at a
        # time: the curves of reinforcement learning are noisy and cross, and the frames that it costs are few.
        eta: float = Field(3.0, gt=1, description="one setting in so many goes on at each rung")
        grace: float = Field(
            0.1, gt=0, lt=1, description="share of the training before which no setting is judged; the first rung"
            " is the first of ..., 1/eta^2, 1/eta that is not before it",
        )  # fmt: skip

        def conflicts(self) -> dict[str, str]:
            if self.grace > 1 / self.eta:
                return {"grace": f"no rung is left: the last is at {1 / self.eta:.3g} of the training"}
            return {}

    def __init__(self, *args: Any):
        super().__init__(*args)
        objective = self.spec.meta.objective
        self.referee = Referee(self.hp.eta, 1 if objective.mode == "max" else -1, self.known)

    def pauses(self) -> list[int]:
        return rung_frames(self.spec.env[0].max_frame, self.hp)

    def share(self) -> float:
        parts = [0.0, *(self.hp.eta**-k for k in range(len(self.pauses()), 0, -1)), 1.0]
        return sum((end - start) / self.hp.eta**k for k, (start, end) in enumerate(itertools.pairwise(parts)))

    def meet(self, program: Program, records: Records) -> bool:
        rung = program.pause
        if rung is None:
            return True
        frame, reached = program.frames[0], scores(program, records)
        # The spec's own setting, trial 0, is what all others are compared with at the end. So it has to come there,
        # however bad it is; and since it stays anyway, it takes nobody's place.
        rivals = {trial: score for trial, score in reached.items() if trial}
        ranks, total = self.referee.ranks(rung, rivals), self.referee.total(rung, rivals)
        dismissed = self.referee.dismissed(rung, rivals)
        for recorder in records.recorders:
            trial = recorder.trial
            values = {"rung": rung, "frame": frame, "objective": reached[trial], "rank": ranks.get(trial, "")}
            recorder.note(RUNGS, values | {"of": total, "stays": int(trial not in dismissed)})
        leaves = {trial: f"rank {ranks[trial]} of {total} at frame {frame}" for trial in dismissed}
        if leaves and (stay := records.leave(program, leaves)):
            program.keep(stay)
        return bool(records.recorders)


def rung_frames(last: int, hp: Halving.Hyper) -> list[int]:
    """The frames of the rungs of a training that ends at frame `last`."""
    count = math.floor(-math.log(hp.grace) / math.log(hp.eta) + 1e-9)
    return [math.ceil(last / hp.eta**k) for k in range(count, 0, -1)]


@dataclass(frozen=True)
class Referee:
    """Says which settings leave at a rung. What has no score never stays where anything has one.

    `sign`: -1 where less is better. `known`: the scores of other programs at each rung.
    """

    eta: float
    sign: int = 1
    known: Known = ()

    def ranks(self, rung: int, scores: Mapping[int, float]) -> dict[int, int]:
        """The place of each trial among all that came to the rung, from 1; of equals the first number is first."""
        others = [self._goodness(score) for score in self._known(rung)]
        own = {trial: self._goodness(score) for trial, score in scores.items()}
        order = sorted(own, key=lambda trial: (-own[trial], trial))
        return {
            trial: place + sum(goodness > own[trial] for goodness in others)
            for place, trial in enumerate(order, start=1)
        }

    def total(self, rung: int, scores: Mapping[int, float]) -> int:
        """How many trials came to the rung, as far as is known."""
        return len(scores) + len(self._known(rung))

    def dismissed(self, rung: int, scores: Mapping[int, float]) -> list[int]:
        """The trials that leave at a rung."""
        if not any(math.isfinite(score) for score in scores.values()):
            return []  # nothing can be said of them
        stay = math.ceil(self.total(rung, scores) / self.eta - 1e-9)
        ranks = self.ranks(rung, scores)
        return [trial for trial, score in scores.items() if not math.isfinite(score) or ranks[trial] > stay]

    def _known(self, rung: int) -> list[float]:
        values = self.known[rung] if rung < len(self.known) else ()
        return [math.nan if value is None else value for value in values]

    def _goodness(self, score: float) -> float:
        return self.sign * score if math.isfinite(score) else -math.inf

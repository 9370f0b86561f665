"""What a scheduler is: whoever judges settings in mid-training, and lets them leave or changes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from slmx.errors import SpecError
from slmx.member.hyper import NamedHyper
from slmx.spec.registry import REGISTRIES
from slmx.spec.search_space import Domain, SearchSpace

if TYPE_CHECKING:
    from slmx.record import Records
    from slmx.session import Program
    from slmx.spec.model import Spec

Scores = dict[int, float]
"""The objective of each trial so far, NaN where there is none."""
Known = Sequence[Sequence[float | None]]
"""At each rung the objectives of the trials of earlier programs, None where there was none."""


class Scheduler:
    """Meets a program at pauses of its training, between two epochs.

    All settings are judged alike: by the greedy episodes of an evaluation and whatever else the objective is made of,
    over all their seeds, as at the end. `shares`: whether it goes by the scores of earlier programs too. `whole`:
    whether all settings must train in one program; `alone`: each in one of its own. `holds`: whether settings rest
    until others have come as far, for which there may be more under way than run at once. `told`: what it reports at a
    pause to whoever decides elsewhere, for whom the training then waits.
    """

    Hyper: ClassVar[type[NamedHyper]] = NamedHyper
    shares: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    alone: ClassVar[bool] = False
    holds: ClassVar[bool] = False

    @classmethod
    def misfits(cls, hp: Any, spec: Spec, space: SearchSpace) -> list[SpecError]:
        """Why a search of this spec over this space cannot be scheduled so; empty where it can."""
        return []

    def __init__(self, hp: Any, spec: Spec, domains: Sequence[Domain] = (), known: Known = ()):
        self.hp, self.spec, self.domains, self.known = hp, spec, list(domains), known
        self.told: dict[str, float] = {}

    def pauses(self) -> list[int]:
        """The frames of the first environment at which it is to be asked."""
        raise NotImplementedError

    def share(self) -> float:
        """About what part of all frames will be trained."""
        return 1.0

    def begin(self, program: Program, records: Records) -> None:
        """Told when a program begins or goes on from a checkpoint."""

    def meet(self, program: Program, records: Records) -> bool:
        """Do at a pause what is to be done; whether anybody goes on."""
        raise NotImplementedError


def scheduler_of(spec: Spec, domains: Sequence[Domain] = (), known: Known = ()) -> Scheduler | None:
    """The scheduler of a spec's search, if it has one."""
    hp = spec.meta.scheduler_spec
    return None if hp is None else REGISTRIES["scheduler_spec"].find(hp.name)(hp, spec, domains, known)


def scores(program: Program, records: Records) -> Scores:
    """What every trial of a program has reached, by trial."""
    from slmx.analysis.rungs import score_now

    program.examine()
    records.flush()
    return {recorder.trial: score_now(recorder.directory) for recorder in records.recorders}

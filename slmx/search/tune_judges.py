"""Schedulers of Ray Tune as a search uses them: what they are told, and what they may not do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, HyperBandScheduler, MedianStoppingRule

from slmx.member.streams import seed_sequence

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

    from slmx.spec.model import Spec


class Judge(FIFOScheduler):
    """Mixed in before a scheduler of Tune's, it lets that hear of a program at its pauses and of nothing else.

    How a program ends would be heard as of another rung, or twice. Trial 0, the spec's own setting, is what all others
    are compared with: it goes on, however bad it is, and so takes nobody's place. What is paused is saved already.
    """

    def __init__(self, spec: Spec, rest: Callable[[str], None], **options: Any):
        told = {"time_attr": "point", "metric": "objective", "mode": spec.meta.objective.mode}
        super().__init__(**told, **options)
        self.seed, self.rest = spec.meta.seed, rest

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        if "objective" not in result or not number_of(trial):
            return self.CONTINUE
        action = super().on_trial_result(tune_controller, trial, dict(result))
        if action == self.PAUSE:
            self.rest(trial.trial_id)
            tune_controller.pause_trial(trial, should_checkpoint=False)
            return self.NOOP
        return action

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> None:
        """A program ended, by itself or because it was stopped."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()  # Tune writes what it is given to a file that is never read


class AshaJudge(Judge, AsyncHyperBandScheduler):
    """Asynchronous successive halving; a setting's bracket depends on meta.seed and its number alone."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        before = np.random.get_state()  # noqa: NPY002
        np.random.seed(seed_sequence(self.seed, number_of(trial), 0, "bracket").generate_state(1))  # noqa: NPY002
        try:
            super().on_trial_add(tune_controller, trial)
        finally:
            np.random.set_state(before)  # noqa: NPY002


class MedianJudge(Judge, MedianStoppingRule):
    """The median stopping rule."""


class HyperBandJudge(Judge, HyperBandScheduler):
    """Hyperband. Trial 0 is in no bracket."""

    @property
    def supports_buffered_results(self) -> bool:
        """Whether Tune shall keep quiet about them: there are none."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        if number_of(trial):
            super().on_trial_add(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        if number_of(trial):
            super().on_trial_remove(tune_controller, trial)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> None:
        self.on_trial_remove(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        self.on_trial_remove(tune_controller, trial)

    def _process_bracket(self, tune_controller: Any, bracket: Any) -> str:
        # Tune marks a bracket while it is halved, and forgets to take the mark off: where the last program that others
        # are paused for ended or died later, they would be paused for good.
        try:
            return super()._process_bracket(tune_controller, bracket)
        finally:
            bracket.is_being_processed = False


def number_of(trial: Trial) -> int:
    """The number of the only setting of a trial of Tune's, whose config is an order."""
    return trial.config["trials"][0][0]

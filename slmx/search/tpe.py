"""Optuna's tree-structured Parzen estimator: learns from scores where to draw."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from slmx.member.hyper import Int, NamedHyper
from slmx.search.base import Searcher, Setting
from slmx.spec.search_space import Domain

if TYPE_CHECKING:
    import optuna

TAIL = 1e-4  # of a normal distribution, cut on each side: its ends lie at infinity


class OptunaSearcher(Searcher):
    """Draws where good settings were (TPE: Bergstra et al., 2011), by Optuna."""

    learns: ClassVar[bool] = True

    class Hyper(NamedHyper):
        """Keys of Optuna's TPE."""

        startup: Int = Field(10, ge=0, description="settings drawn at random before it learns from their scores")
        candidates: Int = Field(24, ge=1, description="draws of which the most promising is taken")
        multivariate: bool = Field(False, description="learn how values go together, not each key by itself")
        constant_liar: bool = Field(True, description="keep away from settings that are still running")

    def __init__(self, *args: Any):
        import optuna

        super().__init__(*args)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=self.hp.startup, n_ei_candidates=self.hp.candidates, multivariate=self.hp.multivariate,
            constant_liar=self.hp.constant_liar, seed=self.seed,
        )  # fmt: skip
        direction = "maximize" if self.mode == "max" else "minimize"
        self.study = optuna.create_study(sampler=sampler, direction=direction)
        self.distributions = {domain.path: distribution(domain) for domain in self.space.domains}
        self._running: dict[int, optuna.Trial] = {}

    def ask(self) -> Setting:
        self.asked += 1
        if fixed := self._combination():
            self.study.enqueue_trial(fixed)
        trial = self.study.ask(self.distributions)
        self._running[self.asked] = trial
        return {domain.path: value_of(domain, trial.params[domain.path]) for domain in self.space.domains}

    def tell(self, number: int, setting: Setting, score: float | None) -> None:
        from optuna.trial import TrialState, create_trial

        if number in self._running:
            state = TrialState.FAIL if score is None else TrialState.COMPLETE
            self.study.tell(self._running.pop(number), score, state)
        elif score is not None:  # a setting that it did not ask for: the spec's own
            known = {d.path: place_of(d, setting[d.path]) for d in self.space.domains if d.path in setting}
            params = {path: place for path, place in known.items() if place is not None}
            distributions = {path: self.distributions[path] for path in params}
            self.study.add_trial(create_trial(params=params, distributions=distributions, value=score))


def distribution(domain: Domain) -> optuna.distributions.BaseDistribution:
    """A domain as Optuna knows it. Lists are drawn by place, normal distributions by probability."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    log = "log" in domain.kind
    step = domain.args[2] if domain.kind.startswith("q") and not log else None
    if domain.is_list:
        return CategoricalDistribution(list(range(len(domain.args))))
    if "randn" in domain.kind:
        return FloatDistribution(TAIL, 1 - TAIL)
    if "randint" in domain.kind:
        return IntDistribution(int(domain.low), int(domain.high), log=log, step=int(step or 1))
    return FloatDistribution(float(domain.low), float(domain.high), log=log, step=step)


def value_of(domain: Domain, place: Any) -> Any:
    """The value that Optuna's number stands for."""
    if domain.is_list:
        return domain.args[place]
    if "randn" in domain.kind:
        place = NormalDist(*domain.args[:2]).inv_cdf(place)
    if domain.kind in ("qrandn", "qloguniform", "qlograndint"):
        q = domain.args[2]
        place = round(place / q) * q
    return int(place) if "randint" in domain.kind else float(place)


def place_of(domain: Domain, value: Any) -> Any:
    """Optuna's number for a value; None where the domain does not hold it."""
    if domain.is_list:
        return domain.args.index(value) if value in domain.args else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if "randn" in domain.kind:
        place = NormalDist(*domain.args[:2]).cdf(value)
        return place if TAIL <= place <= 1 - TAIL else None
    return value if domain.low <= value <= domain.high else None

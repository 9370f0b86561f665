"""Optuna's samplers: they learn from scores where to draw."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from slmx.member.hyper import Int, NamedHyper
from slmx.search.base import Rungs, Score, Searcher, Setting
from slmx.search.share import TAIL, share_of, value_at
from slmx.spec.model import GoalSpec
from slmx.spec.search_space import Domain, SearchSpace

if TYPE_CHECKING:
    import optuna

GENERATIONS = 8  # of NSGA-II, where its population is not given
LARGEST_POPULATION = 50  # then, as Deb et al. (2002) have half of

Result = tuple[Any, Sequence[float] | None, dict[int, float]]

USED_BY = {
    "startup": ("tpe", "gp"),
    "candidates": ("tpe",),
    "multivariate": ("tpe",),
    "constant_liar": ("tpe",),
    "population": ("cmaes", "nsga2"),
    "objectives": ("nsga2",),
}
"""Which samplers each key is for."""


class OptunaSearcher(Searcher):
    """Draws where good settings were, by Optuna.

    tpe: tree-structured Parzen estimators (Bergstra et al., 2011). cmaes: covariance matrix adaptation (Hansen, 2016),
    with margins where values are whole or stepped (Hamano et al., 2022). gp: expected improvement under a Gaussian
    process. nsga2: a genetic algorithm that looks for the Pareto front of several objectives (Deb et al., 2002).
    """

    learns: ClassVar[bool] = True

    class Hyper(NamedHyper):
        """Keys of Optuna's samplers."""

        sampler: Literal["tpe", "cmaes", "gp", "nsga2"] = Field("tpe", description="how it learns")
        startup: Int = Field(
            10, ge=0, description="settings drawn at random before it learns from their scores (tpe, gp)"
        )
        candidates: Int = Field(24, ge=1, description="draws of which the most promising is taken (tpe)")
        multivariate: bool = Field(False, description="learn how values go together, not each key by itself (tpe)")
        constant_liar: bool = Field(True, description="keep away from settings that are still running (tpe)")
        population: Int | None = Field(
            None, ge=2, description="settings of a generation (cmaes, nsga2); by default as many as suit their number"
        )
        objectives: list[GoalSpec] = Field(
            [], description="what is looked for beside meta.objective: [{metric, mode}, ...] (nsga2)"
        )

        def idle(self) -> dict[str, str]:
            return {key: f'sampler is "{self.sampler}"' for key, used in USED_BY.items() if self.sampler not in used}

        def conflicts(self) -> dict[str, str]:
            metrics = [goal.metric for goal in self.objectives]
            if self.sampler == "nsga2" and not metrics:
                return {"objectives": "nsga2 weighs several objectives: name at least one beside meta.objective"}
            if len(set(metrics)) < len(metrics):
                return {"objectives": f"a metric stands twice: {', '.join(metrics)}"}
            return {}

    def __init__(self, *args: Any):
        import optuna

        super().__init__(*args)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.distributions = {domain.path: distribution(domain) for domain in self.space.domains}
        self.modes += [goal.mode for goal in self.hp.objectives]
        directions: Any = [f"{mode}imize" for mode in self.modes]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study = optuna.create_study(sampler=self._sampler(), directions=directions)
        self._running: dict[int, optuna.Trial] = {}

    @classmethod
    def misfits(cls, hp: Any, space: SearchSpace) -> dict[str, str]:
        lists = ", ".join(domain.written for domain in space.domains if domain.is_list)
        if hp.sampler == "cmaes" and lists:
            return {"sampler": f"cmaes moves through ranges, and has no place for lists ({lists}); use tpe or gp"}
        return {}

    def _sampler(self) -> optuna.samplers.BaseSampler:
        from optuna import samplers

        hp, seed = self.hp, self._library_seed
        if hp.sampler == "cmaes":
            stepped = any(getattr(one, "step", None) is not None for one in self.distributions.values())
            return samplers.CmaEsSampler(
                popsize=hp.population, with_margin=stepped, warn_independent_sampling=False, seed=seed
            )  # fmt: skip
        if hp.sampler == "gp":
            return samplers.GPSampler(n_startup_trials=hp.startup, warn_independent_sampling=False, seed=seed)
        if hp.sampler == "nsga2":
            size = max(2, min(LARGEST_POPULATION, self.total // GENERATIONS))
            return samplers.NSGAIISampler(population_size=hp.population or size, seed=seed)
        return samplers.TPESampler(
            n_startup_trials=hp.startup, n_ei_candidates=hp.candidates, multivariate=hp.multivariate,
            constant_liar=hp.constant_liar, seed=seed,
        )  # fmt: skip

    def ask(self) -> Setting:
        self.asked += 1
        if fixed := self._combination():
            self.study.enqueue_trial(fixed)
        with _one_thread() if self.hp.sampler == "gp" else contextlib.nullcontext():
            trial = self.study.ask(self.distributions)
        self._running[self.asked] = trial
        return {domain.path: value_of(domain, trial.params[domain.path]) for domain in self.space.domains}

    def tell(self, number: int, setting: Setting, score: Score, rungs: Rungs = (), culled: bool = False) -> None:
        result = self._result(score, rungs, culled)
        if number not in self._running:
            self._adopt(setting, *result)
            return
        state, values, course = result
        trial = self._running.pop(number)
        for rung, value in course.items():
            trial.report(value, rung)
        self.study.tell(trial, values, state)

    def _result(self, score: Score, rungs: Rungs, culled: bool) -> Result:
        """What befell a setting in Optuna's words: its state, its numbers, and its course where it was pruned.

        TPE knows by itself what to make of settings without a number: those that were pruned late are better than those
        that were pruned early, and those that failed at once are the worst.
        """
        from optuna.trial import TrialState

        if self.hp.sampler == "tpe" and score is None:
            course = {rung: value for rung, value in enumerate(rungs) if culled and value is not None}
            return TrialState.PRUNED, None, course
        values = self._judged(score, rungs, culled)
        return TrialState.FAIL if values is None else TrialState.COMPLETE, values, {}

    def _adopt(self, setting: Setting, state: Any, values: Sequence[float] | None, course: dict[int, float]) -> None:
        """Learn from a setting that was not asked for: the spec's own.

        Where a value lies outside its domain, only what learns each key by itself can.
        """
        from optuna.trial import TrialState, create_trial

        known = {d.path: place_of(d, setting[d.path]) for d in self.space.domains if d.path in setting}
        params = {path: place for path, place in known.items() if place is not None}
        by_itself = self.hp.sampler == "tpe" and not self.hp.multivariate
        if not params or state == TrialState.FAIL or (len(params) < len(self.distributions) and not by_itself):
            return
        if self.hp.sampler == "nsga2":
            self.study.enqueue_trial(params)
            trial = self.study.ask(self.distributions)
            sampler: Any = self.study.sampler  # which gives a generation only to what it drew
            sampler.get_trial_generation(self.study, self.study.trials[trial.number])
            self.study.tell(trial, values)
            return
        distributions = {path: self.distributions[path] for path in params}
        value = values[0] if values else None
        self.study.add_trial(
            create_trial(
                state=state, value=value, params=params, distributions=distributions, intermediate_values=course
            )
        )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread of torch for a while: on matrices this small two of them made a setting take ten times as long."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
        return value_at(domain, place)
    if domain.kind in ("qloguniform", "qlograndint"):
        q = domain.args[2]
        place = round(place / q) * q
    return int(place) if "randint" in domain.kind else float(place)


def place_of(domain: Domain, value: Any) -> Any:
    """Optuna's number for a value; None where the domain does not hold it."""
    if domain.is_list:
        return domain.args.index(value) if value in domain.args else None
    share = share_of(domain, value)
    return share if share is None or "randn" in domain.kind else value

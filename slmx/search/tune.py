"""Searchers of other libraries, asked and told through Ray Tune's interface to them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import random
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from slmx.member.hyper import Int, NamedHyper
from slmx.search.base import Rungs, Score, Searcher, Setting
from slmx.search.share import share_of, value_at
from slmx.spec.search_space import Domain, SearchSpace

if TYPE_CHECKING:
    from ray.tune.search import Searcher as Inner

METRIC = "objective"
LEARNINGS = 8  # times that a searcher is told before its settings are used up; size.py sees to it


class TuneSearcher(Searcher):
    """A searcher of Ray Tune's: draws shares of ranges and places in lists, which this class makes settings of.

    Grids stay outside: their combinations are taken in turn, and the searcher draws all else.

    `module`: where Tune has it; `packages`: what it needs beside Tune, and `extra` the extra of slmx that brings them.
    """

    learns: ClassVar[bool] = True
    module: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    extra: ClassVar[str] = "search"

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.drawn = {f"x{i}": domain for i, domain in enumerate(self.space.domains) if domain.kind != "grid_search"}
        self._running: set[int] = set()
        seed = self._library_seed
        self._luck: Any = np.random.RandomState(seed).get_state(), random.Random(seed).getstate()
        fresh = self._luck
        with self._own_luck():
            self._library = importlib.import_module(self.module)
        self._luck = fresh  # a library's first import may draw numbers, its second does not
        with self._own_luck():
            self.inner = self._build()

    @classmethod
    def misfits(cls, hp: Any, space: SearchSpace) -> dict[str, str]:
        lacking = [package for package in cls.packages if importlib.util.find_spec(package) is None]
        if lacking:
            return {"name": f"{', '.join(lacking)} is not installed; pip install 'slmx[{cls.extra}]'"}
        if all(domain.kind == "grid_search" for domain in space.domains):
            return {"name": "a grid leaves nothing to learn; use grid"}
        return {}

    def ask(self) -> Setting:
        self.asked += 1
        fixed = self._combination()
        with self._own_luck():
            config: Any = self.inner.suggest(str(self.asked))
        self._running.add(self.asked)
        drawn = {domain.path: _value(domain, config[name]) for name, domain in self.drawn.items()}
        domains = self.space.domains
        return {d.path: d.args[fixed[d.path]] if d.path in fixed else drawn[d.path] for d in domains}

    def tell(self, number: int, setting: Setting, score: Score, rungs: Rungs = (), culled: bool = False) -> None:
        told = self._told(score, rungs, culled)
        with self._own_luck():
            if number in self._running:
                self._running.remove(number)
                self._hear(str(number), told)
            else:  # the spec's own setting, as far as it lies within the domains
                config = {name: _share(domain, setting.get(domain.path)) for name, domain in self.drawn.items()}
                self._adopt({name: share for name, share in config.items() if share is not None}, told)

    def _build(self) -> Inner:
        """The searcher."""
        raise NotImplementedError

    def _told(self, score: Score, rungs: Rungs, culled: bool) -> dict[float, float]:
        """What it is told of a setting, by the share of the work after which it was known: infinity is all of it."""
        judged = self._judged(score, rungs, culled)
        return {} if judged is None else {math.inf: judged[0]}

    def _hear(self, trial: str, told: dict[float, float]) -> None:
        """How a setting that was asked for did."""
        self.inner.on_trial_complete(trial, {METRIC: told[math.inf]} if told else None, error=not told)

    def _adopt(self, config: dict[str, Any], told: dict[float, float]) -> None:
        """Learn from a setting that was not asked for. Not all of its values may be known."""
        raise NotImplementedError

    def _loss(self, value: float) -> float:
        """What is to be made small."""
        return -value if self.mode == "max" else value

    def _space(self) -> dict[str, Any]:
        """What is drawn, in the words of Tune that all its searchers understand."""
        from ray import tune

        return {
            name: tune.choice(list(range(len(domain.args)))) if domain.is_list else tune.uniform(0.0, 1.0)
            for name, domain in self.drawn.items()
        }

    @contextlib.contextmanager
    def _own_luck(self) -> Iterator[None]:
        """For a while the random numbers of numpy and Python are this searcher's: some libraries draw from them.

        Their warnings are of their own concern.
        """
        before = np.random.get_state(), random.getstate()  # noqa: NPY002
        np.random.set_state(self._luck[0])  # noqa: NPY002
        random.setstate(self._luck[1])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            self._luck = np.random.get_state(), random.getstate()  # noqa: NPY002
            np.random.set_state(before[0])  # noqa: NPY002
            random.setstate(before[1])


class HyperOptSearcher(TuneSearcher):
    """Draws where good settings were (TPE: Bergstra et al., 2011), by HyperOpt."""

    module: ClassVar[str] = "ray.tune.search.hyperopt"
    packages: ClassVar[tuple[str, ...]] = ("hyperopt",)

    class Hyper(NamedHyper):
        """Keys of HyperOpt's TPE."""

        startup: Int = Field(10, ge=1, description="settings drawn at random before it learns from their scores")
        good_share: float = Field(0.25, gt=0, lt=1, description="what part of the best counts as good")

    def _build(self) -> Inner:
        inner = self._library.HyperOptSearch(
            n_initial_points=self.hp.startup, gamma=self.hp.good_share, random_state_seed=self._library_seed
        )
        inner.set_search_properties(METRIC, self.mode, self._space())
        return inner

    def _adopt(self, config: dict[str, Any], told: dict[float, float]) -> None:
        from hyperopt.base import JOB_STATE_DONE, STATUS_OK

        if not told:
            return
        trials = self.inner.get_state()["hyperopt_trials"]  # type: ignore[attr-defined]
        (number,) = trials.new_trial_ids(1)
        misc = {"tid": number, "cmd": ("domain_attachment", "FMinIter_Domain"), "workdir": None}
        misc["idxs"] = {name: [number] if name in config else [] for name in self.drawn}
        misc["vals"] = {name: [config[name]] if name in config else [] for name in self.drawn}
        result = {"loss": self._loss(told[math.inf]), "status": STATUS_OK}
        (document,) = trials.new_trial_docs([number], [None], [result], [misc])
        document["state"] = JOB_STATE_DONE
        trials.insert_trial_docs([document])
        trials.refresh()


class NevergradSearcher(TuneSearcher):
    """Searches by one of Nevergrad's optimisers."""

    module: ClassVar[str] = "ray.tune.search.nevergrad"
    packages: ClassVar[tuple[str, ...]] = ("nevergrad",)

    class Hyper(NamedHyper):
        """Keys of Nevergrad."""

        optimizer: Literal["TBPSA", "CMA", "OnePlusOne", "TwoPointsDE"] = Field(
            "TBPSA", description="which of its optimisers: TBPSA is made for noise, TwoPointsDE wants many settings"
        )

    def _build(self) -> Inner:
        import nevergrad

        space = self._library.NevergradSearch.convert_search_space(self._space())
        kind = nevergrad.optimizers.registry[self.hp.optimizer]
        self.optimizer = kind(space, budget=self.total, num_workers=max(1, self.total // LEARNINGS))
        return self._library.NevergradSearch(optimizer=self.optimizer, metric=METRIC, mode=self.mode)

    def _adopt(self, config: dict[str, Any], told: dict[float, float]) -> None:
        if told and len(config) == len(self.drawn):
            point = self.optimizer.parametrization.spawn_child(new_value=config)
            self.optimizer.tell(point, self._loss(told[math.inf]))


class BohbSearcher(TuneSearcher):
    """Draws where good settings were at the highest rung that enough have reached (BOHB: Falkner et al., 2018)."""

    module: ClassVar[str] = "ray.tune.search.bohb"
    packages: ClassVar[tuple[str, ...]] = ("hpbandster", "ConfigSpace")
    extra: ClassVar[str] = "bohb"

    class Hyper(NamedHyper):
        """Keys of BOHB."""

        candidates: Int = Field(64, ge=1, description="draws of which the most promising is taken")
        good_share: float = Field(0.15, ge=0.01, le=0.99, description="what part of the best counts as good")
        random_share: float = Field(1 / 3, ge=0, le=1, description="what part of the settings is drawn at random")

    def _build(self) -> Inner:
        hp, good = self.hp, round(100 * self.hp.good_share)
        keys = {"num_samples": hp.candidates, "top_n_percent": good, "random_fraction": hp.random_share}
        inner = self._library.TuneBOHB(bohb_config=keys, seed=self._library_seed)
        inner.set_search_properties(METRIC, self.mode, self._space())
        return inner

    def _told(self, score: Score, rungs: Rungs, culled: bool) -> dict[float, float]:
        told: dict[float, float] = {rung: value for rung, value in enumerate(rungs, 1) if value is not None}
        if culled:
            return told
        judged = None if score is None else self._judged(score, rungs, culled)
        return told | {math.inf: math.nan if judged is None else judged[0]}  # no number makes a bad example

    def _hear(self, trial: str, told: dict[float, float]) -> None:
        for budget, value in told.items():
            self.inner.on_trial_result(trial, {METRIC: value, "hyperband_info": {"budget": budget}})
        self.inner.on_trial_complete(trial)

    def _adopt(self, config: dict[str, Any], told: dict[float, float]) -> None:
        if len(config) == len(self.drawn):
            self.inner.trial_to_params["0"] = config  # type: ignore[attr-defined]
            self._hear("0", told)


def _value(domain: Domain, drawn: Any) -> Any:
    """What a share of a range or a place in a list stands for."""
    return domain.args[int(drawn)] if domain.is_list else value_at(domain, float(drawn))


def _share(domain: Domain, value: Any) -> Any:
    """The place of a value in a list, or its share of a range; None where the domain does not hold it."""
    if domain.is_list:
        return domain.args.index(value) if value in domain.args else None
    return share_of(domain, value)

"""Random search: every setting is drawn anew, as Ray Tune's functions define the domains."""

from __future__ import annotations

from typing import Any

import numpy as np

from slmx.member.hyper import NamedHyper
from slmx.member.streams import seed_sequence
from slmx.search.base import Searcher, Setting
from slmx.spec.search_space import Domain


class RandomSearcher(Searcher):
    """Draws settings at random, repeatably from meta.seed (Bergstra and Bengio, 2012)."""

    class Hyper(NamedHyper):
        """Random search has no keys."""

    def ask(self) -> Setting:
        self.asked += 1
        fixed = self._combination()
        rng = np.random.default_rng(seed_sequence(self.seed, self.asked, 0, "search"))
        return {d.path: d.args[fixed[d.path]] if d.path in fixed else draw(d, rng) for d in self.space.domains}


def draw(domain: Domain, rng: np.random.Generator) -> Any:
    """One value of a domain, by the function of ray.tune that it is named after."""
    from ray import tune

    if domain.kind == "choice":
        return domain.args[int(rng.integers(len(domain.args)))]
    value = getattr(tune, domain.kind)(*domain.args).sample(random_state=rng)
    return int(value) if "randint" in domain.kind else float(value)

"""Population-based training inside a program (Jaderberg et al., 2017, arXiv:1711.09846)."""

from __future__ import annotations

from pydantic import Field

from slmx.search.base import Setting
from slmx.search.mutation import mutate
from slmx.search.population import Population, Round


class Pbt(Population):
    """Copies go on with mutated values: small steps from those of whom they copied, or new draws."""

    class Hyper(Population.Hyper):
        """Population-based training."""

        resample: float = Field(0.25, ge=0, le=1, description="probability with which a value is drawn anew")
        factors: list[float] = Field(
            [0.8, 1.2], min_length=1, description="by one of which a value is multiplied over a logarithmic range; over"
            " another range it moves by what that is off 1, as a share of the range; of a list to a neighbour",
        )  # fmt: skip

        def idle(self) -> dict[str, str]:
            return {"factors": "resample is 1"} if self.resample == 1 else {}

        def conflicts(self) -> dict[str, str]:
            wrong = [factor for factor in self.factors if not factor > 0 or factor == 1]
            return {"factors": f"must be above 0 and not 1, which {wrong[0]:g} is not"} if wrong else {}

    def values(self, now: Round) -> dict[int, Setting]:
        return {
            trial: mutate(
                now.settings[source], self.domains, self.hp.resample, self.hp.factors,
                self._rng(trial, now.number, "values"),
            )
            for trial, source in now.sources.items()
        }  # fmt: skip

"""A bandit whose rewards change with time: a Gaussian process and an upper confidence bound, for batches of choices.

Bogunovic et al., 2016, "Time-Varying Gaussian Process Bandit Optimization" (arXiv:1601.06650); Desautels et al., 2014,
"Parallelizing Exploration-Exploitation Tradeoffs in Gaussian Process Bandit Optimization" (arXiv:1206.6402).
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import differential_evolution
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Hyperparameter, Kernel, WhiteKernel

Floats = NDArray[np.float64]

MOST = 300  # rewards that are learned from, the latest: what they cost grows with the cube of their number
FURTHEST = 2.0  # deviations from the mean at which a reward is cut off
BETA = (0.2, 0.4)  # c1 and c2 of Parker-Holder et al. (2020): beta is c1 + log(c2 n) after n rewards


class Arms(Protocol):
    """What there is to choose from: points within bounds, some of their D coordinates whole numbers."""

    bounds: list[tuple[float, float]]
    is_whole: list[bool]

    def encoded(self, points: Floats) -> Floats:
        """Points `[D, N]` as rows `[N, E]` between which a distance can be taken."""
        ...


class Bandit:
    """Knows what was tried, rows `[N, 1 + C + E]` of time, context and encoded point, and the `rewards [N]` of it."""

    def __init__(self, tried: Floats, rewards: Floats):
        self.tried, rewards = tried[-MOST:], rewards[-MOST:]
        centred = rewards - rewards.mean() if len(rewards) else rewards
        self.rewards = np.clip(centred / (centred.std() or 1.0), -FURTHEST, FURTHEST) if len(rewards) else rewards
        self.beta = BETA[0] + max(0.0, math.log(BETA[1] * max(len(rewards), 1)))
        self.kernel: Any = ConstantKernel(1.0, (0.05, 20.0)) * TimeVarying() + WhiteKernel(0.1, (1e-3, 2.0))
        if len(rewards):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # a bound is as good an answer as any
                self.kernel = GaussianProcessRegressor(self.kernel).fit(self.tried, self.rewards).kernel_

    def best(self, given: Floats, pending: Floats, arms: Arms, rng: np.random.Generator) -> Floats:
        """The point `[D]` whose reward may be highest, at a time and in a context `given [1 + C]`.

        Rows of `pending` are chosen already, their rewards not known yet: they are taken for what is expected of them,
        so that the mean stays what it is, and the doubt about them and what is near is gone.
        """
        seen = self._process(self.tried, self.rewards)
        told = np.asarray(seen.predict(pending), float).reshape(-1) if len(pending) else np.zeros(0)
        process = self._process(np.concatenate([self.tried, pending]), np.concatenate([self.rewards, told]))
        noise = self.kernel.k2.noise_level

        def bound(points: Floats) -> Floats:
            rows = arms.encoded(points)
            found: Any = process.predict(np.hstack([np.tile(given, (len(rows), 1)), rows]), return_std=True)
            mean, deviation = found
            return mean + math.sqrt(self.beta) * np.sqrt(np.maximum(deviation**2 - noise, 0.0))

        return differential_evolution(
            lambda points: -bound(points), arms.bounds, integrality=arms.is_whole,
            vectorized=True, updating="deferred", polish=False, maxiter=40, popsize=10, rng=rng,
        ).x  # fmt: skip

    def _process(self, rows: Floats, rewards: Floats) -> GaussianProcessRegressor:
        """The process after these rewards; before any it is what it was assumed to be."""
        process = GaussianProcessRegressor(self.kernel, optimizer=None)  # type: ignore[arg-type]
        return process.fit(rows, rewards) if len(rows) else process


class TimeVarying(Kernel):
    """exp(-d^2 / 2 l^2) (1 - epsilon)^(|t - t'| / 2): what lies back in time tells less. Time is the first column."""

    def __init__(
        self,
        length: float = 0.5,
        epsilon: float = 0.1,
        length_bounds: tuple[float, float] = (0.05, 5.0),
        epsilon_bounds: tuple[float, float] = (1e-4, 0.5),
    ):
        self.length, self.epsilon = length, epsilon
        self.length_bounds, self.epsilon_bounds = length_bounds, epsilon_bounds

    @property
    def hyperparameter_length(self) -> Hyperparameter:
        return Hyperparameter("length", "numeric", self.length_bounds)

    @property
    def hyperparameter_epsilon(self) -> Hyperparameter:
        return Hyperparameter("epsilon", "numeric", self.epsilon_bounds)

    def __call__(self, X: Floats, Y: Floats | None = None, eval_gradient: bool = False) -> Any:
        Y = X if Y is None else Y
        ago, squares = cdist(X[:, :1], Y[:, :1], "cityblock"), cdist(X[:, 1:], Y[:, 1:], "sqeuclidean")
        alike = np.exp(-squares / (2 * self.length**2)) * (1 - self.epsilon) ** (ago / 2)
        if not eval_gradient:
            return alike
        # by the logarithms of its parameters, in their order by name
        by_epsilon = -alike * ago / 2 * self.epsilon / (1 - self.epsilon)
        return alike, np.dstack([by_epsilon, alike * squares / self.length**2])

    def diag(self, X: Floats) -> Any:
        return np.ones(len(X))

    def is_stationary(self) -> Any:
        return True

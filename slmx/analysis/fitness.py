r"""The fitness vector: SLM-Lab's definitions under their names, corrected forms beside them as `*_corrected`.

Two families, both of one agent in one environment ("port"), over the training of one session:

* **The seed's vector** (SLM-Lab, January 2018) on *episodes* in order of ending: `strength`, `speed`, `stability`; over
  the sessions of a trial `consistency`, and `fitness`, the length of the vector. Window: 100 episodes.
* **v4/v5 metrics** on *checkpoints* (the rows of session_{s}.csv): `return_ma`, `max_strength`, `final_strength`,
  `sample_efficiency`, `training_efficiency`. They use the plain difference to the random return.

All need the standard of the environment. What cannot be known is NaN, never an invented number: SLM-Lab's "template"
standard (0, 1, 1) for unknown environments is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slmx.analysis.standards import Standard
from slmx.analysis.statistics import moving_average
from slmx.metric import RETURN_COLUMNS, SEED_COLUMNS, SESSION_COLUMNS

WINDOW = 100
"""Episodes (seed's vector) or checkpoints (`return_ma`) in a moving average."""
NOISE = 0.05
"""The drop in strength that counts as noise."""

Array = NDArray[np.float64]


# --- the seed's vector: episodes -------------------------------------------------------------------------------------


def local_strength(returns: ArrayLike, standard: Standard, clip: bool = True) -> Array:
    r"""Strength of each episode, `[n] -> [n]`: $s_i = \max(R_i - R_{rand}, 0) / (R_{std} - R_{rand})$.

    Random is 0, the standard 1. Source: SLM-Lab v1.0.0 `analysis.calc_strength`. Defect: the clip makes worse than
    random look like random; `clip=False` is the corrected form. ValueError without a standard return.
    """
    if standard.std_return is None:
        raise ValueError("no standard return, so no strength")
    gain = np.asarray(returns, float) - standard.rand_return
    return (np.maximum(gain, 0) if clip else gain) / (standard.std_return - standard.rand_return)


def strength(s: ArrayLike) -> float:
    r"""$\max_i S_i$, $S$ the moving average of the clipped `s` over 100 episodes; 0 with fewer than 100 episodes.

    Source: SLM-Lab v1.0.0 `calc_aeb_fitness_sr`. Defects: 0 for 99 perfect episodes; clipped (`local_strength`).
    """
    s = np.asarray(s, float)
    return float(moving_average(s, WINDOW)[WINDOW - 1 :].max()) if len(s) >= WINDOW else 0.0


def strength_corrected(s: ArrayLike) -> float:
    """`strength` of the unclipped `s`, over a window of min(100, n) episodes; NaN without an episode."""
    s = np.asarray(s, float)
    window = min(WINDOW, len(s))
    return float(moving_average(s, window)[window - 1 :].max()) if window else np.nan


def window_reaching(s: ArrayLike, theta: float, window: int = WINDOW) -> int | None:
    """Index of the last episode of the first window whose mean is at least `theta`; None if there is none."""
    reached = np.flatnonzero(moving_average(s, window) >= theta)
    return int(reached[0]) if len(reached) else None


def speed(s: ArrayLike, lengths: ArrayLike, standard: Standard) -> float:
    r"""$t_{std} / T_k$; $T$ = cumulated episode lengths, $k$ = *first* episode of the first window with $S \ge 1$.

    0 if the standard is never reached, or with fewer than 100 episodes. Source: SLM-Lab v1.0.0 `calc_speed`,
    `calc_stable_idx`. Defects: frames are read off at the window's start, before anything showed that the standard was
    reached, so an agent that is good from the start has taken one episode and its speed is huge; $t_{std}$ is a number
    that somebody chose, and NaN without it.
    """
    end = window_reaching(s, 1.0)
    if standard.std_frame is None:
        return np.nan
    return 0.0 if end is None else float(standard.std_frame / np.cumsum(lengths, dtype=float)[end - (WINDOW - 1)])


def speed_corrected(s: ArrayLike, frames: ArrayLike, standard: Standard) -> float:
    r"""$t_{std} / f_k$; $f$ = the environment's frame at each episode's end, $k$ = *last* episode of the first window
    of min(100, n) episodes with mean strength $\ge 1 - 0.05$ (the noise allowance of SLM-Lab v1.0.1, 7dbc3d8a).

    0 if never reached; NaN without an episode or without $t_{std}$.
    """
    s = np.asarray(s, float)
    if standard.std_frame is None or not len(s):
        return np.nan
    end = window_reaching(s, 1.0 - NOISE, min(WINDOW, len(s)))
    return 0.0 if end is None else float(standard.std_frame / np.asarray(frames, float)[end])


def stability(s: ArrayLike) -> float:
    r"""Share of the episodes $i \ge k$ with $s_i - s_{i-1} \ge -0.05$; $k$ = first episode of the first window with
    $S \ge 1$, and the very first episode counts as kept. `s` is the raw strength of the episodes, not its average.

    0 if the standard is never reached, or with fewer than 100 episodes. Source: SLM-Lab v1.0.0 `calc_stability`,
    `is_noisy_mono_inc`. Defects: partial solutions get 0; it measures the noise of single episodes.
    """
    return _stability(np.asarray(s, float), 1.0, WINDOW)


def stability_corrected(s: ArrayLike) -> float:
    r"""`stability` with SLM-Lab v1.1's baseline $\max(0.05, \min(\max S, 1) - 0.05)$ in the place of 1, so that partial
    solutions count, and a window of min(100, n) episodes. NaN without an episode.

    Source: SLM-Lab v1.1.0 `calc_stability`. What stays: it still measures the noise of single episodes.
    """
    s = np.asarray(s, float)
    if not len(s):
        return np.nan
    window = min(WINDOW, len(s))
    return _stability(s, max(NOISE, min(float(moving_average(s, window)[window - 1 :].max()), 1.0) - NOISE), window)


def _stability(s: Array, theta: float, window: int) -> float:
    end = window_reaching(s, theta, window)
    if end is None:
        return 0.0
    kept = np.concatenate([[True], np.diff(s) >= -NOISE])
    return float(kept[end - (window - 1) :].mean())


def consistency(vectors: ArrayLike, failed: int = 0) -> float:
    r"""Share of sessions that are no outliers: $d_j = \|v_j - median\|_2$, outlier if $0.6745\, d_j / median(d) > 3.5$.

    `vectors` `[sessions, 3]` holds (strength, speed, stability) of the sessions that finished; `failed` more did not
    and count as outliers. 0 if all vectors are 0. NaN without a session or where a number is unknown. Source: the
    seed of SLM-Lab, `util.is_outlier`. Defects: one session, and any two sessions however far apart, give 1.
    """
    vectors = np.asarray(vectors, float)
    if not len(vectors) or np.isnan(vectors).any():
        return np.nan
    if not vectors.any():
        return 0.0
    return float((~is_outlier(vectors)).sum() / (len(vectors) + failed))


def consistency_corrected(vectors: ArrayLike, failed: int = 0) -> float:
    r"""`consistency` with SLM-Lab v1.0's rules: 0 if all strengths are 0; two sessions agree (1) if
    $\|v_1 - v_2\|_2 / \|1\|_2 \le 0.05$ and do not (0) otherwise. One session alone tells nothing: NaN.
    """
    vectors = np.asarray(vectors, float)
    if len(vectors) + failed < 2 or not len(vectors) or np.isnan(vectors).any():
        return np.nan
    if not vectors[:, 0].any():
        return 0.0
    if len(vectors) == 2:
        agree = np.linalg.norm(vectors[0] - vectors[1]) / np.sqrt(vectors.shape[1]) <= NOISE
        return 2.0 / (2 + failed) if agree else 0.0
    return consistency(vectors, failed)


def is_outlier(points: ArrayLike, threshold: float = 3.5) -> NDArray[np.bool_]:
    """Which points `[n, d]` lie off, by the modified z-score of distances to the median point (Iglewicz and Hoaglin).

    Where more than half of the points agree exactly, every other one is an outlier.
    """
    points = np.asarray(points, float)
    distance = np.linalg.norm(points - np.median(points, axis=0), axis=-1)
    return 0.6745 * distance > threshold * np.median(distance)


def fitness(vector: ArrayLike) -> float:
    r"""$\|v\|_2 / \|1\|_2 = \sqrt{mean(v^2)}$: random about 0, standard about 1, unbounded above.

    A session has three dimensions, a trial four (with consistency). Source: SLM-Lab v1.0.0 `calc_fitness`. Defect: one
    large dimension rules the rest (a small `std_frame` gives speeds of 10 and more).
    """
    return float(np.sqrt(np.mean(np.square(np.asarray(vector, float)))))


def fitness_corrected(vector: ArrayLike) -> float:
    r"""$mean(v)$ of the corrected dimensions: SLM-Lab v3.1's norm, $mean(|v|)$, without its absolute value.

    The two are equal where no dimension is below 0. An unclipped strength may be, and a policy worse than random would
    be the fitter by it the worse it is.
    """
    return float(np.mean(np.asarray(vector, float)))


# --- v4/v5: checkpoints ----------------------------------------------------------------------------------------------


def return_ma(returns: ArrayLike) -> float:
    """Mean of the last min(100, n) checkpoints' returns, each itself the mean of the last 100 or fewer episodes.

    Source: SLM-Lab v5 `total_reward_ma`, the score of its published tables. Known property: it lags (of 200 checkpoints
    it averages half the training), and is a score of the exploring policy; `final_return` is the greedy one.
    """
    returns = np.asarray(returns, float)
    return float(returns[-WINDOW:].mean()) if len(returns) else np.nan


def max_strength(s: ArrayLike) -> float:
    """The largest local strength of a checkpoint. Source: SLM-Lab v4 `calc_session_metrics`.

    Defect: SLM-Lab's local strength is $R_i - R_{rand}$, in units of return, not comparable between environments; the
    corrected form takes the normalised one of `local_strength(..., clip=False)`.
    """
    s = np.asarray(s, float)
    return float(s.max()) if len(s) else np.nan


def final_strength(s: ArrayLike) -> float:
    """The last checkpoint's local strength. Source and defect as of `max_strength`."""
    s = np.asarray(s, float)
    return float(s[-1]) if len(s) else np.nan


def efficiency(s: ArrayLike, x: ArrayLike) -> float:
    r"""$\sum_i (s_i / x_i) / \sum_i s_i$, as SLM-Lab v4/v5's *code* has it; $x$ = frames or optimiser steps.

    Checkpoints at x = 0 are left out of the numerator alone. Defects: it differs from its docstring (see
    `efficiency_corrected`), does not depend on the size of `s`, and jumps where the strengths sum to about 0.
    """
    s, x = np.asarray(s, float), np.asarray(x, float)
    total = s.sum()
    if not len(s) or total == 0:
        return np.nan
    return float((s[x != 0] / x[x != 0]).sum() / total)


def efficiency_corrected(s: ArrayLike, x: ArrayLike) -> float:
    r"""$\sum_i (s_i / x_i) / \sum_i (1 / x_i)$, as SLM-Lab's *docstring* has it: a mean in which the early weigh more.

    Checkpoints at x = 0 are left out of both sums. To be given the normalised strength, so that it compares between
    environments.
    """
    s, x = np.asarray(s, float), np.asarray(x, float)
    s, x = s[x != 0], x[x != 0]
    return float((s / x).sum() / (1 / x).sum()) if len(s) else np.nan


# --- the vector of a session, and means over sessions ----------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """What a session left of one port: episodes in order of ending `[n]`, checkpoints `[c]`, final evaluation `[k]`."""

    returns: Array
    lengths: Array
    frames: Array
    checkpoint_returns: Array
    checkpoint_frames: Array
    checkpoint_steps: Array | None
    evaluation: Array


def session_fitness(curve: Curve, standard: Standard | None) -> dict[str, float]:
    """All of `SESSION_COLUMNS` of one finished session and port.

    Checkpoints before the first episode's end have no return and are left out. NaN: no standard, no evaluation, no
    optimiser steps (`checkpoint_steps`), or no episode.
    """
    known = ~np.isnan(curve.checkpoint_returns)
    returns, frames = curve.checkpoint_returns[known], curve.checkpoint_frames[known]
    steps = None if curve.checkpoint_steps is None else curve.checkpoint_steps[known]
    evaluation = curve.evaluation
    values = dict.fromkeys(SESSION_COLUMNS, np.nan) | {"return_ma": return_ma(returns)}
    if len(evaluation):
        values |= {"final_return": float(evaluation.mean()), "final_return_std": float(evaluation.std())}
    if standard is None:
        return values
    raw = returns - standard.rand_return
    values |= {
        "max_strength": max_strength(raw),
        "final_strength": final_strength(raw),
        "sample_efficiency": efficiency(raw, frames),
        "training_efficiency": np.nan if steps is None else efficiency(raw, steps),
    }
    if standard.std_return is None:
        return values
    clipped = local_strength(curve.returns, standard)
    scaled = local_strength(returns, standard, clip=False)
    return values | {
        "strength": strength(clipped),
        "speed": speed(clipped, curve.lengths, standard),
        "stability": stability(clipped),
        "strength_corrected": strength_corrected(local_strength(curve.returns, standard, clip=False)),
        "speed_corrected": speed_corrected(clipped, curve.frames, standard),
        "stability_corrected": stability_corrected(clipped),
        "max_strength_corrected": max_strength(scaled),
        "final_strength_corrected": final_strength(scaled),
        "sample_efficiency_corrected": efficiency_corrected(scaled, frames),
        "training_efficiency_corrected": np.nan if steps is None else efficiency_corrected(scaled, steps),
    }


def fill_failed(values: ArrayLike, failed: int, worst: float = 0.0) -> Array:
    """The numbers of all sessions of a trial, `[finished] -> [finished + failed]`: failed ones get the floor.

    The floor is the lesser of `worst` (0, the strength of random play; for returns the random return, or infinity where
    it is unknown) and the worst finished session, so that a failed seed never lifts a mean and never drops out of it.
    Without any finished session there is no number: all NaN. A NaN of a finished session stays and makes the mean NaN.
    """
    values = np.asarray(values, float)
    floor = min(worst, float(values.min())) if len(values) and not np.isnan(values).any() else np.nan
    return np.concatenate([values, np.full(failed, floor)])


def trial_fitness(vectors: Sequence[dict[str, float]], failed: int, standard: Standard | None) -> dict[str, float]:
    """Means over the sessions of one port, with `consistency`, `fitness` and their corrected forms.

    `vectors` holds `session_fitness` of the finished sessions; `failed` sessions enter by `fill_failed`, and count as
    outliers in the consistency.
    """
    rand = np.inf if standard is None else standard.rand_return
    means = {}
    for name in SESSION_COLUMNS:
        if name == "final_return_std":
            continue
        worst = rand if name in RETURN_COLUMNS else 0.0
        filled = fill_failed([vector[name] for vector in vectors], failed, worst)
        means[name] = float(filled.mean()) if len(filled) else np.nan
    seed = [[vector[name] for name in SEED_COLUMNS] for vector in vectors]
    corrected = [[vector[f"{name}_corrected"] for name in SEED_COLUMNS] for vector in vectors]
    means["consistency"] = consistency(seed, failed)
    means["consistency_corrected"] = consistency_corrected(corrected, failed)
    means["fitness"] = fitness([means[name] for name in (*SEED_COLUMNS, "consistency")])
    # one session has no corrected consistency; its fitness is then that of the other three dimensions
    dimensions = [means[f"{name}_corrected"] for name in SEED_COLUMNS]
    if len(vectors) + failed > 1:
        dimensions.append(means["consistency_corrected"])
    means["fitness_corrected"] = fitness_corrected(dimensions)
    return means

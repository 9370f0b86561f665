"""Golden numbers, each worked by hand from the formulas in slmx/analysis/fitness.py."""

import json

import numpy as np
import pytest

from slmx import metric
from slmx.analysis import fitness
from slmx.analysis.fitness import Curve, session_fitness, trial_fitness
from slmx.analysis.standards import SHIPPED, Standard, load_standards, read_standards
from slmx.errors import SlmxError

STANDARD = Standard(rand_return=20, std_return=220, std_frame=1000)
EMPTY = np.array([])


def test_local_strength():
    returns = [20, 120, 220, 420, -30]
    np.testing.assert_allclose(fitness.local_strength(returns, STANDARD), [0, 0.5, 1, 2, 0])
    np.testing.assert_allclose(fitness.local_strength(returns, STANDARD, clip=False), [0, 0.5, 1, 2, -0.25])
    with pytest.raises(ValueError, match="no standard return"):
        fitness.local_strength(returns, Standard(rand_return=20))


def test_strength_is_the_best_average_over_100_episodes():
    s = [0.0] * 50 + [1.0] * 60 + [0.0] * 50
    assert fitness.strength(s) == 0.6
    assert fitness.strength([1.0] * 99) == 0.0
    assert fitness.strength([1.0] * 100) == 1.0


def test_strength_corrected_uses_what_is_there():
    assert fitness.strength_corrected([0.0] * 50 + [1.0] * 60 + [0.0] * 50) == 0.6
    assert fitness.strength_corrected([1.0, 0.0, -0.4]) == pytest.approx(0.2)
    assert np.isnan(fitness.strength_corrected([]))


def test_speed_reads_the_first_episode_of_the_first_good_window():
    s = [0.0] * 10 + [1.0] * 100  # the window 10..109 is the first of mean 1
    lengths = [5] * 110
    assert fitness.speed(s, lengths, STANDARD) == 1000 / (11 * 5)  # 11 episodes up to episode 10
    assert fitness.speed([0.0] * 10 + [1.0] * 99, lengths[:109], STANDARD) == 0.0
    assert fitness.speed([1.0] * 99, [5] * 99, STANDARD) == 0.0
    assert np.isnan(fitness.speed(s, lengths, Standard(20, 220)))


def test_speed_corrected_reads_the_end_of_the_window_and_allows_noise():
    s = [0.0] * 10 + [1.0] * 100
    frames = 5.0 * np.arange(1, 111)
    # the window 5..104 has mean 0.95; its last episode is the 105th
    assert fitness.speed_corrected(s, frames, STANDARD) == 1000 / (105 * 5)
    assert fitness.speed_corrected([1.0, 1.0], [10.0, 30.0], STANDARD) == 1000 / 30
    assert fitness.speed_corrected([0.5] * 200, np.arange(1.0, 201), STANDARD) == 0.0
    assert np.isnan(fitness.speed_corrected([], [], STANDARD))


def test_stability_counts_drops_after_the_standard():
    # the window 10..109 is the first of mean 1, so 110 episodes are looked at from the tenth on: 112 of them
    s = [0.0] * 10 + [1.0] * 100 + [0.96, 0.5, 0.9] + [0.9] * 9
    # drops: 0.04 is noise, 0.46 is not; then it rises
    assert fitness.stability(s) == pytest.approx(111 / 112)
    # the very first episode counts as kept
    assert fitness.stability([1.0] * 100) == 1.0
    assert fitness.stability([0.99] * 200) == 0.0
    assert fitness.stability([1.0] * 99) == 0.0


def test_stability_corrected_counts_partial_solutions():
    # max S = 0.5, so the baseline is 0.45: first reached by the window 0..99; half of all steps are drops of 1
    assert fitness.stability_corrected([1.0, 0.0] * 100) == pytest.approx(0.5)
    # baseline 0.95: the window 5..104 reaches it; from episode 5 on all of 105 are kept
    assert fitness.stability_corrected([0.0] * 10 + [1.0] * 100) == 1.0
    assert fitness.stability_corrected([0.04] * 150) == 0.0  # below the least baseline, 0.05
    assert fitness.stability_corrected([1.0, 1.0, 0.0, 1.0]) == 0.75  # baseline 0.7, one window of four
    assert np.isnan(fitness.stability_corrected([]))


def test_outliers_as_in_slm_labs_own_examples():
    np.testing.assert_array_equal(fitness.is_outlier(np.array([[1], [1], [1]])), [False, False, False])
    np.testing.assert_array_equal(fitness.is_outlier(np.array([[1], [1], [2]])), [False, False, True])
    np.testing.assert_array_equal(fitness.is_outlier(np.array([[1, 1], [1, 1], [1, 2]])), [False, False, True])
    # distances to the median 2: 2, 1, 0, 1, 8; their median 1: scores 1.3, 0.7, 0, 0.7, 5.4
    np.testing.assert_array_equal(fitness.is_outlier(np.array([[0], [1], [2], [3], [10]])), [0, 0, 0, 0, 1])


def test_consistency():
    good, bad = [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]
    assert fitness.consistency([good, good, good, bad]) == 0.75
    assert fitness.consistency([good, good, good], failed=1) == 0.75
    assert fitness.consistency([bad, bad]) == 0.0
    assert fitness.consistency([good]) == 1.0
    assert fitness.consistency([good, bad]) == 1.0  # the known defect
    assert np.isnan(fitness.consistency([]))
    assert np.isnan(fitness.consistency([good, [1.0, np.nan, 1.0]]))


def test_consistency_corrected():
    good, bad = [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]
    assert fitness.consistency_corrected([good, bad]) == 0.0
    assert fitness.consistency_corrected([good, [1.0, 1.05, 1.0]]) == 1.0  # 0.05 / sqrt(3) = 0.029
    assert fitness.consistency_corrected([good, [1.0, 1.1, 1.0]]) == 0.0  # 0.1 / sqrt(3) = 0.058
    assert fitness.consistency_corrected([good, good], failed=1) == pytest.approx(2 / 3)
    assert np.isnan(fitness.consistency_corrected([good]))
    assert fitness.consistency_corrected([good], failed=3) == 0.25
    assert fitness.consistency_corrected([[0.0, 1.0, 1.0]] * 3) == 0.0
    assert fitness.consistency_corrected([good, good, good, bad]) == 0.75


def test_fitness_norms():
    assert fitness.fitness([1, 1, 1, 1]) == 1.0
    assert fitness.fitness([0, 0, 0, 2]) == 1.0  # L2: one large dimension rules
    assert fitness.fitness_corrected([0, 0, 0, 2]) == 0.5
    assert fitness.fitness_corrected([-3, 0, 0, 1]) == -0.5, "worse than random is worse, not fitter"
    assert fitness.fitness([3, 4, 0, 0]) == 2.5


def test_return_ma_is_over_the_last_100_checkpoints():
    assert fitness.return_ma([1, 2, 6]) == 3.0
    assert fitness.return_ma([1000.0] * 50 + [2.0] * 100) == 2.0
    assert np.isnan(fitness.return_ma([]))


def test_max_and_final_strength():
    assert fitness.max_strength([1, 5, 3]) == 5.0
    assert fitness.final_strength([1, 5, 3]) == 3.0
    assert np.isnan(fitness.max_strength([])) and np.isnan(fitness.final_strength([]))


def test_efficiency_of_the_code_and_of_the_docstring():
    s, x = [10, 20, 30], [1, 2, 3]
    assert fitness.efficiency(s, x) == 0.5  # (10 + 10 + 10) / 60
    assert fitness.efficiency_corrected(s, x) == pytest.approx(30 / (11 / 6))  # 16.36...
    # a checkpoint at 0 stays in the denominator of the one, and leaves both sums of the other
    assert fitness.efficiency([60, *s], [0, *x]) == 0.25
    assert fitness.efficiency_corrected([60, *s], [0, *x]) == pytest.approx(30 / (11 / 6))
    assert np.isnan(fitness.efficiency([1, -1], [1, 2]))
    assert np.isnan(fitness.efficiency_corrected([], []))


def perfect(returns: float = 220.0) -> Curve:
    """100 episodes of 10 frames, three checkpoints of which the first is before any episode's end."""
    return Curve(
        returns=np.full(100, returns),
        lengths=np.full(100, 10.0),
        frames=np.arange(10.0, 1001, 10),
        checkpoint_returns=np.array([np.nan, returns, returns]),
        checkpoint_frames=np.array([5.0, 500.0, 1000.0]),
        checkpoint_steps=np.array([0.0, 10.0, 20.0]),
        evaluation=np.array([200.0, 240.0]),
    )


def test_session_fitness_of_a_perfect_session():
    values = session_fitness(perfect(), STANDARD)
    assert tuple(values) == metric.SESSION_COLUMNS
    assert values == pytest.approx(
        {
            "final_return": 220,
            "final_return_std": 20,
            "return_ma": 220,
            "strength": 1,
            "speed": 100,  # the known defect: solved after one episode of 10 frames
            "stability": 1,
            "max_strength": 200,
            "final_strength": 200,
            "sample_efficiency": (1 / 500 + 1 / 1000) / 2,
            "training_efficiency": (1 / 10 + 1 / 20) / 2,
            "strength_corrected": 1,
            "speed_corrected": 1,  # 1000 frames
            "stability_corrected": 1,
            "max_strength_corrected": 1,
            "final_strength_corrected": 1,
            "sample_efficiency_corrected": 1,
            "training_efficiency_corrected": 1,
        }
    )


def test_session_fitness_says_what_it_cannot_know():
    def known(values):
        return {name for name, value in values.items() if not np.isnan(value)}

    evaluation = {"final_return", "final_return_std", "return_ma"}
    assert known(session_fitness(perfect(), None)) == evaluation
    raw = evaluation | set(metric.V4_COLUMNS)
    assert known(session_fitness(perfect(), Standard(rand_return=20))) == raw
    everything = set(metric.SESSION_COLUMNS)
    assert known(session_fitness(perfect(), Standard(20, 220))) == everything - {"speed", "speed_corrected"}
    nothing = Curve(EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, None, EMPTY)
    values = session_fitness(nothing, STANDARD)
    assert known(values) == {"strength", "speed", "stability"}  # the seed's zeros below 100 episodes
    assert values["strength"] == values["speed"] == values["stability"] == 0


def test_a_failed_session_never_lifts_a_mean_and_never_drops_out():
    np.testing.assert_array_equal(fitness.fill_failed([1.0, 3.0], 2), [1, 3, 0, 0])
    np.testing.assert_array_equal(fitness.fill_failed([1.0, -3.0], 1), [1, -3, -3])
    np.testing.assert_array_equal(fitness.fill_failed([100.0, 50.0], 1, worst=20), [100, 50, 20])
    np.testing.assert_array_equal(fitness.fill_failed([100.0, 50.0], 1, worst=np.inf), [100, 50, 50])
    assert np.isnan(fitness.fill_failed([], 2)).all()
    np.testing.assert_array_equal(fitness.fill_failed([1.0, np.nan], 1), [1, np.nan, np.nan])


def test_trial_fitness():
    vector = session_fitness(perfect(), STANDARD)
    fine = trial_fitness([vector] * 4, 0, STANDARD)
    assert (fine["strength"], fine["stability"], fine["consistency"], fine["speed"]) == (1, 1, 1, 100)
    assert fine["fitness"] == pytest.approx(np.sqrt((1 + 100**2 + 1 + 1) / 4))
    assert fine["fitness_corrected"] == 1
    assert "final_return_std" not in fine
    hurt = trial_fitness([vector] * 3, 1, STANDARD)
    assert hurt["strength"] == hurt["consistency"] == hurt["consistency_corrected"] == 0.75
    assert hurt["final_return"] == (3 * 220 + 20) / 4
    assert hurt["fitness_corrected"] == 0.75
    assert all(hurt[name] < fine[name] for name in fine)
    assert trial_fitness([vector], 0, STANDARD)["fitness_corrected"] == 1
    # strength -1, that of a return of -180; never solved, so a speed of 0; below the least baseline, so no stability
    poor = trial_fitness([session_fitness(perfect(-180.0), STANDARD)] * 2, 0, STANDARD)
    assert (poor["strength_corrected"], poor["speed_corrected"], poor["stability_corrected"]) == (-1, 0, 0)
    assert poor["consistency_corrected"] == 1 and poor["fitness_corrected"] == 0
    assert all(np.isnan(value) for value in trial_fitness([], 2, STANDARD).values())


def test_standards_refuse_nonsense():
    with pytest.raises(SlmxError, match="not above rand_return"):
        Standard(rand_return=5, std_return=5)
    with pytest.raises(SlmxError, match="not above 0"):
        Standard(rand_return=5, std_return=6, std_frame=0)
    with pytest.raises(SlmxError, match=r"fitness standard of X: .*'std_returns'"):
        read_standards({"X": {"rand_return": 1, "std_returns": 2}})


def test_shipped_standards_have_sources():
    standards = load_standards()
    assert {"CartPole-v1", "Acrobot-v1", "LunarLander-v3", "Pendulum-v1"} <= set(standards)
    for standard in standards.values():
        assert all(f"{key}: " in standard.source for key in ("rand_return", "std_return", "std_frame"))
        assert f"{standard.rand_return:.3f}" in standard.source
    assert list(json.loads(SHIPPED.read_text())) == list(standards)

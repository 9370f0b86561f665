import numpy as np
import pytest

from slmx.analysis.statistics import (
    bootstrap_interval,
    draw_runs,
    iqm,
    mean,
    moving_average,
    percentile_interval,
    stratified_interval,
    student,
)


def test_iqm_cuts_a_quarter_from_each_end():
    assert iqm([100, 1, 2, 3, 4, 5, 6, -100]) == 3.5  # 2 of 8 from each end: mean of 2, 3, 4, 5
    assert iqm([0, 3, 9]) == 4.0  # too few to cut
    assert iqm([9, 1, 2, 3, 100]) == pytest.approx(14 / 3)  # 1 of 5: mean of 2, 3, 9
    np.testing.assert_array_equal(iqm([[1, 2, 3, 50], [0, 4, 6, 9]], axis=1), [2.5, 5.0])
    assert np.isnan(iqm([1, 2, 3, 4, np.nan]))


def test_nan_never_drops_out_of_a_mean():
    assert np.isnan(mean([1.0, np.nan]))
    assert np.isnan(bootstrap_interval([1.0, 2.0, np.nan])).all()


def test_bootstrap_is_over_runs_alone():
    with pytest.raises(ValueError, match="the replicate is the run"):
        bootstrap_interval(np.zeros((4, 100)))
    assert np.isnan(bootstrap_interval([3.0])).all()
    assert bootstrap_interval([3.0, 3.0, 3.0]) == (3.0, 3.0)


def test_bootstrap_of_two_runs_by_hand():
    """Means of two draws from {0, 1} are 0, 0.5, 1 with chances 1/4, 1/2, 1/4.

    Of two runs the ends of 95 % are the quantiles 0 and 1; those of 20 % are where the normal distribution has
    -sqrt(2) * 0.324920 = -0.459506: quantiles 0.322935 and 0.677065.
    """
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)
    assert bootstrap_interval([0.0, 1.0], confidence=0.2) == (0.5, 0.5)
    assert percentile_interval(np.linspace(0, 100, 1001), 2, 0.2) == pytest.approx((32.2935, 67.7065), abs=1e-3)


def test_student_is_the_published_table():
    table = {(0.95, 1): 12.7062, (0.95, 2): 4.30265, (0.95, 3): 3.18245, (0.95, 9): 2.26216, (0.99, 4): 4.60409}
    assert {key: student(*key) for key in table} == pytest.approx(table, abs=1e-5)
    assert student(0.95, 1000) == pytest.approx(1.96234, abs=1e-5)


@pytest.mark.parametrize(("runs", "share"), [(5, 0.92), (10, 0.95), (20, 0.95)])
def test_intervals_hold_what_they_promise(runs, share):
    """The mean of normal runs; the plain middle 95 % of resamples hold it in 0.84, 0.90 and 0.93 of cases."""
    samples, places = np.random.default_rng(0).normal(size=(2000, runs)), draw_runs(runs, 2000)
    intervals = [percentile_interval(own[places].mean(1), runs) for own in samples]
    assert np.mean([low <= 0 <= high for low, high in intervals]) == pytest.approx(share, abs=0.015)


def test_bootstrap_covers_and_repeats():
    runs = np.random.default_rng(1).normal(size=20)
    low, high = bootstrap_interval(runs)
    # the interval of normal runs is 2.093 standard errors to each side
    half = 2.093 * runs.std(ddof=1) / np.sqrt(20)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    assert (low, high) == bootstrap_interval(runs)
    assert bootstrap_interval(runs, iqm) != (low, high)


def test_moving_average():
    np.testing.assert_array_equal(moving_average([1, 2, 3, 6], 2), [np.nan, 1.5, 2.5, 4.5])
    np.testing.assert_array_equal(moving_average([1, 2], 3), [np.nan, np.nan])
    assert moving_average([0.1] * 1000, 100)[-1] == moving_average([0.1] * 100, 100)[-1]
    assert len(moving_average([], 3)) == 0


def test_stratified_interval_redraws_within_each_stratum() -> None:
    # of two strata of two runs each, all four redrawn runs are at one end with probability 1/16 > 2.5 %
    assert stratified_interval([[0, 1], [10, 11]]) == (5.0, 6.0)
    assert stratified_interval([[3, 3], [5, 5]]) == (4.0, 4.0)
    assert stratified_interval([[1, 2, 3]]) == bootstrap_interval([1, 2, 3])


def test_stratified_interval_is_rliable_s_but_for_its_expansion() -> None:
    """rliable 1.2 with 50,000 resamples over these five runs of three tasks: 1.262 [0.479, 1.958]."""
    runs = np.array([
        [2.041, -1.556, 3.418], [-0.568, 0.547, 2.784], [-2.02, 0.768, 2.135], [3.323, 1.226, 2.647],
        [-0.281, 0.332, 1.945],
    ])  # fmt: skip
    assert iqm(runs.ravel()) == pytest.approx(1.262, abs=5e-4)
    rng = np.random.default_rng(0)
    drawn = iqm(np.concatenate([task[draw_runs(5, 50_000, rng)] for task in runs.T], axis=-1))
    assert np.percentile(drawn, [2.5, 97.5]) == pytest.approx([0.479, 1.958], abs=0.02)
    low, high = stratified_interval(runs.T, iqm)
    # wider by sqrt(5 / 4) of the shrinking and by t with twelve degrees of freedom, to the shape of the distribution
    assert (high - low) / (1.958 - 0.479) == pytest.approx(np.sqrt(5 / 4) * 2.179 / 1.960, rel=0.05)


def test_stratified_intervals_hold_the_mean_in_nineteen_of_twenty_cases() -> None:
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        strata = rng.normal(size=(3, 4)) * [[1.0], [2.0], [0.5]]
        low, high = stratified_interval(strata, resamples=1000)
        held += low <= 0 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_stratified_interval_of_what_is_not_known() -> None:
    for strata in ([], [[1.0]], [[1, 2], [3]], [[1, 2], [3, np.nan]]):
        assert np.isnan(stratified_interval(strata)).all()

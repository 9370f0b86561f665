import numpy as np
import pytest

from slmx.analysis.statistics import bootstrap_interval, iqm, mean, moving_average


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
    """Means of two draws from {0, 1} are 0, 0.5, 1 with chances 1/4, 1/2, 1/4: quantiles 0.025 and 0.975 are 0 and 1;
    those of the middle 40% (0.3 and 0.7) both 0.5."""
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)
    assert bootstrap_interval([0.0, 1.0], confidence=0.4) == (0.5, 0.5)


def test_bootstrap_covers_and_repeats():
    runs = np.random.default_rng(1).normal(size=20)
    low, high = bootstrap_interval(runs)
    # the normal interval is 1.96 standard errors to each side
    half = 1.96 * runs.std() / np.sqrt(20)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    assert (low, high) == bootstrap_interval(runs)
    assert bootstrap_interval(runs, iqm) != (low, high)


def test_moving_average():
    np.testing.assert_array_equal(moving_average([1, 2, 3, 6], 2), [np.nan, 1.5, 2.5, 4.5])
    np.testing.assert_array_equal(moving_average([1, 2], 3), [np.nan, np.nan])
    assert moving_average([0.1] * 1000, 100)[-1] == moving_average([0.1] * 100, 100)[-1]
    assert len(moving_average([], 3)) == 0

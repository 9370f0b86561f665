"""Which hyperparameters matter: on objectives of which it is known."""

import numpy as np
import pandas as pd
import pytest

from slmx.analysis.importance import EACH, FEWEST, importance_table
from slmx.analysis.scale import Scale, scale_of

KINDS = {
    "a.wave": "uniform", "a.bowl": "loguniform", "a.idle": "uniform", "a.list": "choice", "a.whole": "randint",
    "a.grid": "grid_search",
}  # fmt: skip


def searched(trials: int, seed: int = 0, noise: float = 0.2) -> pd.DataFrame:
    """Trials of a search over six keys of which two matter."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({
        "trial": range(trials), "a.wave": rng.random(trials), "a.bowl": 10 ** rng.uniform(-4, 0, trials),
        "a.idle": rng.random(trials), "a.list": rng.choice(["[8]", "[16, 16]", "[32]"], trials),
        "a.whole": rng.integers(1, 9, trials), "a.grid": rng.choice([0.9, 0.99], trials),
    })  # fmt: skip
    objective = np.sin(3 * table["a.wave"]) + (np.log10(table["a.bowl"]) + 2) ** 2 / 4
    return table.assign(objective=objective + noise * rng.standard_normal(trials))


@pytest.mark.parametrize("seed", range(3))
def test_the_keys_that_matter_come_first(seed):
    table, note = importance_table(searched(80, seed), KINDS)
    assert set(table["key"][:2]) == {"a.wave", "a.bowl"} and not note
    assert table["importance"].sum() == pytest.approx(1) and table["importance"][:2].sum() > 0.8
    assert (table["importance"].diff().dropna() <= 0).all() and set(table["key"]) == set(KINDS)
    assert (table["trials"] == 80).all() and 0.5 < table["explained"].iloc[0] < 1


def test_categories_matter_too():
    experiment = searched(60)
    by_list = experiment["a.list"].map({"[8]": 0.0, "[16, 16]": 1.0, "[32]": 5.0})
    table, _ = importance_table(experiment.assign(objective=by_list + 0.01 * experiment["a.idle"]), KINDS)
    assert table["key"].iloc[0] == "a.list" and table["importance"].iloc[0] > 0.9


def test_the_same_trials_give_the_same_numbers():
    one, other = (importance_table(searched(30), KINDS)[0] for _ in range(2))
    assert one.equals(other)


def test_trials_without_a_number_or_a_place_are_left_out():
    experiment = searched(60).astype({"a.wave": object})
    experiment.loc[0, "a.wave"] = '{"name": "linear_decay"}'
    experiment.loc[1, "objective"] = np.nan
    assert (importance_table(experiment, KINDS)[0]["trials"] == 58).all()


def test_where_there_is_nothing_to_say_it_says_so():
    few = max(FEWEST, EACH * len(KINDS))
    table, note = importance_table(searched(few - 1), KINDS)
    assert not len(table) and note == f"importance of keys: known from {few} finished trials on"
    noise = searched(64).assign(objective=np.random.default_rng(1).standard_normal(64))
    none = "importance of keys: cannot be told from these trials"
    assert importance_table(noise, KINDS)[1] == none and not len(importance_table(noise, KINDS)[0])
    assert importance_table(searched(64).assign(objective=1.0), KINDS)[1] == none
    assert importance_table(searched(64), {"a.wave": "uniform"})[1] == "", "one key is all there is"


def test_scales_are_those_of_the_domains():
    assert scale_of([0.1, 0.2], "loguniform") == Scale(is_log=True) and scale_of([1e-4, 1], "uniform") == Scale()
    assert scale_of([64, 8, 64, 128], "choice") == Scale(categories=("8", "64", "128")), "numbers in their order"
    assert scale_of(["[8]", "tanh", "[8]"], "grid_search") == Scale(categories=("[8]", "tanh"))
    assert scale_of(['{"name": "linear_decay"}', 1e-3, None, 1e-2], "loguniform") == Scale(is_log=True)
    assert scale_of([True, False], "choice").places([False, True, None]) == pytest.approx([1, 0, np.nan], nan_ok=True)
    assert Scale(is_log=True).places([0.01, 0, "x"]) == pytest.approx([-2, np.nan, np.nan], nan_ok=True)
    # of older runs nobody knows the domains
    assert scale_of([1e-4, 1.0]) == Scale(is_log=True) and scale_of([0.9, 0.99]) == Scale()
    assert scale_of(['{"name": "linear_decay"}', 0.5, 0.6]) == Scale() and scale_of(["a", "b", 1.0]).categories

"""What may vary becomes a tensor with a number per member; what may not stays a plain value, equal for all."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from pydantic import Field, ValidationError

from slmx.member.hyper import Hyper, Int, MaybePerMember, NamedHyper, PerMember, Scheduled, Stacked, varies
from slmx.member.schedule import Schedule


class Inner(NamedHyper):
    lr: Scheduled = Field(0.1, ge=0)


class Outer(NamedHyper):
    gamma: PerMember = Field(0.99, ge=0, le=1)
    lam: MaybePerMember = None
    rate: Scheduled = Field(0.5, ge=0, le=1)
    horizon: Int = 32
    mode: Literal["a", "b"] = "a"
    inner: Inner = Inner()


def decay(start: float, end: float = 0.0, end_step: int = 10) -> Schedule:
    return Schedule(name="linear_decay", start_val=start, end_val=end, end_step=end_step)


def test_the_type_says_what_may_vary() -> None:
    assert {field for field in Outer.model_fields if varies(Outer, field)} == {"gamma", "lam", "rate"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_per_member_fields_are_columns(dtype: torch.dtype) -> None:
    hp = Stacked([Outer(gamma=0.9), Outer(gamma=0.8)], dtype)
    assert hp.gamma.shape == hp.rate.shape == (2, 1)
    assert hp.gamma.dtype == hp.rate.dtype == dtype
    torch.testing.assert_close(hp.gamma, torch.tensor([[0.9], [0.8]], dtype=dtype))
    assert (hp.horizon, hp.mode, hp.lam) == (32, "a", None)


def test_components_are_left_for_their_own_class() -> None:
    inner = [Inner(lr=0.1), Inner(lr=0.2)]
    assert Stacked([Outer(inner=x) for x in inner]).inner == inner


def test_schedules_take_the_values_of_the_frame() -> None:
    hp = Stacked([Outer(rate=decay(1.0)), Outer(rate=decay(0.5, end_step=20))], torch.float64)
    assert hp.rate.flatten().tolist() == [1.0, 0.5]
    hp.at(5)
    assert hp.rate.flatten().tolist() == [0.5, 0.375]
    assert hp.rate.dtype == torch.float64


@pytest.mark.parametrize("keys", [{"horizon": 33}, {"mode": "b"}, {"name": "other"}], ids=str)
def test_refuses_members_of_different_programs(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(keys))} differs between members but is part of the program"):
        Stacked([Outer(), Outer(**keys)])


def test_refuses_null_beside_numbers() -> None:
    """Without a number there is another formula: another program."""
    for lams in ([None, 0.9], [0.9, None]):
        with pytest.raises((ValueError, TypeError)):
            Stacked([Outer(lam=lam) for lam in lams])


def test_an_unknown_name_is_a_clear_error() -> None:
    with pytest.raises(AttributeError, match="no hyperparameter 'gama'"):
        _ = Stacked([Outer()]).gama


@pytest.mark.parametrize(
    "keys",
    [
        {"gama": 0.9}, {"gamma": "0.9"}, {"gamma": True}, {"gamma": 1.1}, {"gamma": float("nan")}, {"horizon": 1.5},
        {"rate": decay(2.0)}, {"rate": decay(0.5, -0.5)}, {"mode": "c"},
    ],
    ids=str,
)  # fmt: skip
def test_models_are_closed_strict_and_finite(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Outer(**keys)


def test_whole_floats_are_integers_and_integers_are_numbers() -> None:
    assert Outer(horizon=1e3).horizon == 1000  # type: ignore[arg-type]
    assert Outer(gamma=1).gamma == 1.0


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Outer().gamma = 0.5


def test_no_key_is_idle_or_contradicts_by_default() -> None:
    assert Hyper().idle() == Hyper().conflicts() == {}

"""Values that begin in mid-training: meta.stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from slmx import lab
from slmx.session import Program, Session
from slmx.spec.check import problems
from slmx.spec.dump import dump, in_force, restore, static, with_settings
from slmx.spec.model import Spec, StageSpec
from tests.programs import Keys, spec
from tests.test_members import departures, noted
from tests.test_resume import interrupted, resumed, whole

A2C: Keys = {"name": "A2C", "time_horizon": 4}
LR, GAMMA = "agent.0.net.optim_spec.lr", "agent.0.algorithm.gamma"
STAGES: list[Keys] = [
    {"frame": 100, "settings": {LR: 0.05}},
    {"frame": 203, "settings": {GAMMA: 0.5, LR: {"name": "linear_decay", "start_val": 0.03, "end_val": 0.001}}},
]


def staged(stages: list[Keys], **meta: Any) -> Spec:
    net = {"type": "MLP", "hid_layers": [16], "optim_spec": {"name": "Adam", "lr": 0.01}}
    env = {"name": "tests.probes:Drift", "max_frame": 400}
    return spec(A2C, {"name": "Rollout"}, env, net, 2, {"stages": stages, "log_frequency": 40, **meta})


def rates(program: Program) -> dict[int, tuple[float, float]]:
    """The learning rate and discount of session 0 as a program trains, by frame of each row."""
    found = {}

    def note(program: Program) -> None:
        agent = program.agents[0]
        found[program.frames[0]] = (float(agent.optimizers[0].hp.lr[0, 0]), float(agent.hp.gamma[0, 0]))

    program.run(note)
    return found


def test_values_hold_from_their_frame_on() -> None:
    assert set(StageSpec.model_fields) == {"frame", "settings"}
    one = staged(STAGES[:1])
    found = rates(Program([Session(one, 0, i) for i in range(2)]))
    assert {frame: lr for frame, (lr, _) in found.items()} == pytest.approx(
        {frame: 0.01 if frame <= 80 else 0.05 for frame in range(40, 401, 40)}
    )
    two = [*STAGES[:1], {"frame": 203, "settings": {GAMMA: 0.5}}]
    found = rates(Program([Session(staged(two))]))
    assert found[200] == pytest.approx((0.05, 0.99)) and found[240] == pytest.approx((0.05, 0.5)), "the rate stays"


def test_a_stage_is_a_program_whose_sessions_are_retuned_between_two_epochs() -> None:
    one = staged([{"frame": 100, "settings": {LR: 0.05, GAMMA: 0.5}}])
    plain = staged([])
    by_hand = Program([Session(plain, 0, i) for i in range(2)], pauses=[100])
    assert any(by_hand.rows())
    by_hand.retune([Session(with_settings(plain, {LR: 0.05, GAMMA: 0.5}), 0, i) for i in range(2)])
    program = Program([Session(one, 0, i) for i in range(2)])
    assert any(program.rows())
    traces = [noted(each) for each in (program, by_hand)]
    for trace in traces:
        trace.program.run()
    for member in range(2):
        assert not departures("A2C", traces[0].of(member), traces[1].of(member))


@pytest.mark.parametrize("frame", [80, 120, 280])
def test_a_training_with_stages_is_resumed_byte_for_byte(frame: int, tmp_path: Path) -> None:
    stages = [*STAGES[:1], {"frame": 203, "settings": {GAMMA: 0.5}}]
    one = staged(stages, max_session=2, checkpoint_frequency=150)
    expected = whole(one, tmp_path)
    assert resumed(interrupted(one, tmp_path, frame)) == expected
    assert whole(staged([], max_session=2, checkpoint_frequency=150), tmp_path / "plain") != expected


def test_what_is_in_force_at_a_frame() -> None:
    one = staged([*STAGES[:1], {"frame": 203, "settings": {GAMMA: 0.5}}])
    assert in_force(one, 99) == staged([])
    assert in_force(one, 100) == with_settings(staged([]), {LR: 0.05})
    assert in_force(one, 10**6) == with_settings(staged([]), {LR: 0.05, GAMMA: 0.5})
    assert restore(dump(one)) == one
    assert static(one) != static(staged([])), "environments begin anew at other frames"


def test_a_played_model_is_that_of_its_last_stage(tmp_path: Path) -> None:
    run = lab.train(staged(STAGES[:1], max_session=2), tmp_path, quiet=True, graphs=False)
    assert lab.enjoy(run.directory).repeats


WRONG: list[tuple[list[Keys], str]] = [
    ([{"frame": 400, "settings": {LR: 0.05}}],
     "meta.stages.0.frame: must be after frame 0 and before the end of the training at 400, not 400"),
    ([STAGES[0], {"frame": 100, "settings": {LR: 0.05}}],
     "meta.stages.1.frame: must be after frame 100 and before the end of the training at 400, not 100"),
    ([{"frame": 100, "settings": {GAMMA: 2.0}}], f"meta.stages.0.settings.{GAMMA}: must be <= 1, not 2.0"),
    ([{"frame": 100, "settings": {"agent.0.algorithm.gama": 0.9}}],
     'meta.stages.0.settings.agent.0.algorithm.gama: unknown key; did you mean "gamma"?'),
    ([{"frame": 100, "settings": {"agent.0.algorithm.time_horizon": 8}}],
     "meta.stages.0.settings.agent.0.algorithm.time_horizon: cannot change in mid-training: it makes another program"),
    ([STAGES[1]], f"meta.stages.0.settings.{LR}: cannot change in mid-training: it makes another program"),
    ([{"frame": 100, "settings": {"agent.1.algorithm.gamma": 0.9}}],
     "meta.stages.0.settings.agent.1.algorithm.gamma: there is no such key"),
    ([{"frame": 100, "settings": {"env.0.max_frame": 10}}],
     "meta.stages.0.settings.env.0.max_frame: cannot change in mid-training; only numbers of agents can"),
]  # fmt: skip


@pytest.mark.parametrize(("stages", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_stages_that_cannot_begin_are_spec_errors(stages: list[Keys], message: str) -> None:
    assert [str(error) for error in problems(staged(stages))] == [message]


def test_a_searched_key_has_no_stages() -> None:
    one = staged(STAGES[:1]).model_copy(update={"search": {f"{LR}__loguniform": [1e-4, 1e-2]}})
    assert [str(error) for error in problems(one)] == [
        f"meta.stages.0.settings.{LR}: is searched, but has its own value from there on"
    ]


def test_parameters_depart_where_a_stage_begins() -> None:
    plain, one = (Program([Session(staged(stages))]) for stages in ([], STAGES[:1]))
    for program in (plain, one):
        program.run()
    models = [program.model(0) for program in (plain, one)]
    assert not any(torch.equal(models[0][key], models[1][key]) for key in models[0])


def test_a_model_is_played_with_the_numbers_of_its_frame(tmp_path: Path) -> None:
    """A network's scale that changes its sign turns the policy round."""
    net = {"type": "tests.own_learning:Affine", "optim_spec": {"name": "Adam", "lr": 0.05}}
    stages = [{"frame": 200, "settings": {"agent.0.net.scale": -1.0}}]
    meta = {"stages": stages, "max_session": 1, "eval_episode": 5, "eval_frequency": 100, "save": 100}
    one = spec(A2C, {"name": "Rollout"}, {"name": "CartPole-v1", "max_frame": 400}, net, 2, meta)
    directory = lab.train(one, tmp_path, quiet=True, graphs=False).directory
    assert all(lab.enjoy(directory, model=model).repeats for model in ("100", "200", "300", "400", "last"))

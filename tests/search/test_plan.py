"""Which settings train together, how many of them, and what the journal says: all without Ray."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from slmx.footprint import memory_bytes
from slmx.search.base import Searcher
from slmx.search.journal import Ended, read_ended, write_ended
from slmx.search.optuna import OptunaSearcher
from slmx.search.plan import Plan, Trial
from slmx.search.random import RandomSearcher
from slmx.search.size import LARGEST, member_products, room, settings_a_program
from slmx.spec.check import problems
from slmx.spec.dump import static
from slmx.spec.model import Spec
from slmx.spec.search_space import search_space
from tests.search.specs import AGENT, Keys, spec_of

GAMMA: Keys = {"agent.algorithm.gamma__uniform": [0.9, 0.99]}
NETS: Keys = {"agent.net.hid_layers__choice": [[8], [16], [8, 8]]}


def plan_of(spec: Spec, size: int, kind: type[Searcher] = RandomSearcher) -> Plan:
    space, wrong = search_space(spec)
    assert not wrong
    meta = spec.meta
    hp = kind.Hyper.model_validate({"name": "x"})
    return Plan(spec, kind(hp, space, meta.max_trial, meta.seed, meta.objective.mode), size)


def programs(plan: Plan) -> list[list[Trial]]:
    found = []
    while trials := plan.next():
        found.append(trials)
    return found


def numbers(plan: Plan) -> list[list[int]]:
    return [[trial.number for trial in program] for program in programs(plan)]


def test_trial_0_is_the_spec_as_it_stands() -> None:
    spec = spec_of(GAMMA)
    first = programs(plan_of(spec, 9))[0][0]
    assert first.number == 0 and first.setting == {}
    assert first.spec == spec.model_copy(update={"search": {}})


@pytest.mark.parametrize(("size", "expected"), [
    (9, [[0, 1, 2, 3, 4, 5, 6]]), (4, [[0, 1, 2], [3, 4, 5, 6]]), (3, [[0, 1], [2, 3], [4, 5, 6]]),
    (1, [[0], [1], [2], [3], [4], [5], [6]]),
])  # fmt: skip
def test_settings_share_programs_evenly_and_in_order(size: int, expected: list[list[int]]) -> None:
    assert numbers(plan_of(spec_of(GAMMA, meta={"max_trial": 6}), size)) == expected


def test_settings_of_another_static_part_are_another_program() -> None:
    plan = plan_of(spec_of(GAMMA | NETS, meta={"max_trial": 20}), 4)
    seen = programs(plan)
    assert sorted(trial.number for program in seen for trial in program) == list(range(21))
    assert all(len(program) <= 4 for program in seen)
    assert all(len({static(trial.spec) for trial in program if trial.spec}) == 1 for program in seen)
    by_net: dict[str, int] = {}
    for program in seen:
        by_net[static(program[0].spec)] = by_net.get(static(program[0].spec), 0) + 1  # type: ignore[arg-type]
    assert len(by_net) == 3 and len(seen) < 21 / 2
    assert plan.exhausted


def test_a_searcher_that_learns_is_asked_for_one_program_at_a_time() -> None:
    plan = plan_of(spec_of(GAMMA, meta={"max_trial": 5}), 2, OptunaSearcher)
    first = plan.next()
    assert [trial.number for trial in first] == [0, 1] and plan.asked == 2
    for trial in first:
        plan.tell(trial, Ended(trial.number, "DONE", score=1.0))
    assert numbers(plan) == [[2, 3], [4, 5]]


def test_a_rung_without_a_number_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, told = plan_of(spec_of(GAMMA), 9), []
    (trial, *_) = plan.next()
    monkeypatch.setattr(plan.searcher, "tell", lambda *own: told.append(own))
    plan.tell(trial, Ended(0, "CULLED", "rank 3 of 3", rungs=[None, 2.0]))
    assert told == [(0, {}, None, [None, 2.0], True)]


def test_values_that_do_not_fit_one_another_are_no_program() -> None:
    plan = plan_of(spec_of(GAMMA, meta={"max_trial": 2}), 9)
    ask = plan.searcher.ask
    settings = [{"agent.0.algorithm.gamma": 7.0}, ask()]
    plan.searcher.ask = lambda: settings.pop(0)  # type: ignore[method-assign]
    assert numbers(plan) == [[0, 2]]
    (misfit,) = plan.misfits
    assert misfit.number == 1 and "gamma: must be" in misfit.reason


def test_max_member_caps_a_program() -> None:
    spec = spec_of(GAMMA, meta={"max_trial": 30, "max_session": 3, "max_member": 10})
    assert settings_a_program(spec, 31, 2, learns=False) == 3
    auto = spec_of(GAMMA, meta={"max_trial": 30, "max_session": 3})
    assert settings_a_program(auto, 31, 2, learns=False) == 16, "all of them at once, shared among two workers"
    assert settings_a_program(auto, 31, 1, learns=False) == 31
    assert settings_a_program(auto, 33, 2, learns=True) == 2, "it learns eight times and more"
    assert settings_a_program(auto, 5, 2, learns=True) == 1


@pytest.mark.parametrize(
    ("settings", "workers", "most"), [(64, 2, 28), (40, 2, 16), (33, 2, 14), (7, 4, 9), (100, 3, 9)]
)
def test_no_worker_waits_long_for_another(settings: int, workers: int, most: int) -> None:
    spec = spec_of(GAMMA, meta={"max_trial": settings - 1, "max_session": 1, "max_member": most})
    sizes = [len(program) for program in programs(plan_of(spec, settings_a_program(spec, settings, workers, False)))]
    assert max(sizes) <= most and max(sizes) - min(sizes) <= 1 and sum(sizes) == settings
    rounds = [sizes[i : i + workers] for i in range(0, len(sizes), workers)]
    longest = sum(map(max, rounds))
    assert longest <= math.ceil(settings / workers) + len(rounds) - 1, "as if all were shared out"


def test_auto_makes_room_by_the_size_of_networks_and_memories() -> None:
    def sized(layers: list[int], **memory: Any) -> Spec:
        agent = json.loads(json.dumps(AGENT))
        agent["net"]["hid_layers"] = layers
        if memory:
            agent |= {"algorithm": {"name": "DQN"}, "memory": {"name": "Replay", **memory}}
        return spec_of({}, agent=agent)

    assert member_products(sized([64, 64])) == 2 * (4 * 64 + 64 * 64 + 64 * 2)
    assert room(sized([8])) == LARGEST
    assert 4 <= room(sized([256, 256])) <= 16
    assert room(sized([4096, 4096])) == 1
    assert memory_bytes(sized([8], max_size=10**7)) == [("agent.0.memory.max_size", 10**7 * 12 * 4)]
    assert room(sized([8], max_size=10**7)) == 2
    net = {"type": "RNN", "hid_layers": [64], "rnn_hidden_size": 32, "optim_spec": {"name": "Adam"}}
    recurrent = spec_of({}, agent=json.loads(json.dumps(AGENT)) | {"net": net})
    assert member_products(recurrent) == 2 * (4 * 64 + 3 * (64 + 32) * 32 + 32 * 2)
    pong = json.loads(json.dumps(AGENT)) | {"memory": {"name": "FrameReplay", "max_size": 10**5}}
    pong |= {"algorithm": {"name": "DQN"}, "net": {"type": "ConvNet", "optim_spec": {"name": "Adam"}}}
    of_images = spec_of({}, agent=pong, env={"name": "Pong-v5", "max_frame": 100})
    assert member_products(of_images) > 2 * 9e6, "a weight of a convolution counts as often as it is used"
    assert 0.7e9 < memory_bytes(of_images)[0][1] < 0.8e9 and room(of_images) == 1


WRONG: list[tuple[Keys, str]] = [
    ({"max_member": 1}, 'meta.max_member: 1 is less than the 2 sessions of a trial; set it to as many, or to "auto"'),
    ({"max_session": 1, "objective": {"aggregate": "lcb"}},
     "meta.objective.aggregate: one seed has no interval; set meta.max_session >= 2"),
    ({"objective": {"metric": "fitness_corrected", "mode": "min"}},
     "meta.objective.mode: failed seeds make fitness_corrected less, so with less being better they would win; "
     'use "max", or a metric that each seed has by itself'),
    ({"device": "cuda"}, 'meta.resources.gpu: meta.device "cuda" needs a GPU or a share of one; e.g. 0.25'),
]  # fmt: skip


@pytest.mark.parametrize(("meta", "message"), WRONG)
def test_what_a_search_cannot_do_is_a_spec_error_of_searches_alone(meta: Keys, message: str) -> None:
    assert [str(error) for error in problems(spec_of(GAMMA, meta=meta))] == [message]
    assert not problems(spec_of({}, meta=meta))


def test_what_ended_is_kept_of_whole_programs(tmp_path: Path) -> None:
    first = [Ended(0, "DONE", score=1.5), Ended(2, "FAILED", "too steep")]
    write_ended(tmp_path, first)
    write_ended(tmp_path, [Ended(1, "DONE", score=-1.0)])
    assert read_ended(tmp_path) == {0: first[0], 1: Ended(1, "DONE", score=-1.0), 2: first[1]}
    broken = tmp_path / "ended" / "program_0.json"
    for content in ("", broken.read_text()[:50], "[]", '{"a": 1}', '[{"trial": 0}]', "[1]"):
        broken.write_text(content)
        assert set(read_ended(tmp_path)) == {1}, "what cannot be read has not ended"


def test_several_objectives_are_told_together_or_not_at_all() -> None:
    assert Ended(1, "DONE", score=1.5).told == 1.5
    assert Ended(1, "DONE", score=1.5, others=[2.0, -1.0]).told == (1.5, 2.0, -1.0)
    assert Ended(1, "DONE", score=1.5, others=[2.0, None]).told is None, "one of them is no number"
    assert Ended(1, "FAILED", "too steep").told is None

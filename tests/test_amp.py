"""Mixed precision (meta.amp): products of networks in bfloat16, all else as it was; and on by nothing but its key."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from slmx import lab
from slmx.session import Program, Session
from slmx.spec.check import problems
from slmx.spec.model import Spec
from slmx.watch import Silence
from tests import test_members as members
from tests.programs import Keys, parameters, spec
from tests.test_resume import A2C, interrupted, resumed, whole

PRODUCTS = ("baddbmm", "bmm", "mm", "addmm", "convolution", "linear")


class Products(TorchDispatchMode):
    """Counts matrix products by the type of their numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[torch.dtype] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__.partition(".")[0] in PRODUCTS:
            self.seen.update({x.dtype for x in args if isinstance(x, torch.Tensor)})
        return func(*args, **(kwargs or {}))


def spec_of(way: str, amp: bool, kind: str = "discrete", **meta: Any) -> Spec:
    algorithm, memory, net, frames = members.WAYS[way]
    kwargs = {"actions": kind, "image": members.sees_images(way)}
    env = {"name": "tests.probes:Drift", "max_frame": frames // 4, "kwargs": kwargs}
    return spec(algorithm, memory, env, members.NET | net, members.BODIES, {"amp": amp, **meta})


def program(one: Spec, sessions: int = 2) -> Program:
    return Program([Session(one, 0, index) for index in range(sessions)], Silence())


def numbers(agent: Any) -> list[torch.Tensor]:
    """All that an agent keeps of what it has learned."""
    kept = [x for optimizer in agent.optimizers for x in (optimizer.flat, optimizer.steps, *optimizer.state)]
    return [*kept, *(p for network in agent.networks().values() for p in network.parameters())]


@pytest.mark.parametrize("way", [way for way in members.WAYS if way != "Random"])
def test_products_are_of_bfloat16_and_what_is_kept_of_float32(way: str) -> None:
    ends, kind = [], members.kinds_of(way)[0]
    for amp in (False, True):
        trained = program(spec_of(way, amp, kind))
        with Products() as products:
            trained.run()
        assert set(products.seen) == {torch.bfloat16 if amp else torch.float32}, products.seen
        agent = trained.agents[0]
        assert not trained.failures and {x.dtype for x in numbers(agent)} == {torch.float32}
        assert agent.optimizers[0].steps.min() >= 10
        ends.append(parameters(agent))
    assert not torch.equal(*ends)
    start = parameters(program(spec_of(way, False, kind)).agents[0])
    assert (ends[1] != start).any(1).all() and ends[1].isfinite().all()


def test_the_first_gradient_is_that_of_float32_but_for_rounding() -> None:
    """By the first step of Adam's mean of gradients."""
    means = []
    for amp in (False, True):
        agent: Any = program(spec_of("PPO", amp)).agents[0]
        rng = torch.Generator().manual_seed(0)
        x = torch.randn(2, 64, 4, generator=rng)[..., : agent.ports[0].obs_size]
        with agent.precision():
            policy, value = agent.net.both(0, x)
            loss = (policy.log_prob_entropy(torch.zeros(2, 64, dtype=torch.int64))[0] + (value - 1).square()).mean(1)
            assert loss.dtype == value.dtype == policy.logits.dtype == torch.float32
            agent.optim.step(loss)
            assert torch.is_autocast_enabled("cpu") == amp, "and the step leaves the precision as it was"
        means.append(agent.optim.state[0])
    near = torch.nn.functional.cosine_similarity(*means, dim=1)
    assert (near > 0.999).all() and not torch.equal(*means)


def test_changed_parameters_are_cast_anew() -> None:
    """Several steps within one update: a cast that was kept would be of the parameters before the first."""
    agent: Any = program(spec_of("A2C", True)).agents[0]
    x = torch.ones(2, 3, agent.ports[0].obs_size)
    with agent.precision():
        before = agent.net.value(0, x)
        agent.optim.step(before.square().mean(1))
        within = agent.net.value(0, x).detach()
    with agent.precision():
        assert torch.equal(agent.net.value(0, x), within) and not torch.equal(before, within)


def test_a_session_alone_is_that_session_in_company() -> None:
    together = parameters(_trained(spec_of("PPO", True), 4).agents[0])
    for index in (0, 3):
        alone = Program([Session(spec_of("PPO", True), 0, index)], Silence())
        alone.run()
        np.testing.assert_array_equal(parameters(alone.agents[0])[0], together[index])


def _trained(one: Spec, sessions: int) -> Program:
    trained = program(one, sessions)
    trained.run()
    return trained


def test_a_run_repeats_is_resumed_and_played(tmp_path: Path) -> None:
    env: Keys = {"name": "CartPole-v1", "max_frame": 600, "normalize_obs": True}
    meta: Keys = {"amp": True, "max_session": 2, "log_frequency": 50, "checkpoint_frequency": 150}
    one = spec(A2C, {"name": "Rollout"}, env, bodies=2, meta=meta)
    directory = interrupted(one, tmp_path, 350)
    assert resumed(directory) == whole(one, tmp_path)
    assert lab.enjoy(directory).repeats


def test_what_cannot_be_mixed_is_an_error() -> None:
    wrong = "meta.amp: mixes float32 with bfloat16, but meta.dtype is float64; leave one of them out"
    assert [str(error) for error in problems(spec_of("A2C", True, dtype="float64"))] == [wrong]
    random = spec({"name": "Random"}, {}, {"name": "CartPole-v1", "max_frame": 10}, {}, 1, {"amp": True})
    assert [str(error) for error in problems(random)] == ["meta.amp: does nothing: nobody learns"]
    assert not problems(spec_of("A2C", True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("way", ["PPO", "DQN"])
def test_products_on_a_gpu_are_of_bfloat16(way: str) -> None:
    trained = program(spec_of(way, True, device="cuda"))
    with Products() as products:
        trained.run()
    assert products.seen[torch.bfloat16] and not products.seen[torch.float32]
    assert not trained.failures and {(x.dtype, x.device.type) for x in numbers(trained.agents[0])} == {
        (torch.float32, "cuda")
    }

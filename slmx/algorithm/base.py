"""What every algorithm has: ports, hyperparameters stacked over members, streams, a clock and a log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from slmx.lazy import torch
from slmx.member.axis import How, Membered, chosen
from slmx.member.hyper import Hyper, NamedHyper, Stacked
from slmx.member.streams import Streams
from slmx.net.port import Port
from slmx.net.sequence import Carry

if TYPE_CHECKING:
    from slmx.env.base import Step
    from slmx.env.normalize import Normalizer
    from slmx.member.optim import Optimizer


@dataclass(frozen=True)
class Setting:
    """What an algorithm is built from; lists have an entry per member, those of ports and normalizers one per port.

    `net` and `memory` are the classes that the spec names, `optimizer` the one that the network's optim_spec names;
    `streams(purpose)` gives the members' random streams for a purpose; `amp`: whether products are of bfloat16.
    """

    ports: Sequence[Port]
    normalizers: Sequence[Normalizer]
    algorithm_hypers: Sequence[NamedHyper]
    memory: Any
    memory_hypers: Sequence[NamedHyper]
    net: Any
    net_hypers: Sequence[Hyper]
    optimizer: type[Optimizer]
    streams: Callable[[str], Streams]
    dtype: torch.dtype
    device: str
    amp: bool = False

    @property
    def members(self) -> int:
        return len(self.algorithm_hypers)


class Algorithm(Membered):
    """One agent of M sessions. Observations, actions and steps come as lists with an entry per port.

    An entry is None where the port's environment has ended. They come as the environments give them: the agent
    normalises them, each port by its `normalizers`. Everything that persists leads with the member axis: the
    `networks()`, what `optimize` makes, `memory`, and whatever a subclass adds to `copied`.
    """

    copied: ClassVar[tuple[str, ...]] = ("optimizers", "memory", "carry", "greedy_carry", "normalizers")
    own: ClassVar[tuple[str, ...]] = ("exploring", "learning", "_sums", "_counts")
    net: Any = None
    memory: Any = None

    Hyper: ClassVar[type[NamedHyper]]
    memories: ClassVar[tuple[str, ...]] = ()  # memories it can use, by name; its default first
    recurrent: ClassVar[tuple[str, ...]] = ()  # those of them with which it can have a recurrent network as its `net`
    actions: ClassVar[tuple[str, ...]] = ("discrete", "continuous")  # kinds that it takes; another is "multidiscrete"
    # keys of the network that only some algorithms use, and this one does
    net_keys: ClassVar[frozenset[str]] = frozenset()
    squashes: ClassVar[bool] = False  # whether its continuous actions stay in [-1, 1]: they need bounds to be scaled to
    renorms: ClassVar[bool] = False  # whether its networks normalise over batches
    learns: ClassVar[bool] = True  # whether it makes anything of what it observes and is rewarded with

    @classmethod
    def sees(cls, kind: str) -> bool:
        """Whether it takes images where actions are of a kind, one of `actions`."""
        return True

    @classmethod
    def unfit(cls, hyper: Any, kind: str) -> dict[str, str]:
        """Keys whose values do not fit actions of a kind that it takes, one of `actions`, and why."""
        return {}

    @classmethod
    def idle(cls, hyper: Any, memory: type[Any] | None, bodies: Sequence[int]) -> dict[str, str]:
        """Keys of any part of the agent that do nothing with these hyperparameters and that class of memory, and when.

        By their path below the agent, `net.shared`; each is an error where a spec gives it.
        `bodies`: of the agent in each of its environments; none where that is not known.
        """
        return {}

    @classmethod
    def misfits(cls, hyper: Any, bodies: Sequence[int]) -> dict[str, str]:
        """Keys whose values do not fit an agent with so many bodies in each of its environments, and why."""
        return {}

    @classmethod
    def misfits_of_sequences(cls, hyper: Any, bodies: Sequence[int]) -> dict[str, str]:
        """Likewise, keys whose values fit, but not where the network is recurrent."""
        return {}

    @classmethod
    def unlearned(
        cls, hyper: Any, memory: type[Any] | None, bodies: Sequence[int], steps: Sequence[int]
    ) -> dict[str, str]:
        """Keys with whose values all is over before anything is learned, and why.

        `bodies`: of the agent in each of its environments; `steps`: of each of them there, to the end of the training.
        """
        return {}

    def __init__(self, setting: Setting):
        self.setting, self.ports, self.members = setting, list(setting.ports), setting.members
        like = {"dtype": setting.dtype, "device": setting.device}
        self.hp = Stacked(setting.algorithm_hypers, **like)
        self.memory_hp = Stacked(setting.memory_hypers, **like)
        self.net_hp = Stacked(setting.net_hypers, **like)
        self.normalizers = list(setting.normalizers)
        self._discount_normalizers()
        self.exploring = setting.streams("explore")
        self.learning = setting.streams("learn")
        self.frame = 0  # of this agent's experience: environment steps of one member, all its bodies together
        self.updates = 0
        self.optimizers: list[Optimizer] = []
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, torch.Tensor] = {}  # of how many numbers the sums are: of each member,
        self._alike: dict[str, int] = {}  # and of all
        self._seen: list[torch.Tensor | None] = []  # the observations that were acted on, normalised
        told = getattr(self.net_hp, "prev_action_reward", False)
        if told:
            self.ports = [port.told() for port in self.ports]
        self.build()
        size = getattr(self.net, "state_size", 0)  # above 0 where the network is recurrent
        # what it carries from step to step while it learns; and in evaluations, which come in between
        self.carry = Carry(size, self.ports, told, setting.dtype) if size else None
        self.greedy_carry = Carry(size, self.ports, told, setting.dtype) if size else None

    def build(self) -> None:
        """Make networks, optimiser and memory."""
        raise NotImplementedError

    def begin(self, obs: Sequence[torch.Tensor | None]) -> None:
        """Told the first observations `[M, B, ...]` where episodes begin in every body."""
        for normalizer, x in zip(self.normalizers, obs, strict=True):
            if x is not None:
                normalizer.begin(x)

    def act(self, obs: Sequence[torch.Tensor | None], greedy: bool = False) -> list[torch.Tensor | None]:
        """An action for each observation `[M, B, ...]` of each port; the best known one where `greedy`."""
        with torch.no_grad(), self.precision():
            choose = self.exploit if greedy else self.explore
            carry = self.greedy_carry if greedy else self.carry
            seen: list[Any] = [
                None if x is None else normalizer.observe(x)
                for normalizer, x in zip(self.normalizers, obs, strict=True)
            ]
            if not greedy:
                self._seen = seen
            if carry is not None:
                seen = [None if x is None else carry.think(self.net, port, x) for port, x in enumerate(seen)]
            return [None if x is None else choose(port, x) for port, x in enumerate(seen)]

    def explore(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        """Actions while learning. `obs` `[M, B, ...]`, normalised; of a recurrent network the States it came to."""
        raise NotImplementedError

    def exploit(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        """Actions without exploration; `obs` likewise."""
        raise NotImplementedError

    def begin_evaluation(self) -> None:
        """Told before greedy episodes begin. Who draws numbers even then must start anew here, with own streams."""
        if self.greedy_carry is not None:
            self.greedy_carry.begin()

    def recall(self, port: int, action: torch.Tensor, reward: torch.Tensor, done: torch.Tensor) -> None:
        """Told what greedy actions led to, where the network is recurrent; nothing is learned."""
        if self.greedy_carry is not None:
            self.greedy_carry.advance(port, action, self.normalizers[port].scale(reward), done)

    def update(
        self, obs: Sequence[torch.Tensor | None], action: Sequence[torch.Tensor | None], step: Sequence[Step | None]
    ) -> None:
        """Take in one step of every port, of what was just acted on, and learn where it is time."""
        for port, (o, a, s) in enumerate(zip(obs, action, step, strict=True)):
            if o is not None and a is not None and s is not None:
                self.frame += o.shape[1]
                self.normalizers[port].count(s)
                kept_obs, kept = self.as_kept(port, o, s)
                if self.carry is None:
                    self.remember(port, kept_obs, a, kept)
                else:
                    reward = self.normalizers[port].scale(s.reward)
                    self.remember(port, *self.carry.lived(port, kept_obs, a, kept, reward))
                    self.carry.advance(port, a, reward, s.done)
        self._seen = []
        with self.precision():
            self.improve()

    def as_kept(self, port: int, obs: torch.Tensor, step: Step) -> tuple[torch.Tensor, Step]:
        """An observation and the step after it as they are remembered: normalised, each as it was met."""
        normalizer, seen = self.normalizers[port], self._seen[port]
        if not normalizer.active or seen is None:
            return obs, step
        return seen, replace(step, next_obs=normalizer.observe(step.next_obs), reward=normalizer.scale(step.reward))

    def remember(self, port: int, obs: torch.Tensor, action: torch.Tensor, step: Step) -> None:
        """Keep one step of a port, `as_kept`; its `obs`, of the step to come, is of no account."""

    def improve(self) -> None:
        """Learn, if it is time."""

    def precision(self) -> AbstractContextManager[Any]:
        """What networks and losses are worked out in; the optimiser leaves it for its step.

        Casts of parameters are not kept, for these change in place while it lasts.
        """
        if not self.setting.amp:
            return nullcontext()
        return torch.autocast(self.setting.device, torch.bfloat16, cache_enabled=False)

    def schedule(self) -> None:
        """Set all scheduled numbers to their values at the present frame."""
        for stacked in (self.hp, self.memory_hp, self.net_hp, *(optimizer.hp for optimizer in self.optimizers)):
            stacked.at(self.frame)

    def keep(self, index: Sequence[int]) -> None:
        super().keep(index)
        old = self.setting
        self.retune(
            [old.algorithm_hypers[i] for i in index],
            [old.memory_hypers[i] for i in index],
            [old.net_hypers[i] for i in index],
        )

    def become(self, how: How, index: Sequence[int], names: Sequence[str]) -> None:
        # before the optimisers, of whose tensors the parameters are views; what networks share is met once
        chosen(torch.nn.ModuleList(self.networks().values()), how, list(index))
        super().become(how, index, names)

    def retune(self, algorithm: Sequence[NamedHyper], memory: Sequence[NamedHyper], net: Sequence[Hyper]) -> None:
        """Go on with other hyperparameters, an entry per member, that differ in what may vary alone."""
        self.setting = replace(self.setting, algorithm_hypers=algorithm, memory_hypers=memory, net_hypers=net)
        self.members = self.setting.members
        for stacked, hypers in ((self.hp, algorithm), (self.memory_hp, memory), (self.net_hp, net)):
            stacked.restack(hypers)
        self._discount_normalizers()
        for optimizer in self.optimizers:
            optimizer.retune(self.net_hp.optim_spec, self.net_hp.clip_grad_val)

    def _discount_normalizers(self) -> None:
        """Have rewards normalised by returns as the agent discounts them; where it does not, by themselves."""
        gamma = getattr(self.hp, "gamma", None)
        for normalizer in self.normalizers:
            normalizer.retune(torch.zeros(self.members, 1) if gamma is None else gamma)

    def optimize(self, *networks: torch.nn.Module) -> Optimizer:
        """An optimiser of the given networks, as the spec's net block says."""
        parameters = [p for network in networks for p in network.parameters()]
        self.optimizers.append(self.setting.optimizer(parameters, self.net_hp.optim_spec, self.net_hp.clip_grad_val))
        return self.optimizers[-1]

    def networks(self) -> dict[str, torch.nn.Module]:
        """The networks whose parameters are the model, by name."""
        return {}

    def log(self, rows: torch.Tensor | None = None, known: torch.Tensor | None = None, **values: torch.Tensor) -> None:
        """Note numbers, each `[M]` or `[len(rows)]`, for the next row of the table, which shows their means.

        `known`: of which of `rows`, bool `[len(rows)]`, there is something to note; of all by default.
        """
        if rows is not None and known is not None:
            rows, values = rows[known], {name: value[known] for name, value in values.items()}
        for name, value in values.items():
            if name not in self._sums:
                zeros = torch.zeros(self.members, dtype=self.setting.dtype, device=self.setting.device)
                self._sums[name], self._counts[name], self._alike[name] = zeros, zeros.clone(), 0
            if rows is None:
                self._sums[name] += value.detach()
                self._alike[name] += 1
            else:
                self._sums[name][rows] += value.detach()
                self._counts[name][rows] += 1

    def drain(self) -> dict[str, list[float]]:
        """The means since the last call, by name, M numbers each (NaN where nothing was noted), and settings."""
        means = {
            name: (total / (self._counts[name] + self._alike[name])).tolist() for name, total in self._sums.items()
        }
        self._sums, self._counts, self._alike = {}, {}, {}
        return means | {name: value.flatten().tolist() for name, value in self.settings().items()}

    def settings(self) -> dict[str, torch.Tensor]:
        """Numbers `[M, 1]` that change over time, as they are now."""
        self.schedule()
        if not self.optimizers:
            return {}
        return {"opt_step": self.optimizers[0].steps, "lr": self.optimizers[0].hp.lr}

    @property
    def finite(self) -> torch.Tensor:
        """Which members `[M]` have had only finite losses and gradients."""
        finite = torch.ones(self.members, dtype=torch.bool, device=self.setting.device)
        for optimizer in self.optimizers:
            finite = finite & optimizer.finite
        return finite


def unfilled(horizon: int, bodies: Sequence[int], steps: Sequence[int]) -> dict[str, str]:
    """`unlearned` of an algorithm that learns from so many steps of each body at once."""
    if not steps or horizon <= max(steps):
        return {}
    frames = sum(own * count for own, count in zip(bodies, steps, strict=True))
    wrong = f"{horizon} steps of each body make an update, and in all {frames} frames there are {max(steps)}"
    return {"time_horizon": wrong}

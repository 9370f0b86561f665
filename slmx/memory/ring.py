"""Rows of several fields each, kept in a ring per member."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from slmx.lazy import torch
from slmx.member.axis import Membered
from slmx.memory import room


class Ring(Membered):
    """`capacity` rows per member, of fields shaped as `like`, each `[M, n, ...]`.

    The fields of a row lie side by side, because a random row costs one look into main memory, however many numbers it
    has. For that all are kept as `dtype` (whole numbers below 2**24 stay exact in float32); apart what is uint8, as
    images are, and what is int32.
    """

    def __init__(self, capacity: int, like: Sequence[torch.Tensor], dtype: torch.dtype):
        self.capacity, members, device = capacity, like[0].shape[0], like[0].device
        # of each field: its store, its columns there, the shape and type it comes back in
        self.places: list[tuple[torch.dtype, int, int, tuple[int, ...], torch.dtype]] = []
        widths: dict[torch.dtype, int] = {}
        for x in like:
            kind, shape = x.dtype if x.dtype in (torch.uint8, torch.int32) else dtype, tuple(x.shape[2:])
            start, width = widths.get(kind, 0), math.prod(shape)
            self.places.append((kind, start, width, shape, x.dtype))
            widths[kind] = start + width
        self.stores = {
            kind: room.zeros(members * capacity, width, like=like[0], dtype=kind) for kind, width in widths.items()
        }
        self.first = capacity * torch.arange(members, device=device)[:, None]

    def follow(self, index: Sequence[int]) -> None:
        by_member = {kind: store.view(len(self.first), self.capacity, -1) for kind, store in self.stores.items()}
        self.stores = {kind: room.chosen(rows, index).flatten(0, 1) for kind, rows in by_member.items()}
        self.first = self.first[: len(index)]

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.stores = {kind: room.settled(store) for kind, store in self.stores.items()}

    def write(self, head: int, fields: Sequence[torch.Tensor]) -> None:
        """Put rows `[M, n, ...]`, n at most `capacity`, from place `head` on."""
        for kind, store in self.stores.items():
            columns = [
                (x.unsqueeze(2) if x.ndim == 2 else x.flatten(2)).to(kind)
                for x, place in zip(fields, self.places, strict=True)
                if place[0] is kind
            ]
            rows = torch.cat(columns, 2)
            members, n, width = rows.shape
            until, ring = min(n, self.capacity - head), store.view(members, self.capacity, width)
            ring[:, head : head + until] = rows[:, :until]
            if until < n:
                ring[:, : n - until] = rows[:, until:]

    def read(self, index: torch.Tensor) -> list[torch.Tensor]:
        """Each member's own rows `index` `[M, N]`: the fields, each `[M, N, ...]`."""
        rows = (index + self.first).view(-1)
        drawn = {kind: store.index_select(0, rows).view(*index.shape, -1) for kind, store in self.stores.items()}
        fields = []
        for kind, start, width, shape, dtype in self.places:
            x = drawn[kind]
            field = x.narrow(2, start, width).reshape(*index.shape, *shape) if shape else x.select(2, start)
            fields.append(field if dtype is kind else field.to(dtype))
        return fields

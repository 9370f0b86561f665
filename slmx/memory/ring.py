"""Rows of several fields each, kept in a ring per member."""

from __future__ import annotations

import math
from collections.abc import Sequence

from slmx.lazy import torch


class Ring:
    """`capacity` rows per member, of fields shaped as `like`, each `[M, n, ...]`.

    The fields of a row lie side by side, because a random row costs one look into main memory, however many numbers it
    has. For that all are kept as `dtype` (whole numbers below 2**24 stay exact in float32); images, uint8, apart.
    """

    def __init__(self, capacity: int, like: Sequence[torch.Tensor], dtype: torch.dtype):
        self.capacity, members, device = capacity, like[0].shape[0], like[0].device
        self.places: list[tuple[torch.dtype, int, torch.Size, torch.dtype]] = []  # store, first column, shape, type
        widths: dict[torch.dtype, int] = {}
        for x in like:
            kind = torch.uint8 if x.dtype == torch.uint8 else dtype
            self.places.append((kind, widths.get(kind, 0), x.shape[2:], x.dtype))
            widths[kind] = widths.get(kind, 0) + math.prod(x.shape[2:])
        self.stores = {
            kind: torch.zeros(members, capacity, width, dtype=kind, device=device) for kind, width in widths.items()
        }
        self.first = capacity * torch.arange(members, device=device)[:, None]

    def write(self, head: int, fields: Sequence[torch.Tensor]) -> None:
        """Put rows `[M, n, ...]`, n at most `capacity`, from place `head` on."""
        for kind, store in self.stores.items():
            columns = [x.flatten(2) if x.ndim > 2 else x.unsqueeze(2) for x in fields]
            rows = torch.cat([x.to(kind) for x, place in zip(columns, self.places, strict=True) if place[0] is kind], 2)
            until = min(rows.shape[1], self.capacity - head)
            store[:, head : head + until] = rows[:, :until]
            if until < rows.shape[1]:
                store[:, : rows.shape[1] - until] = rows[:, until:]

    def read(self, index: torch.Tensor) -> list[torch.Tensor]:
        """Each member's own rows `index` `[M, N]`: the fields, each `[M, N, ...]`."""
        rows = (index + self.first).flatten()
        drawn = {
            kind: store.flatten(0, 1).index_select(0, rows).view(*index.shape, -1)
            for kind, store in self.stores.items()
        }
        return [
            drawn[kind].narrow(2, start, math.prod(shape)).reshape(*index.shape, *shape).to(dtype)
            for kind, start, shape, dtype in self.places
        ]

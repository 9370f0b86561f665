"""Pictures of what networks see while they learn (meta.save_state_img)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slmx.whole import whole, writing

PLACE = "img"  # the folder of a trial for them


def write_view(path: Path, image: np.ndarray) -> None:
    """Write an image `[C, H, W]` as a PNG file in shades of grey, its channels side by side, a stack's oldest first."""
    import imageio.v3 as imageio

    with writing(path):
        path.parent.mkdir(exist_ok=True)
    content = imageio.imwrite("<bytes>", np.concatenate(list(image), axis=1), extension=".png")
    with whole(path, "wb") as file:
        file.write(content)

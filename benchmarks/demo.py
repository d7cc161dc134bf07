"""Sample clips made by this project's own code, good ones and a degraded twin, for `make demo`.

python -m benchmarks demo FOLDER
"""

from pathlib import Path

import numpy as np

from features.degrade import degrade
from features.encode import write_clip
from features.synthetic import Scene, render

CLIPS = {
    "sea": Scene(720, 480, 48, pan_px=(3.0, 0.5), disc_px=(6.0, -1.0), disc_radius=60, seed=11),
    "dive": Scene(720, 480, 48, zoom=0.012, seed=23),
    "still": Scene(720, 480, 48, disc_px=(1.0, 0.0), disc_radius=40, seed=37),
}


def make(folder: Path) -> list[Path]:
    """Write the clips; `sea_degraded` is `sea` with a shaky camera, flickering light and blur."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = {name: render(scene) for name, scene in CLIPS.items()}
    twin = frames["sea"]
    for kind in ("jitter", "flicker", "blur"):
        twin = degrade(twin, kind, 2)
    frames["sea_degraded"] = np.ascontiguousarray(twin)
    return [
        Path(write_clip(folder / f"{name}.mp4", shown, fps=8)) for name, shown in frames.items()
    ]

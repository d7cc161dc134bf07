"""How often the measured score puts an original above its degraded copies, on clips with known
distortions.

    python -m benchmarks ladders [--data ../shared/ladders] [--json]

The folder holds NAME__original.mp4 and NAME__DISTORTION_LEVEL.mp4, all of one length and size.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import vqa


def report(folder: Path) -> Iterator[dict[str, object]]:
    """One dictionary per distortion, the last one over all of them."""
    files = sorted(folder.glob("*__*.mp4"))
    scores = vqa.load("measured").score_many(files)
    value = {path.stem: score.value for path, score in zip(files, scores, strict=True)}
    above: dict[str, list[bool]] = defaultdict(list)
    wrong: dict[str, list[str]] = defaultdict(list)
    for stem, degraded in value.items():
        name, copy = stem.rsplit("__", 1)
        original = value[f"{name}__original"]
        if copy == "original" or original is None or degraded is None:
            continue
        kind = copy.rsplit("_", 1)[0]
        above[kind].append(original > degraded)
        if original <= degraded:
            wrong[kind].append(stem)
    for kind, hits in above.items():
        yield {
            "distortion": kind,
            "pairs": len(hits),
            "original_above": sum(hits),
            "not": wrong[kind],
        }
    every = [hit for hits in above.values() for hit in hits]
    yield {"distortion": "all", "pairs": len(every), "share": round(sum(every) / len(every), 4)}


def print_report(folder: Path, *, as_json: bool) -> None:
    """Print one line per distortion."""
    for line in report(folder):
        print(json.dumps(line) if as_json else "  ".join(f"{k}={v}" for k, v in line.items()))

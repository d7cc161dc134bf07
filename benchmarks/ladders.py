"""Known distortions: is the original scored above its copies, and does the right feature move?

    python -m benchmarks ladders [--data ../shared/ladders] [--clip PATH ...] [--json]

The folder holds NAME__original.mp4 and NAME__DISTORTION_LEVEL.mp4, all of one length and size. For
each distortion the feature that was made for it must move one way from level to level. With --clip
the ladders are made here, from these clips and by the distortions that the judge was calibrated on:
the place for clips that no calibration has seen.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import vqa
from benchmarks.calibrate import ladders as rungs_of
from vqa.judges.measured import shipped_models
from vqa.score import weigh

MADE_FOR = {
    "flicker": "flicker_luma",
    "jitter": "jitter_px",
    "freeze": "repeated_share",
    "stall": "freeze_longest_s",
    "motion_reduced": "motion_speed_px",
    "blur": "sharpness",
    "compression": "blockiness",
    "noise": "noise",
    "overexposure": "luma",
    "underexposure": "luma",
    "desaturation": "colorfulness",
}


def made_report(clips: Sequence[Path]) -> Iterator[dict[str, object]]:
    """One dictionary per clip, on ladders made of it; the last one over all of them."""
    total, above = 0, 0
    for path in clips:
        original, *copies = rungs_of(path)
        best = _value(original.features)
        wrong = [f"{rung.kind}_{rung.level}" for rung in copies if _value(rung.features) >= best]
        total, above = total + len(copies), above + len(copies) - len(wrong)
        yield {"clip": path.name, "pairs": len(copies), "not": wrong}
    yield {"clip": "all", "pairs": total, "share": round(above / total, 4)}


def _value(features: Mapping[str, float | None]) -> float:
    """The measured score, from features alone."""
    models = shipped_models()
    answers = [
        question.answer(models[text].p_yes(features, text))
        for question in vqa.Checklist.load("visionreward-video").questions
        if (text := question.text.strip()) in models
    ]
    value = weigh(vqa.Checklist.load("visionreward-video"), answers).value
    return -1.0 if value is None else value


def report(folder: Path) -> Iterator[dict[str, object]]:
    """One dictionary per distortion, the last one over all of them."""
    files = sorted(folder.glob("*__*.mp4"))
    scores = vqa.load("measured").score_many(files)
    ladders = _ladders({p.stem: s for p, s in zip(files, scores, strict=True)})
    kinds = sorted({kind for _, kind in ladders})
    total, above = 0, 0
    for kind in kinds:
        rungs = {name: ladder for (name, k), ladder in ladders.items() if k == kind}
        wrong = [stem for ladder in rungs.values() for stem in _not_below(ladder)]
        count = sum(len(ladder) - 1 for ladder in rungs.values())
        total, above = total + count, above + count - len(wrong)
        feature = MADE_FOR.get(kind)
        yield {
            "distortion": kind,
            "pairs": count,
            "original_above": count - len(wrong),
            "not": wrong,
            "feature": feature,
            "monotone": sum(_is_monotone(ladder, feature) for ladder in rungs.values()),
            "ladders": len(rungs),
        }
    yield {"distortion": "all", "pairs": total, "share": round(above / total, 4)}


Ladder = Sequence[tuple[str, vqa.Score]]  # file stem and score, the original first


def _ladders(scores: Mapping[str, vqa.Score]) -> Mapping[tuple[str, str], Ladder]:
    found: dict[tuple[str, str], list[tuple[str, vqa.Score]]] = defaultdict(list)
    for stem, score in sorted(scores.items()):
        name, copy = stem.rsplit("__", 1)
        if copy != "original":
            kind = copy.rsplit("_", 1)[0]
            found[name, kind] = found[name, kind] or [(stem, scores[f"{name}__original"])]
            found[name, kind].append((stem, score))
    return found


def _not_below(ladder: Ladder) -> list[str]:
    (_, original), *copies = ladder
    best = original.value
    return [stem for stem, s in copies if best is None or s.value is None or s.value >= best]


def _is_monotone(ladder: Ladder, feature: str | None) -> bool:
    values = [score.features.get(feature or "") for _, score in ladder]
    known = [value for value in values if value is not None]
    rising = all(a < b for a, b in pairwise(known))
    return len(known) == len(values) and (rising or all(a > b for a, b in pairwise(known)))


def print_report(folder: Path, *, clips: Sequence[Path], as_json: bool) -> None:
    """Print one line per distortion, or per clip."""
    for line in made_report(clips) if clips else report(folder):
        print(json.dumps(line) if as_json else "  ".join(f"{k}={v}" for k, v in line.items()))

"""Calibrates the `measured` judge on degradation ladders and writes vqa/judges/measured.yaml.

    python -m benchmarks calibrate --clips DIR [--out FILE]

Each clip is cut to a few seconds, distorted at three strengths by `features.degrade`, encoded and
measured. A ladder says how good its clip is in the sub-dimensions that the distortion touches:
untouched 0.9, then 0.65, 0.4 and 0.15 of the annotated scale; elsewhere it stays as good as it was.
From these grades and the measured features a proportional-odds model per sub-dimension is fitted:
weights with the sign that the feature's meaning demands, and small (ridge), because a ladder knows
nothing of content. How much moves (camera, objects) has no good or bad: its grades are anchors on
speed.

The clips that the tests use are left out by name: the origins of ../shared/ladders and everything
that carries ratings.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import yaml
from scipy.optimize import minimize
from scipy.special import expit

import vqa
from features.clip import Clip
from features.degrade import CRF_LADDER, LADDERS, degrade
from features.encode import write_clip
from features.measure import measure
from features.synthetic import Scene, render
from vqa.judges.measured import Term

# Held out: origins of the test ladders, clips with human ratings, test patterns, damaged files,
# transcodes of one of them.
HELD_OUT = (
    "cogvideox_",
    "cam_flower",
    "ltx2_",
    "fmt_flower",
    "fetv_",
    "videoalign_",
    "aigve_",
    "test_",
    "bad_",
    "cam_carphone_distorted",
    "film_chaplin",
    "cam_rotated90",  # not clean to begin with, or three frames long
)
SECONDS, SIDE, CLEAN_CRF = 1.5, 480, 12
LEVEL_GRADE = (0.9, 0.65, 0.4, 0.15)
SHARPNESS_OF_GRADE = 0.12  # how far a grade may miss a rung before the answer is clear
ELSEWHERE = 0.25  # weight of a ladder in a sub-dimension that it does not touch

Features = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sub-dimension is judged by: features with the sign of their effect, distortions that
    touch it, rungs.

    rungs -- rung: grade above which it is a yes.

    """

    signs: Sequence[tuple[str, int]]
    touched_by: frozenset[str]
    rungs: Mapping[int, float]


LIGHT = (
    ("luma", 1),
    ("luma", -1),
    ("contrast", 1),
    ("clipped_bright_share", -1),
    ("clipped_dark_share", -1),
)
FOUR = {1: 0.2, 2: 0.4, 3: 0.6, 4: 0.8}
PLANS: dict[str, Plan] = {
    "color": Plan((("colorfulness", 1),), frozenset({"desaturation"}), {1: 0.3, 2: 0.5}),
    "lighting_accurate": Plan(
        LIGHT,
        frozenset({"overexposure", "underexposure"}),
        {1: 0.2, 2: 0.45, 3: 0.75},
    ),
    "lighting_aes": Plan(
        LIGHT,
        frozenset({"overexposure", "underexposure"}),
        {1: 0.3},
    ),
    "clear": Plan(
        (
            ("sharpness", 1),
            ("noise", -1),
            ("blockiness", -1),
        ),
        frozenset({"blur", "compression", "noise"}),
        FOUR,
    ),
    "detail_refinement": Plan(
        (
            ("sharpness", 1),
            ("noise", -1),
            ("blockiness", -1),
        ),
        frozenset({"blur", "compression", "noise"}),
        FOUR,
    ),
    "focus": Plan((("sharpness", 1),), frozenset({"blur"}), {1: 0.35, 2: 0.7}),
    "image_quality_stability": Plan(
        (
            ("flicker_luma", -1),
            ("flicker_local", -1),
            ("noise", -1),
        ),
        frozenset({"flicker", "noise"}),
        FOUR,
    ),
    "camera_movement": Plan(
        (
            ("jitter_pct_diagonal", -1),
            ("repeated_share", -1),
        ),
        frozenset({"jitter", "freeze", "stall", "slow"}),
        {1: 0.45},
    ),
    "camera_stability": Plan(
        (("jitter_pct_diagonal", -1),), frozenset({"jitter"}), {1: 0.35, 2: 0.7}
    ),
    "movement_smoothness": Plan(
        (
            ("repeated_share", -1),
            ("freeze_longest_s", -1),
        ),
        frozenset({"freeze", "stall", "slow"}),
        {1: 0.45, 2: 0.75},
    ),
    "shape_throughout": Plan(
        (
            ("warping_error_pct_diagonal", -1),
            ("flicker_local", -1),
        ),
        frozenset({"wobble"}),
        FOUR,
    ),
}
SHAPES: dict[str, Literal["linear", "sqrt", "log"]] = {
    "clipped_bright_share": "sqrt",
    "clipped_dark_share": "sqrt",
    "colorfulness": "sqrt",
    "sharpness": "linear",
    "noise": "log",
    "blockiness": "sqrt",
    "flicker_luma": "log",
    "flicker_local": "log",
    "jitter_pct_diagonal": "log",
    "repeated_share": "sqrt",
    "freeze_longest_s": "sqrt",
    "warping_error_pct_diagonal": "log",
}
# Below these values clips are equally good: clean ones differ by content, not by quality.
SMALLEST = {
    "noise": 0.7,
    "blockiness": 0.08,
    "flicker_luma": 0.008,
    "flicker_local": 0.01,
    "jitter_pct_diagonal": 0.02,
    "warping_error_pct_diagonal": 0.1,
}
# Fixed ranges: more colour counts up to the most vivid clips, more contrast up to the usual, and
# of light too little and too much are both wrong: dark is below a quarter, glaring above
# a half.
RANGES = {
    ("luma", 1): (0.05, 0.25),
    ("luma", -1): (0.5, 0.9),
    ("contrast", 1): (0.03, 0.15),
    ("colorfulness", 1): (0.0, 130.0),
}
# Speeds in % of the diagonal per second at which rungs "not static", "not minimal", "dynamic" and
# "highly dynamic" tip over. An object covers a small part of the picture, and its speed is a mean
# over all of it.
SPEEDS = {
    "camera_motion_dynamic": ("camera_travel_pct_diagonal_s", (0.3, 1.5, 5.0, 15.0)),
    "object_motion_dynamic": ("object_speed_pct_diagonal_s", (0.05, 0.3, 1.0, 3.0)),
}


@dataclass(frozen=True, slots=True)
class Rung:
    """One measured clip of a ladder."""

    clip: str
    kind: str
    level: int
    features: Features


def clips_in(folder: Path) -> list[Path]:
    """Clips to calibrate on: those of the folder that no test and no rating uses."""
    suffixes = {".mp4", ".mkv", ".mov", ".webm", ".gif"}
    return sorted(
        p for p in folder.iterdir() if p.suffix in suffixes and not p.name.startswith(HELD_OUT)
    )


def excerpt(path: Path) -> tuple[npt.NDArray[np.uint8], float]:
    """The first seconds of a clip, (T, H, W, 3) uint8 RGB with a long side of at most 480 and
    even sides; its rate.
    """
    clip = Clip.open(path)
    with clip.stream() as stream:
        frames = [f.rgb for f in islice(stream, max(16, round(SECONDS * clip.fps)))]
    height, width = frames[0].shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = (int(width * scale) // 2 * 2, int(height * scale) // 2 * 2)
    return np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames]), clip.fps


def ladders(path: Path) -> Iterator[Rung]:
    """Measure the clip untouched and at every level of every distortion."""
    frames, fps = excerpt(path)
    for kind, level in [
        ("none", 0),
        *((k, v) for k in (*LADDERS, "compression") for v in (1, 2, 3)),
    ]:
        crf = CRF_LADDER[level - 1] if kind == "compression" else CLEAN_CRF
        shown = (
            frames
            if kind in ("none", "compression")
            else degrade(frames, kind, level, seed=len(frames))
        )
        yield Rung(path.name, kind, level, _encoded(shown, fps, crf))


def scenes() -> Iterator[Rung]:
    """Synthetic shots of several speeds: smooth motion, nothing wrong with it."""
    for seed, speed in enumerate((0.0, 0.5, 2.0, 5.0)):
        scene = Scene(pan_px=(speed, 0.3 * speed), disc_px=(2.0, 1.0), disc_radius=30, seed=seed)
        yield Rung(f"synthetic_{seed}", "none", 0, _encoded(render(scene), 24.0, CLEAN_CRF))


def _encoded(frames: npt.NDArray[np.uint8], fps: float, crf: int) -> Features:
    with tempfile.TemporaryDirectory() as folder:
        return measure(write_clip(Path(folder) / "clip.mp4", frames, fps=fps, crf=crf)).features


def fit(plan: Plan, rungs: Sequence[Rung], texts: Mapping[int, str]) -> dict[str, object]:
    """Proportional-odds model of one sub-dimension, as plain data for the file."""
    known = [r for r in rungs if all(r.features.get(f) is not None for f, _ in plan.signs)]
    terms = [_term(feature, sign, known) for feature, sign in plan.signs]
    places = np.array([[t.place(r.features[t.feature] or 0.0) for t in terms] for r in known])
    touched = np.array([r.kind in plan.touched_by for r in known])
    grades = np.array(
        [LEVEL_GRADE[r.level] if t else LEVEL_GRADE[0] for r, t in zip(known, touched, strict=True)]
    )
    weight = np.where(touched | np.array([r.kind == "none" for r in known]), 1.0, ELSEWHERE)
    weight *= _balanced(grades, weight)
    targets = expit((grades[:, None] - np.array(list(plan.rungs.values()))) / SHARPNESS_OF_GRADE)
    signs = np.array([sign for _, sign in plan.signs])
    weights, thresholds = _solve(places, targets, weight, signs)
    return {
        "terms": [
            {
                "feature": t.feature,
                "weight": _short(w),
                "low": t.low,
                "high": t.high,
                "shape": t.shape,
            }
            for t, w in zip(terms, weights, strict=True)
        ],
        "thresholds": {
            texts[rung]: _short(z) for rung, z in zip(plan.rungs, thresholds, strict=True)
        },
    }


def _term(feature: str, sign: int, rungs: Sequence[Rung]) -> Term:
    if (feature, sign) in RANGES:
        return Term(feature, 0.0, *RANGES[feature, sign], "linear")
    values = np.array([r.features[feature] for r in rungs], np.float64)
    low, high = (float(v) for v in np.quantile(values, (0.01, 0.99)))
    low = max(low, SMALLEST.get(feature, 0.0))
    return Term(feature, 0.0, _short(low), _short(max(high, 1.1 * low + 1e-3)), SHAPES[feature])


def _balanced(
    grades: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Factors that give every grade the same say: untouched clips are few, ladders elsewhere
    many.
    """
    total = {g: weight[grades == g].sum() for g in np.unique(grades)}
    return np.array([1.0 / total[g] for g in grades])


def _solve(
    places: npt.NDArray[np.float64],
    targets: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    signs: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weights with the given signs and free thresholds: cross-entropy against soft targets,
    ridge of 0.01.
    """
    count = places.shape[1]

    def loss(x: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        z = (places @ x[:count])[:, None] - x[count:]
        p = expit(z)
        entropy = np.logaddexp(0, z) - targets * z
        slope = weight[:, None] * (p - targets)
        gradient = np.concatenate([places.T @ slope.sum(1) + 0.02 * x[:count], -slope.sum(0)])
        return float((weight[:, None] * entropy).sum() + 0.01 * (x[:count] ** 2).sum()), gradient

    start = np.concatenate([signs.astype(float), np.zeros(targets.shape[1])])
    bounds = [(0, None) if s > 0 else (None, 0) for s in signs] + [(None, None)] * targets.shape[1]
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B")
    return found.x[:count], found.x[count:]


def speed_model(
    feature: str, anchors: Sequence[float], texts: Mapping[int, str]
) -> dict[str, object]:
    """A model on the logarithm of speed: half yes at each anchor, twice the speed makes it four
    to one.
    """
    low, high = anchors[0] / 4, anchors[-1] * 4
    steep = np.log(4) / np.log(2) * np.log(high / low)
    term = Term(feature, 1.0, low, high, "log")
    return {
        "terms": [
            {
                "feature": feature,
                "weight": _short(steep),
                "low": _short(low),
                "high": _short(high),
                "shape": "log",
            }
        ],
        "thresholds": {
            texts[rung]: _short(steep * term.place(a)) for rung, a in enumerate(anchors, start=1)
        },
    }


def calibrate(rungs: Iterable[Rung]) -> Mapping[str, object]:
    """All models of the `measured` judge by sub-dimension, as plain data for the file."""
    seen = list(rungs)
    texts = question_texts()
    return {name: fit(plan, seen, texts[name]) for name, plan in PLANS.items()} | {
        name: speed_model(*speeds, texts[name]) for name, speeds in SPEEDS.items()
    }


def question_texts() -> dict[str, dict[int, str]]:
    """Texts of the video checklist by sub-dimension and rung, 1 the easiest."""
    texts: dict[str, dict[int, str]] = defaultdict(dict)
    for question in vqa.Checklist.load("visionreward-video").questions:
        texts[question.sub_dimension][question.rung] = question.text.strip()
    return texts


def write(models: Mapping[str, object], clips: Sequence[str], out: Path) -> None:
    """Write the parameter file with its provenance."""
    text = yaml.safe_dump(
        {
            "provenance": {
                "command": "python -m benchmarks calibrate --clips ../shared/videos",
                "method": "proportional odds on degradation ladders; see benchmarks/calibrate.py",
                "ladders": {k: list(v[1]) for k, v in LADDERS.items()}
                | {"compression": list(CRF_LADDER)},
                "clips": list(clips),
                "speed_anchors_pct_diagonal_s": {k: list(v[1]) for k, v in SPEEDS.items()},
            },
            "models": dict(models),
        },
        sort_keys=False,
        width=120,
    )
    head = "# Parameters of the `measured` judge, written by the command below.\n"
    out.write_text(head + text, encoding="utf-8")


def main(folder: Path, out: Path) -> None:
    """Measure the ladders of all clips of `folder`, fit, and write the parameter file."""
    paths = clips_in(folder)
    with ProcessPoolExecutor() as pool:
        rungs = [rung for ladder in pool.map(_told, paths) for rung in ladder] + list(scenes())
    write(calibrate(rungs), [p.name for p in paths], out)
    print(f"{len(rungs)} measured clips -> {out}")


def _told(path: Path) -> list[Rung]:
    print(path.name, flush=True)
    return list(ladders(path))


def _short(value: float) -> float:
    return float(f"{value:.4g}")

"""The benchmarks run end to end on small input and compute what they say."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import calibrate, demo, measured
from benchmarks.calibrate import PLANS, RANGES, SMALLEST, SPEEDS, Rung
from benchmarks.measured import Pair, agreement, pairs_of
from features.encode import write_clip
from features.synthetic import Scene, render
from vqa.judges.measured import models_from


def run(*arguments: str) -> list[dict[str, object]]:
    command = [sys.executable, "-m", "benchmarks", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_speed_features_reports_ratios_of_one_run(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", render(Scene(frames=8)), fps=8)
    cases = run("speed", "features", "--clip", clip, "--minutes", "0", "--repeats", "1")
    timed = cases[0]
    assert timed["ratio"] == pytest.approx(
        float(str(timed["measure_s"])) / float(str(timed["decode_s"])), rel=0.05
    )
    assert [case["case"] for case in cases[1:]] == ["vqa --help", "vqa score (6 s, 720x480)"]


def test_the_demo_makes_a_good_clip_and_its_degraded_twin(tmp_path: Path) -> None:
    names = [path.name for path in demo.make(tmp_path / "demo")]
    assert "sea.mp4" in names and "sea_degraded.mp4" in names


def test_notes_become_pairs_with_the_preferred_clip_first() -> None:
    rows = [
        {"file": "a", "prompt": "p", "notes": "human mean of 3 (1-5): static=3.0, temporal=2.0"},
        {"file": "b", "prompt": "p", "notes": "human mean of 3 (1-5): static=4.0, temporal=2.0"},
        {"file": "c", "prompt": "q", "notes": "pair 1; human preference VQ=B, MQ=same, TA=A"},
        {"file": "d", "prompt": "q", "notes": "pair 1; human preference VQ=B, MQ=same, TA=A"},
        {"file": "e", "prompt": "q", "notes": "nothing known"},
    ]
    assert pairs_of(rows) == [
        Pair("p", "static", "b", "a"),
        Pair("q", "visual quality", "d", "c"),
        Pair("q", "text alignment", "c", "d"),
    ]


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-1, 1)), min_size=1, max_size=30))
def test_agreement_is_the_share_of_pairs_with_a_tie_as_half(drawn: list[tuple[int, float]]) -> None:
    pairs = [Pair(str(g), "x", f"b{i}", f"w{i}") for i, (g, _) in enumerate(drawn)]
    scores = {f"b{i}": margin for i, (_, margin) in enumerate(drawn)} | {
        f"w{i}": 0.0 for i in range(len(drawn))
    }
    share, low, high = agreement(pairs, scores)
    expected = np.mean([1.0 if m > 0 else 0.5 if m == 0 else 0.0 for _, m in drawn])
    assert share == pytest.approx(expected)
    assert 0.0 <= low <= high <= 1.0


def test_agreement_with_ratings_runs_on_a_folder(tmp_path: Path) -> None:
    for name, seed in (("a.mp4", 1), ("b.mp4", 2)):
        write_clip(tmp_path / name, render(Scene(frames=8, seed=seed)), fps=8)
    (tmp_path / "manifest.csv").write_text(
        "file,prompt,notes\n"
        'a.mp4,p,"human mean of 3 (1-5): static=3.0, temporal=2.0"\n'
        'b.mp4,p,"human mean of 3 (1-5): static=4.0, temporal=1.0"\n'
    )
    lines = list(measured.report(tmp_path))
    assert [line["aspect"] for line in lines] == ["all but the prompt", "static", "temporal"]
    assert [line["pairs"] for line in lines] == [2, 1, 1]
    assert lines[0]["agreement"] == 0.5  # one way or the other, the two aspects disagree


def planted(rng: np.random.Generator) -> list[Rung]:
    """Ladders whose features get worse by a known amount per level."""
    signs = {name: sign for plan in PLANS.values() for name, sign in reversed(plan.signs)}
    kinds = sorted(set().union(*(plan.touched_by for plan in PLANS.values())))
    rungs = []
    for clip in range(6):
        for kind, level in [("none", 0), *((k, v) for k in kinds for v in (1, 2, 3))]:
            touched = {n for p in PLANS.values() if kind in p.touched_by for n, _ in p.signs}
            values: dict[str, float | None] = {}
            for name, sign in signs.items():
                low, high = RANGES.get((name, sign), (SMALLEST.get(name, 0.01), 0.0))
                high = high or 50 * low
                place = 0.5 + 0.36 * sign + 0.02 * float(rng.standard_normal())
                place -= 0.24 * sign * level * (name in touched)
                values[name] = low + (high - low) * place
            rungs.append(Rung(str(clip), kind, level, values))
    return rungs


def test_calibration_recovers_the_planted_order_with_the_demanded_signs(tmp_path: Path) -> None:
    rungs = planted(np.random.default_rng(0))
    data = calibrate.calibrate(rungs)
    calibrate.write(data, ["x"], tmp_path / "measured.yaml")
    read = yaml.safe_load((tmp_path / "measured.yaml").read_text())["models"]
    models = models_from(read)
    for name, plan in PLANS.items():
        for term, (_, sign) in zip(read[name]["terms"], plan.signs, strict=True):
            assert term["weight"] * sign >= 0
        text = next(iter(read[name]["thresholds"]))
        kind = sorted(plan.touched_by)[0]
        by_level = [
            np.mean(
                [models[text].p_yes(r.features, text) for r in rungs if (r.kind, r.level) == at]
            )
            for at in [("none", 0), (kind, 1), (kind, 2), (kind, 3)]
        ]
        assert by_level == sorted(by_level, reverse=True), name


def test_speed_anchors_are_where_the_answer_tips_over() -> None:
    models = models_from(calibrate.calibrate(planted(np.random.default_rng(1))))
    texts = calibrate.question_texts()
    for name, (feature, anchors) in SPEEDS.items():
        for rung, anchor in enumerate(anchors, start=1):
            text = texts[name][rung]
            assert models[text].p_yes({feature: anchor}, text) == pytest.approx(0.5, abs=0.01)
            assert models[text].p_yes({feature: 2 * anchor}, text) == pytest.approx(0.8, abs=0.01)

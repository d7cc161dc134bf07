"""The measured judge: what it answers, what it leaves open, and that degraded twins score lower."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import vqa
from benchmarks import ladders
from benchmarks.calibrate import HELD_OUT
from features.clip import Clip
from features.degrade import LADDERS, degrade
from features.measure import FEATURES
from features.synthetic import Scene, render
from vqa.judges.measured import Measured, Model, Term, shipped_models

SHEET = vqa.Checklist.load("visionreward-video")
FILE = yaml.safe_load(files("vqa.judges").joinpath("measured.yaml").read_text())
SHAPES = st.sampled_from(["linear", "sqrt", "log"])


@given(SHAPES, st.floats(0.001, 10), st.floats(0.01, 100), st.lists(st.floats(0, 1000), min_size=2))
def test_a_place_rises_with_the_value_and_stays_between_nought_and_one(
    shape: str, low: float, span: float, values: list[float]
) -> None:
    term = Term("x", 1.0, low, low + span, shape)  # type: ignore[arg-type]
    places = [term.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(0.0 <= place <= 1.0 for place in places)
    assert term.place(low) == 0.0
    assert term.place(low + span) == pytest.approx(1.0)


def test_a_model_is_a_logistic_function_of_its_terms() -> None:
    model = Model((Term("a", 2.0, 0.0, 1.0), Term("b", -1.0, 0.0, 10.0)), {"Sharp?": 0.5})
    z = 2.0 * 0.25 - 1.0 * 0.6 - 0.5
    assert model.p_yes({"a": 0.25, "b": 6.0}, "Sharp?") == pytest.approx(1 / (1 + np.exp(-z)))
    assert model.p_yes({"a": 0.25, "b": None}, "Sharp?") is None
    assert model.p_yes({"a": 0.25}, "Sharp?") is None


@given(st.lists(st.floats(0, 1), min_size=len(FEATURES), max_size=len(FEATURES)))
def test_a_stricter_rung_is_never_likelier(places: list[float]) -> None:
    features = {f.name: 100.0 * place**4 for f, place in zip(FEATURES, places, strict=True)}
    models = shipped_models()
    for sub_dimension in {q.sub_dimension for q in SHEET.questions}:
        rungs = sorted(
            (q for q in SHEET.questions if q.sub_dimension == sub_dimension), key=lambda q: q.rung
        )
        texts = [q.text.strip() for q in rungs if q.text.strip() in models]
        found = [models[text].p_yes(features, text) for text in texts]
        assert found == sorted(found, key=lambda p: -(p or 0.0))


def test_every_model_is_about_the_video_checklist_and_measured_features() -> None:
    texts = {q.text.strip(): q for q in SHEET.questions}
    names = {feature.name for feature in FEATURES}
    for text, model in shipped_models().items():
        assert text in texts
        assert {term.feature for term in model.terms} <= names


def test_it_never_answers_about_the_prompt_letters_physics_or_safety() -> None:
    measurement = vqa.load("measured").score(Clip.from_frames(render(Scene(frames=8)), fps=8))
    silent = {"alignment", "letters", "physics_law", "safety", "shape_at_beginning"}
    by_id = {q.id: q for q in SHEET.questions}
    for answer in measurement.answers:
        if by_id[answer.id].sub_dimension in silent:
            assert answer.p_yes is None


def test_a_single_frame_leaves_motion_open_and_answers_clarity() -> None:
    scorer, clip = vqa.load("measured"), Clip.from_frames(render(Scene(frames=1)), fps=8)
    clear, stable = scorer.ask(clip, ["clear.very_clear", "camera_stability.very_stable"])
    assert clear.p_yes is not None
    assert stable.p_yes is None
    still, moving = scorer.score(clip), scorer.score(Clip.from_frames(render(Scene()), fps=8))
    assert 0 < (still.coverage or 0) < (moving.coverage or 0)


def test_a_similar_question_of_another_checklist_stays_open() -> None:
    image = vqa.Checklist.load("visionreward-image")
    answers = Measured().ask(Clip.from_frames(render(Scene(frames=1)), fps=8), image.questions)
    assert all(answer.p_yes is None for answer in answers)


def test_calibration_saw_no_clip_that_tests_use() -> None:
    clips = FILE["provenance"]["clips"]
    assert len(clips) >= 20
    assert not [name for name in clips if name.startswith(HELD_OUT)]
    assert FILE["provenance"]["ladders"].keys() == {*LADDERS, "compression"}


@pytest.mark.parametrize("kind", [*LADDERS])
def test_the_original_scores_above_its_degraded_twin(kind: str) -> None:
    scene = Scene(320, 240, 24, pan_px=(1.5, 0.4), disc_px=(3.0, 0.0), disc_radius=30, seed=2)
    frames = render(scene)
    scorer = vqa.load("measured")
    clips = [Clip.from_frames(degrade(frames, kind, level), fps=24) for level in (0, 2, 3)]
    original, *twins = (scorer.score(clip).value or 0.0 for clip in clips)
    assert all(original > twin for twin in twins)


@pytest.mark.slow
def test_the_shared_ladders_are_in_order(shared: Path) -> None:
    *kinds, total = ladders.report(shared / "ladders")
    assert total["pairs"] == 99
    assert float(str(total["share"])) >= 0.95
    assert {kind["distortion"]: kind["monotone"] for kind in kinds} == dict.fromkeys(
        ladders.MADE_FOR, 3
    )

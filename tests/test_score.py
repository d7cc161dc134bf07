import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqa.checklist import Checklist, Question
from vqa.comparison import compare
from vqa.errors import BadArgument, EmptyFile
from vqa.score import Score, plain, weigh

VIDEO = Checklist.load("visionreward-video")
IMAGE = Checklist.load("visionreward-image")
TOTAL = math.fsum(q.weight for q in VIDEO.weighted)
KEYS = [
    "path",
    "prompt",
    "scorer",
    "status",
    "error",
    "warnings",
    "score",
    "scales",
    "coverage",
    "dimensions",
    "answers",
    "features",
    "sampled",
    "clip",
    "version",
    "elapsed_s",
]

p_or_none = st.none() | st.floats(0, 1)
video_answers = st.lists(p_or_none, min_size=29, max_size=29)
image_answers = st.lists(p_or_none, min_size=30, max_size=30)


def _close(a: float | None, b: float) -> bool:
    return a is not None and math.isclose(a, b, rel_tol=0, abs_tol=1e-12)


def _parts(score: Score) -> float:
    return math.fsum(part for part in score.dimensions.values() if part is not None)


@given(video_answers)
def test_dimensions_and_answers_of_a_video_sum_to_the_value(answers: list[float | None]) -> None:
    score = VIDEO.score(answers)
    if score.value is None:
        assert answers == [None] * 29
        return
    assert _close(score.value, _parts(score))
    assert _close(score.value, math.fsum(a.contribution or 0.0 for a in score.answers))


@given(image_answers, p_or_none)
def test_dimensions_and_answers_of_an_image_sum_to_the_value(
    answers: list[float | None], alignment: float | None
) -> None:
    score = IMAGE.score(answers, alignment=alignment)
    if score.value is not None:
        assert _close(score.value, _parts(score))
        assert _close(score.value, math.fsum(a.contribution or 0.0 for a in score.answers))


@given(video_answers)
def test_paper_is_half_of_n_binary_plus_all_weights(answers: list[float | None]) -> None:
    score = VIDEO.score(answers)
    binary = score.scales["binary"]
    if binary is not None:
        assert _close(score.scales["paper"], (29 * binary + TOTAL) / 2)


@given(video_answers)
def test_no_answer_weighs_as_p_one_half_in_the_default_scale(answers: list[float | None]) -> None:
    score = VIDEO.score(answers)
    halves = VIDEO.score([0.5 if p is None else p for p in answers])
    assert halves.value is not None
    assert score.value is None or _close(score.value, halves.value)


@given(video_answers)
def test_coverage_is_the_answered_share_of_the_weight(answers: list[float | None]) -> None:
    answered = [q.weight for q, p in zip(VIDEO.weighted, answers, strict=True) if p is not None]
    assert _close(VIDEO.score(answers).coverage, math.fsum(answered) / TOTAL)


@given(video_answers)
def test_a_row_is_json_without_nan(answers: list[float | None]) -> None:
    row = VIDEO.score(answers).row()
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_hard_answers_give_the_same_on_both_scales() -> None:
    score = VIDEO.score([1.0, 0.0] * 14 + [1.0])
    assert _close(score.scales["probability"], score.scales["binary"] or 0.0)


def test_all_yes_is_the_top_of_the_published_scales() -> None:
    scales = VIDEO.score([1.0] * 29).scales
    assert _close(scales["binary"], 0.21645422762093175)
    assert _close(scales["paper"], 6.277172601007019)
    assert _close(VIDEO.score([0.0] * 29).scales["paper"], 0.0)


def test_yes_needs_more_than_one_half() -> None:
    def binary(p: float) -> float | None:
        return VIDEO.score([p] + [None] * 28).scales["binary"]

    weight = VIDEO.weighted[0].weight
    assert _close(binary(0.5), -weight / 29)
    assert _close(binary(0.5000001), weight / 29)


def test_nothing_answered_is_no_score_and_not_zero() -> None:
    score = VIDEO.score([None] * 29)
    assert score.value is None and score.coverage == 0.0
    assert set(score.scales.values()) == {None} and set(score.dimensions.values()) == {None}


def test_dimension_with_nothing_answered_is_none() -> None:
    score = VIDEO.score([0.9] + [None] * 28)
    assert score.dimensions["alignment"] == score.value
    assert score.dimensions["dynamic"] is None


def test_literal_replies_follow_the_released_rule() -> None:
    hard = VIDEO.score_texts(["yes", " yes", "Yes", "yes.", "", None] + ["no"] * 23)
    assert [a.p_yes for a in hard.answers[:7]] == [1.0, 0.0, 0.0, 0.0, 0.0, None, 0.0]


def test_nan_is_no_answer() -> None:
    assert VIDEO.score([math.nan] * 29).value is None


@pytest.mark.parametrize("p", [-0.1, 1.1, math.inf])
def test_probability_outside_0_to_1_is_refused(p: float) -> None:
    with pytest.raises(BadArgument, match=r"alignment.all: P\(yes\) must lie in \[0, 1\]"):
        VIDEO.score([p] + [None] * 28)


@pytest.mark.parametrize("count", [0, 28, 30, 64])
def test_wrong_number_of_answers_is_refused(count: int) -> None:
    with pytest.raises(BadArgument, match=f"{count} answers for 29 questions"):
        VIDEO.score([0.5] * count)


def test_alignment_is_refused_where_there_is_no_such_term() -> None:
    with pytest.raises(BadArgument, match="has no alignment term"):
        VIDEO.score([0.5] * 29, alignment=0.5)


def test_unknown_id_is_refused() -> None:
    with pytest.raises(BadArgument, match="has no question 'nonsense'"):
        VIDEO.weigh({"nonsense": 0.5})


# Images -----------------------------------------------------------------------------------------


def _image(alignment: float | None = None, **p_yes: float) -> Score:
    answers: dict[str, float | None] = {k.replace("__", "."): p for k, p in p_yes.items()}
    return IMAGE.weigh(answers | {"alignment.vqascore": alignment})


def test_masked_answers_count_nothing_and_are_covered() -> None:
    body = [q for q in IMAGE.weighted if q.mask == "body.present"]
    score = IMAGE.weigh({"body.present": 0.0} | {q.id: 1.0 for q in body})
    assert score.scales == {"probability": 0.0, "binary": 0.0, "paper": pytest.approx(_rest(body))}
    total = math.fsum(q.weight for q in IMAGE.counted)
    assert _close(score.coverage, math.fsum(q.weight for q in body) / total)


def _rest(answered: list[Question]) -> float:
    """What unanswered questions weigh on the paper's scale: half."""
    others = [q for q in IMAGE.weighted if q not in answered]
    return math.fsum(q.weight for q in others) / 2


def test_without_its_mask_an_answer_cannot_be_used() -> None:
    score = _image(hands__perfect=1.0)
    assert score.value is None and score.coverage == 0.0


def test_default_scale_is_what_binary_is_expected_to_be() -> None:
    p = {"hands.present": 0.7, "hands.perfect": 0.8}
    soft = IMAGE.weigh(p).value
    expected = 0.0
    for outcome in itertools.product((0.0, 1.0), repeat=2):
        chance = math.prod(x if o else 1 - x for o, x in zip(outcome, p.values(), strict=True))
        hard = IMAGE.weigh(dict(zip(p, outcome, strict=True))).scales["binary"]
        expected += chance * (hard or 0.0)
    assert _close(soft, expected)


def test_alignment_enters_as_it_is() -> None:
    score = _image(alignment=0.25)
    assert IMAGE.alignment is not None
    assert _close(score.value, 0.25 * IMAGE.alignment.weight)
    assert score.scales["binary"] == score.value


def test_missing_alignment_lowers_the_coverage() -> None:
    without = IMAGE.score([1.0] * 30)
    assert without.coverage is not None and without.coverage < 0.55
    assert IMAGE.score([1.0] * 30, alignment=0.5).coverage == 1.0
    assert without.dimensions["alignment"] is None


# The object and its row -------------------------------------------------------------------------


def test_row_has_exactly_these_keys_in_this_order() -> None:
    row = VIDEO.score([0.5] * 29).row()
    assert list(row) == KEYS
    assert list(row["answers"][0]) == ["id", "text", "dimension", "p_yes", "weight", "contribution"]
    assert list(row["sampled"]) == ["indices", "times_s"]
    assert list(row["clip"]) == [
        "width",
        "height",
        "frames",
        "duration_s",
        "fps",
        "codec",
        "sha256",
    ]


def test_failed_row_has_the_same_keys() -> None:
    row = Score.failed(EmptyFile("x.mp4: is empty"), path="x.mp4", scorer="measured").row()
    assert list(row) == KEYS
    assert row["status"] == "error" and row["score"] is None and row["coverage"] is None
    assert row["error"] == {"kind": "empty_file", "message": "x.mp4: is empty"}


def test_error_without_a_kind_is_an_internal_one() -> None:
    row = Score.failed(ZeroDivisionError("division by zero")).row()
    assert row["error"]["kind"] == "internal_error"
    assert row["error"]["message"].startswith("ZeroDivisionError: division by zero (a fault in")


def test_every_asked_question_is_in_the_row_answered_or_not() -> None:
    answers = VIDEO.score([0.5] + [None] * 28).answers
    assert [a.id for a in answers] == [q.id for q in VIDEO.weighted]
    assert [a.p_yes for a in answers] == [0.5] + [None] * 28
    assert [a.contribution for a in answers] == [0.0] + [None] * 28


def test_unweighted_question_is_in_the_row_when_it_was_answered() -> None:
    score = VIDEO.weigh({"camera_stability.very_stable": 0.75})
    answer = score.answer("camera_stability.very_stable")
    assert (answer.p_yes, answer.weight, answer.contribution) == (0.75, 0.0, 0.0)
    assert len(score.answers) == 30 and score.value is None


def test_answer_of_a_question_that_was_not_asked_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        VIDEO.score([None] * 29).answer("camera_stability.very_stable")


def test_answer_text_has_no_newline() -> None:
    assert all(a.text == a.text.strip() for a in VIDEO.score([0.5] * 29).answers)


def test_logits_stay_with_the_answer() -> None:
    answer = VIDEO.weighted[0].answer(0.9, logit_yes=3.0, logit_no=0.8)
    kept = weigh(VIDEO, [answer]).answers[0]
    assert (kept.logit_yes, kept.logit_no, kept.p_yes) == (3.0, 0.8, 0.9)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (math.inf, None),
        (np.float32(0.5), 0.5),
        (np.float64("nan"), None),
        (np.array([1.0, math.nan]), [1.0, None]),
        (np.int64(3), 3),
        ({"a": (1, math.nan)}, {"a": [1, None]}),
        (True, True),
        ("text", "text"),
    ],
)
def test_plain_leaves_only_what_json_has(value: Any, expected: Any) -> None:
    assert plain(value) == expected


def test_repr_says_value_coverage_and_dimensions() -> None:
    shown = repr(VIDEO.score([0.93] + [None] * 28))
    assert shown.startswith("Score(+0.0283, coverage=0.15, dimensions={'alignment': 0.0283}")
    assert repr(Score.failed(EmptyFile("x"), path="x")) == "Score(error='empty_file', path='x')"


# Two scores -------------------------------------------------------------------------------------


@given(video_answers, video_answers)
def test_parts_of_a_comparison_sum_to_its_difference(
    first: list[float | None], second: list[float | None]
) -> None:
    found = compare(VIDEO.score(first), VIDEO.score(second))
    if found.difference is None:
        assert found.winner is None
        return
    assert _close(found.difference, math.fsum(d or 0.0 for d in found.dimensions.values()))
    assert _close(found.difference, math.fsum(d.difference for d in found.answers))
    sizes = [abs(d.difference) for d in found.answers]
    assert sizes == sorted(sizes, reverse=True)


def test_better_clip_wins_and_the_same_clip_ties() -> None:
    good, bad = VIDEO.score([0.9] * 29), VIDEO.score([0.2] * 29)
    assert [compare(good, bad).winner, compare(bad, good).winner] == ["a", "b"]
    assert compare(good, good).winner == "tie"


def test_nothing_wins_against_a_failed_clip() -> None:
    found = compare(VIDEO.score([0.9] * 29), Score.failed(EmptyFile("x: is empty"), path="x"))
    assert found.winner is None and found.difference is None
    assert found.row()["b"]["error"] == {"kind": "empty_file", "message": "x: is empty"}
    json.dumps(found.row(), allow_nan=False)


def _replied(sheet: Checklist, replies: dict[str, str], p_yes: float) -> Score:
    """All questions answered with one P(yes); some of them with a literal reply."""
    return weigh(sheet, [q.answer(p_yes, reply=replies.get(q.id)) for q in sheet.asked])


def test_a_literal_reply_decides_on_binary_and_paper_only() -> None:
    first, second, third = VIDEO.weighted[:3]
    replies = {first.id: "yes", second.id: "Yes", third.id: ""}
    score = _replied(VIDEO, replies, 0.3)
    assert _close(score.scales["probability"], -0.4 * TOTAL / 29)
    assert _close(score.scales["binary"], (2 * first.weight - TOTAL) / 29)
    assert _close(score.scales["paper"], first.weight)
    likely = _replied(VIDEO, replies, 0.7)  # the others are a yes by P
    denied = second.weight + third.weight
    assert _close(likely.scales["binary"], (TOTAL - 2 * denied) / 29)


@given(st.lists(st.sampled_from(["yes", "no", "", "Yes", "yes."]), min_size=29, max_size=29))
def test_all_replies_known_is_the_released_score(replies: list[str]) -> None:
    said = dict(zip((q.id for q in VIDEO.asked), replies, strict=True))
    expected = VIDEO.score_texts(replies).scales
    for p_yes in (0.1, 0.9):
        scales = _replied(VIDEO, said, p_yes).scales
        assert _close(scales["binary"], expected["binary"] or 0.0)
        assert _close(scales["paper"], expected["paper"] or 0.0)


def test_an_image_reply_must_end_to_be_a_yes_and_a_mask_listens_to_it() -> None:
    whole = {q.id: IMAGE.yes_text for q in IMAGE.asked}
    body = {q.id: "yes" for q in IMAGE.asked[:1]}  # goes on: its mask says no
    masked = sum(q.weight for q in IMAGE.weighted if q.mask == IMAGE.asked[0].id)
    full, less = (_replied(IMAGE, replies, 0.9) for replies in (whole, whole | body))
    assert masked and _close(less.scales["binary"], (full.scales["binary"] or 0.0) - masked)
    assert full.scales["probability"] == less.scales["probability"]


def test_a_reply_without_a_probability_is_no_answer() -> None:
    score = weigh(VIDEO, [q.answer(None, reply="yes") for q in VIDEO.asked])
    assert score.value is None and score.scales["binary"] is None

"""The released scoring functions of VisionReward, case by case (data/visionreward_scores.json)."""

import json
from pathlib import Path
from typing import Any

import pytest

from vqa.checklist import Checklist
from vqa.comparison import compare

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "visionreward_scores.json").read_text()
)
VIDEO = Checklist.load("visionreward-video")
IMAGE = Checklist.load("visionreward-image")


@pytest.mark.parametrize("case", GOLDEN["video"])
def test_video_score_equals_the_released_one(case: dict[str, Any]) -> None:
    assert VIDEO.score_texts(case["answers"]).scales["binary"] == pytest.approx(
        case["score"], abs=1e-12
    )


@pytest.mark.parametrize("case", GOLDEN["video_compare"])
def test_released_pairwise_rule_is_the_sign_of_the_binary_difference(case: dict[str, Any]) -> None:
    first, second = (VIDEO.score_texts(case[key]) for key in ("answers1", "answers2"))
    preferred = compare(first, second, scale="binary").winner == "a"  # a tie prefers the second
    assert preferred is case["video1_preferred"]


@pytest.mark.parametrize("case", GOLDEN["image"])
def test_image_score_equals_the_released_one(case: dict[str, Any]) -> None:
    # The script catches the exception and counts a no (None in the file); here that is said as "".
    replies = ["" if reply is None else reply for reply in case["answers"]]
    score = IMAGE.score_texts(replies, alignment=case["alignment"])
    assert score.scales["binary"] == pytest.approx(case["score"], abs=1e-12)


def test_golden_file_has_all_its_cases() -> None:
    assert [len(GOLDEN[key]) for key in ("video", "video_compare", "image")] == [8, 7, 9]

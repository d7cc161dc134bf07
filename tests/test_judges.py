import numpy as np

from features.clip import Clip
from vqa.checklist import Checklist, Question
from vqa.judges.base import Judge
from vqa.judges.scripted import Scripted

VIDEO = Checklist.load("visionreward-video")
CLIP = Clip.from_frames(np.zeros((2, 16, 16, 3), np.uint8))
STABLE = VIDEO.find("camera_stability.very_stable") or Question(id="", text="")


def test_scripted_answers_by_id_text_and_exact_text() -> None:
    sent = VIDEO.weighted[3]
    for key in (sent.id, sent.text, sent.text.strip()):
        assert [a.p_yes for a in Scripted({key: 0.7}).ask(CLIP, [sent])] == [0.7]


def test_scripted_leaves_the_rest_unanswered_or_gives_the_default() -> None:
    assert Scripted({}).ask(CLIP, [STABLE])[0].p_yes is None
    assert Scripted({}, default=0.5).ask(CLIP, [STABLE])[0].p_yes == 0.5


def test_scripted_asks_a_function_of_clip_and_question() -> None:
    judge = Scripted(lambda clip, question: clip.height / 64 if question is STABLE else None)
    answers = judge.ask(CLIP, [STABLE, VIDEO.weighted[0]])
    assert [a.p_yes for a in answers] == [0.25, None]


def test_answers_come_in_order_with_the_weights_of_the_questions() -> None:
    answers = Scripted({}, default=0.5).ask(CLIP, VIDEO.weighted)
    assert [a.id for a in answers] == [q.id for q in VIDEO.weighted]
    assert [a.weight for a in answers] == [q.weight for q in VIDEO.weighted]


def test_scripted_is_a_judge() -> None:
    judge: Judge = Scripted({})
    assert (judge.name, judge.sees) == ("scripted", "frames")

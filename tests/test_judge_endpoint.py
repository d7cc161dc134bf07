"""A judge on a server: a real one on localhost, with the faults that real ones have."""

from __future__ import annotations

import json
import math
import os
import pickle
import socket
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vqa
from features.clip import Clip
from tests.chat_server import MODEL, Chat, chatting, p_of, pictures_of
from tests.conftest import busy
from vqa.checklist import Checklist, Question
from vqa.errors import BadArgument, BadEndpoint, OverLimit
from vqa.judges.base import Answers, Ask, BatchJudge
from vqa.judges.cache import user_cache
from vqa.judges.crew import done_by
from vqa.judges.endpoint import Endpoint
from vqa.judges.reply import Reading, read
from vqa.judges.wording import OF_FRAMES, PLAIN
from vqa.score import Answer
from vqa.spelling import side_of, side_of_reply

CLIP = Clip.from_frames(np.stack(busy(3)))
OTHER = Clip.from_frames(np.stack(busy(4)))
FAULTS = ("429", "503", "cut", "reset", "malformed", "empty", "500")


@pytest.fixture
def chat() -> Iterator[Chat]:
    with chatting() as chat:
        yield chat


def judge(chat: Chat, **options: Any) -> Endpoint:
    """A judge that is in a hurry and keeps nothing, unless told otherwise."""
    return Endpoint(chat.url, **{"cache": None, "backoff_s": 0.005, **options})


def questions(count: int) -> list[Question]:
    return [Question(id=f"q{n}", text=f"Is this number {n}?\n", weight=1.0) for n in range(count)]


def number_of(text: str) -> int:
    return int(text.split("number ")[1].split("?")[0])


def p_yes(answers: Sequence[Answer]) -> list[float | None]:
    return [answer.p_yes for answer in answers]


# How an answer is read --------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["yes", "Yes", "YES", " yes", "\u2581Yes", "\u0120yes", "yes\n"])
def test_a_spelling_of_yes_is_a_yes(token: str) -> None:
    assert side_of(token) == "yes"


@pytest.mark.parametrize("token", ["", " ", "Y", "Yes,", "yess", "not", "Now", "yes no", "\u2581"])
def test_what_may_go_on_differently_is_no_spelling(token: str) -> None:
    assert side_of(token) is None


def test_a_reply_is_read_by_its_first_word() -> None:
    assert [side_of_reply(r) for r in ("Yes.", " **No**, it is", "no")] == ["yes", "no", "no"]
    assert [side_of_reply(r) for r in ("", "...", "Nothing", "It is: yes")] == [None] * 4


def listed(tokens: dict[str, float]) -> dict[str, Any]:
    """A completion with these tokens and probabilities."""
    top: list[Any] = [{"token": t, "logprob": math.log(p)} for t, p in tokens.items()]
    chosen = max(top, key=lambda entry: entry["logprob"])
    return {"choices": [{"logprobs": {"content": [{**chosen, "top_logprobs": top}]}}]}


@given(
    st.dictionaries(
        st.sampled_from(["yes", "Yes", " YES", "no", "No", " no", "Y", "Yes,", "maybe"]),
        st.floats(1e-9, 1.0),
        min_size=1,
    ),
    st.randoms(),
)
def test_p_yes_is_the_mass_of_yes_over_that_of_yes_and_no(
    tokens: dict[str, float], rng: Any
) -> None:
    yes = math.fsum(p for t, p in tokens.items() if t.strip().lower() == "yes")
    no = math.fsum(p for t, p in tokens.items() if t.strip().lower() == "no")
    order = list(tokens)
    rng.shuffle(order)
    reading = read(listed({token: tokens[token] for token in order}))
    expected = yes / (yes + no) if yes + no else None
    assert reading.p_yes == (None if expected is None else pytest.approx(expected, rel=1e-12))
    assert (reading.log_yes is None) == (yes == 0) and (reading.log_no is None) == (no == 0)


def test_the_chosen_token_counts_once_whether_listed_or_not() -> None:
    completion = listed({"yes": 0.2, "no": 0.1})
    content = completion["choices"][0]["logprobs"]["content"][0]
    assert read(completion).p_yes == pytest.approx(2 / 3)
    content["top_logprobs"] = content["top_logprobs"][1:]  # the server lists only "no"
    assert read(completion).p_yes == pytest.approx(2 / 3)


def test_minus_infinity_is_no_probability_and_nan_is_a_fault() -> None:
    completion = listed({"yes": 0.5, "no": 0.5})
    top = completion["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    top[1]["logprob"] = -math.inf
    assert read(completion) == Reading(1.0, math.log(0.5), None, share=0.5)
    top[1]["logprob"] = math.nan
    with pytest.raises(ValueError, match="not a number"):
        read(completion)


# What is sent -----------------------------------------------------------------------------------


def test_answers_are_the_servers_probabilities_in_order(chat: Chat) -> None:
    asked = questions(40)
    answers = judge(chat).ask(CLIP, asked)
    urls = chat.asked[0].urls
    expected = [p_of(OF_FRAMES.replace("{question}", q.text), urls) for q in asked]
    assert p_yes(answers) == pytest.approx(expected, abs=1e-12)
    assert [a.id for a in answers] == [q.id for q in asked]
    odds = [a.logit_yes - a.logit_no for a in answers]  # type: ignore[operator]
    assert odds == pytest.approx([math.log(p / (1 - p)) for p in expected])
    assert {a.reply for a in answers} == {None}


def test_all_questions_of_a_clip_share_every_byte_before_the_question(chat: Chat) -> None:
    judge(chat).ask(CLIP, questions(5))
    heads = {one.raw[: one.raw.index(b"These are frames")] for one in chat.asked}
    assert len(heads) == 1 and heads.pop().count(b"data:image/jpeg;base64,") == 3


def test_media_comes_first_and_one_token_with_its_likeliest_is_wanted(chat: Chat) -> None:
    judge(chat, parameters={"seed": 7}).ask(CLIP, questions(1))
    (asked,) = chat.asked
    assert [part["type"] for part in asked.parts] == ["image_url"] * 3 + ["text"]
    assert asked.text == "These are frames of one video, in order of time.\nIs this number 0?\n" + (
        "\nAnswer with yes or no."
    )
    rest = {k: v for k, v in asked.body.items() if k not in ("messages", "model")}
    assert rest == {
        **{"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20},
        "seed": 7,
    }
    assert asked.body["model"] == MODEL  # the only one that is served


def test_frames_arrive_as_they_are(chat: Chat) -> None:
    judge(chat, coding="png").ask(CLIP, questions(1))
    sent = [np.asarray(picture) for url in chat.asked[0].urls for picture in pictures_of(url)]
    assert np.array_equal(np.stack(sent), CLIP.frames())
    judge(chat).ask(CLIP.at([2, 0]), questions(1))
    sent = [np.asarray(picture) for url in chat.asked[1].urls for picture in pictures_of(url)]
    off = np.stack(sent).astype(int) - CLIP.frames()[[2, 0]]
    assert np.abs(off).mean() < 2  # JPEG


def test_a_video_part_holds_all_frames(chat: Chat) -> None:
    judge(chat, media="video").ask(CLIP, questions(1))
    (asked,) = chat.asked
    assert [part["type"] for part in asked.parts] == ["video_url", "text"]
    assert asked.text.startswith("Is this number 0?")
    assert [p.size for p in pictures_of(asked.urls[0])] == [(CLIP.width, CLIP.height)] * 3


def test_several_frames_are_made_smaller_and_one_is_left_alone(chat: Chat) -> None:
    small = judge(chat, max_pixels=1536)
    small.ask(CLIP, questions(1))
    small.ask(CLIP.at([1]), questions(1))
    sizes = [pictures_of(one.urls[0])[0].size for one in chat.asked]
    assert sizes == [(48, 32), (96, 64)]
    assert chat.asked[1].text == PLAIN.replace("{question}", "Is this number 0?\n")


def test_the_prompt_goes_into_the_question_as_it_is(chat: Chat) -> None:
    asked = [Question(id="q", text='Does it show "[[prompt]]"?')]
    judge(chat, template="Q: {question}").ask(CLIP, asked, prompt='a "{question}" \u00e9')
    assert chat.asked[0].text == 'Q: Does it show "a "{question}" \u00e9"?'


def test_the_first_question_of_a_clip_goes_ahead_of_the_others(chat: Chat) -> None:
    chat.plan = lambda text, attempt: "slow"
    judge(chat, concurrency=6).ask_many([Ask(clip, questions(6)) for clip in (CLIP, OTHER)])
    assert [number_of(one.text) for one in chat.asked[:2]] == [0, 0]
    late = [one.at_s for one in chat.asked[2:]]
    assert min(late) >= max(one.at_s for one in chat.asked[:2]) + 0.05  # after both answers


def test_no_more_requests_at_a_time_than_allowed(chat: Chat) -> None:
    chat.plan = lambda text, attempt: "slow"
    judge(chat, concurrency=3).ask(CLIP, questions(13))
    assert chat.most_together == 3


# Faults -----------------------------------------------------------------------------------------


def test_200_questions_with_a_fault_in_five_lose_none_and_repeat_none(chat: Chat) -> None:
    def plan(text: str, attempt: int) -> str:
        number = number_of(text)
        if (number + 2 * attempt) % 5 == 0:
            return FAULTS[number % len(FAULTS)]
        return "slow" if number % 11 == 0 else "answer"

    chat.plan = plan
    answers = judge(chat).ask(CLIP, questions(200))
    texts = [OF_FRAMES.replace("{question}", q.text) for q in questions(200)]
    assert p_yes(answers) == pytest.approx([p_of(t, chat.asked[0].urls) for t in texts])
    assert chat.answered == dict.fromkeys(texts, 1)
    assert len(chat.asked) == 240  # one try in five was a fault, and only those were repeated


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_tried_again(chat: Chat, fault: str) -> None:
    chat.plan = lambda text, attempt: fault if attempt < 3 else "answer"
    assert judge(chat).ask(CLIP, questions(1))[0].p_yes is not None
    assert len(chat.asked) == 3


def test_waits_double(chat: Chat) -> None:
    chat.plan = lambda text, attempt: "500" if attempt < 4 else "answer"
    judge(chat, backoff_s=0.08).ask(CLIP, questions(1))
    waits = np.diff([one.at_s for one in chat.asked])
    assert (waits >= [0.04, 0.08, 0.16]).all()


@pytest.mark.parametrize("dated", [False, True])
def test_retry_after_is_waited_for(chat: Chat, dated: bool) -> None:
    when = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2), usegmt=True)
    after = when if dated else "1"
    chat.plan = lambda text, attempt: "answer" if attempt > 1 else f"429:{after}"
    judge(chat).ask(CLIP, questions(1))
    first, second = (one.at_s for one in chat.asked)
    assert second >= first + (0.5 if dated else 1.0)  # a date has whole seconds


def test_a_server_that_closes_for_an_hour_is_not_waited_for(chat: Chat) -> None:
    chat.plan = lambda text, attempt: "503:3600"
    with pytest.raises(BadEndpoint, match=r"it answers 503.*tried once"):
        judge(chat).ask(CLIP, questions(1))


def test_a_question_that_keeps_failing_stays_open_and_says_so(chat: Chat) -> None:
    chat.plan = lambda text, attempt: "500" if number_of(text) == 2 else "answer"
    (answers,) = judge(chat, tries=3).ask_many([Ask(CLIP, questions(4))])
    assert isinstance(answers, Answers)
    assert [a.p_yes is None for a in answers] == [False, False, True, False]
    assert chat.tries(chat.asked[-1].text) == 3
    (note,) = answers.warnings
    assert note.startswith("1 of 4 questions left unanswered") and "it answers 500" in note


def test_a_question_left_open_is_told_in_the_row(chat: Chat) -> None:
    chat.plan = lambda text, attempt: "500" if "camera" in text else "answer"
    score = vqa.load("visionreward-video", judge=judge(chat, tries=1)).score(CLIP)
    open_ = [a for a in score.answers if a.p_yes is None and "[[prompt]]" not in a.text]
    assert open_ and all("camera" in a.text for a in open_)
    assert 0 < (score.coverage or 0) < 1 and "left unanswered" in score.row()["warnings"][0]


def test_a_refused_question_is_not_repeated_and_stays_open(chat: Chat) -> None:
    chat.plan = lambda text, attempt: "400" if number_of(text) == 0 else "answer"
    answers = judge(chat).ask(CLIP, questions(3))
    assert [a.p_yes is None for a in answers] == [True, False, False]
    assert len(chat.asked) == 3


def test_a_clip_without_any_answer_is_an_error_and_costs_no_other(chat: Chat) -> None:
    width = str(OTHER.width)
    chat.plan = lambda text, attempt: "500" if width in text else "answer"
    asks = [Ask(CLIP, questions(3)), Ask(OTHER, [Question(id="w", text=f"Is it {width}?")])]
    first, second = judge(chat, tries=2).ask_many(asks)
    assert isinstance(first, list) and None not in p_yes(first)
    assert isinstance(second, BadEndpoint) and "tried 2 times" in str(second)


def test_a_hanging_answer_is_given_up_and_asked_again(chat: Chat) -> None:
    chat.plan = lambda text, attempt: "hang" if attempt == 1 else "answer"
    answers = judge(chat, timeout_s=0.3).ask(CLIP, questions(1))
    assert answers[0].p_yes is not None and len(chat.asked) == 2


def test_an_answer_that_trickles_in_is_given_up_as_well() -> None:
    """Each byte comes in time, so that only a limit on the whole ends it."""
    stop = threading.Event()

    def trickle(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(10**7)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not stop.wait(0.03):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=trickle, args=(server,))
        thread.start()
        slow = Endpoint(
            f"http://127.0.0.1:{server.getsockname()[1]}/v1",
            model=MODEL,
            cache=None,
            timeout_s=0.3,
            tries=1,
        )
        with pytest.raises(BadEndpoint, match=r"no whole answer in 0\.3 s"):
            slow.ask(CLIP, questions(1))
        stop.set()
        thread.join()


def test_a_proxy_for_the_internet_is_not_asked_for_a_server_on_this_machine(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert None not in p_yes(judge(chat, tries=1).ask(CLIP, questions(2)))


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_an_unreachable_server_is_an_error_row_for_each_clip() -> None:
    gone = Endpoint(f"http://127.0.0.1:{closed_port()}/v1", cache=None, backoff_s=0.001)
    scorer = vqa.load("visionreward-video", judge=gone)
    rows = [score.row() for score in scorer.score_many([CLIP, OTHER])]
    assert [row["error"]["kind"] for row in rows] == ["endpoint", "endpoint"]
    assert "nobody answers" in rows[0]["error"]["message"]
    assert "tried 3 times" in rows[0]["error"]["message"]


def test_a_server_that_has_gone_away_is_an_error() -> None:
    with chatting() as chat:
        known = judge(chat, model=MODEL)
        assert None not in p_yes(known.ask(CLIP, questions(2)))
    with pytest.raises(BadEndpoint, match="nobody answers"):
        known.ask(CLIP, questions(2))


@pytest.mark.parametrize(("status", "way_out"), [(401, "OPENAI_API_KEY"), (404, "ends in /v1")])
def test_what_is_refused_for_all_is_asked_once(chat: Chat, status: int, way_out: str) -> None:
    chat.plan = lambda text, attempt: str(status)
    found = judge(chat, concurrency=1).ask_many([Ask(CLIP, questions(9)), Ask(OTHER, questions(9))])
    assert all(isinstance(one, BadEndpoint) and way_out in str(one) for one in found)
    assert len(chat.asked) == 1


def test_a_clip_that_cannot_be_shown_costs_itself_only(chat: Chat, tmp_path: Path) -> None:
    class Unseen:
        """A clip whose frames are too many."""

        name, sha256, indices, times_s = "unseen", "00", (0,), CLIP.times_s

        def images(self) -> list[object]:
            raise OverLimit("too much")

    unseen: Any = Unseen()
    found = judge(chat).ask_many([Ask(unseen, questions(2)), Ask(CLIP, questions(2))])
    assert isinstance(found[0], OverLimit) and isinstance(found[1], list)


def test_too_many_frames_are_refused_before_decoding(chat: Chat) -> None:
    with pytest.raises(BadArgument, match="513 frames are more than the 512"):
        judge(chat).ask(CLIP.at([0] * 513), questions(1))


# Servers that do less ---------------------------------------------------------------------------


@pytest.mark.parametrize("logprobs", ["ignored", "refused"])
def test_without_probabilities_the_reply_is_read_and_it_is_said_once(
    chat: Chat, logprobs: str, caplog: pytest.LogCaptureFixture
) -> None:
    chat.logprobs = logprobs
    asked, known = questions(12), judge(chat, concurrency=1)
    answers = known.ask(CLIP, asked)
    known.ask(OTHER, asked)
    assert len(caplog.messages) == 1 and "gives no probabilities" in caplog.messages[0]
    expected = [p_of(OF_FRAMES.replace("{question}", q.text), chat.asked[0].urls) for q in asked]
    assert p_yes(answers) == [float(p > 0.5) for p in expected]
    assert [a.reply for a in answers] == ["Yes." if p > 0.5 else "No" for p in expected]
    refusals = 1 if logprobs == "refused" else 0
    assert len(chat.asked) == 24 + refusals  # after the first it is known


def test_an_unclear_reply_is_unanswered_and_never_a_no(chat: Chat) -> None:
    chat.logprobs, chat.reply = "ignored", lambda p: "The video shows"
    (answer,) = judge(chat).ask(CLIP, questions(1))
    assert answer.p_yes is None and answer.reply == "The video shows"


@pytest.mark.parametrize("name", ["visionreward-video", "visionreward-image"])
def test_a_reply_counts_as_what_it_says_on_every_scale(chat: Chat, name: str) -> None:
    """The released rule compares with the exact reply of CogVLM2; "Yes." is a yes here."""
    chat.logprobs = "ignored"
    sheet, still = Checklist.load(name), CLIP.at([0])
    scorer = vqa.load(name, judge=judge(chat), checklist=sheet)
    score = scorer.score(still, prompt="a wall")
    assert ["read from replies" in note for note in score.warnings] == [True]
    assert {a.reply for a in score.answers} == {"Yes.", "No"}
    hard = sheet.weigh({a.id: a.p_yes for a in score.answers})
    assert score.scales == pytest.approx(hard.scales) and score.coverage == 1.0


def test_neither_yes_nor_no_among_the_likeliest_is_unanswered(
    chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    chat.tokens = lambda p: {"<think>": 0.99, "The": 0.01}
    assert p_yes(judge(chat).ask(CLIP, questions(3))) == [None] * 3
    assert "begins with something other than yes or no" in caplog.text


def test_one_side_alone_is_sure(chat: Chat) -> None:
    chat.tokens = lambda p: {"Yes": 0.9, "Well": 0.1}
    (answer,) = judge(chat).ask(CLIP, questions(1))
    assert answer.p_yes == 1.0 and answer.logit_no is None


def test_a_server_of_several_models_asks_which(chat: Chat) -> None:
    chat.models = ["a", "b"]
    with pytest.raises(BadEndpoint, match=r"serves 2 models \(a, b\); say which"):
        judge(chat).ask(CLIP, questions(1))
    judge(chat, model="b").ask(CLIP, questions(1))
    assert chat.asked[-1].body["model"] == "b"


# The key ----------------------------------------------------------------------------------------

SECRET = "sk-very-secret"


def test_the_key_travels_in_the_header_only(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    judge(chat).ask(CLIP, questions(1))
    judge(chat, api_key=" another\n").ask(CLIP, questions(1))
    assert [one.key for one in chat.asked] == [f"Bearer {SECRET}", "Bearer another"]
    assert SECRET.encode() not in chat.asked[0].raw
    assert "another" not in repr(judge(chat, api_key="another"))


@pytest.mark.parametrize("status", ["401", "400", "500"])
def test_a_server_that_repeats_the_key_does_not_get_it_into_the_message(
    chat: Chat, status: str
) -> None:
    chat.plan = lambda text, attempt: status
    with pytest.raises(BadEndpoint, match=r"your key is \*\*\*") as refused:
        judge(chat, api_key=SECRET, tries=2).ask(CLIP, questions(1))
    assert SECRET not in str(refused.value) and SECRET not in repr(refused.value)


def test_a_key_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(BadArgument, match="api_key") as refused:
        Endpoint("http://localhost/v1", api_key="sk-\u00e4\nnot-one")
    assert "not-one" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000/v1", "http://host:port/v1"),
        ("ftp://host/v1", "http://host:port/v1"),
        ("http:///v1", "http://host:port/v1"),
        ("http://me:password@host/v1", "api_key"),
    ],
)
def test_addresses_are_checked_before_anything_is_sent(url: str, message: str) -> None:
    with pytest.raises(BadArgument, match=message) as refused:
        Endpoint(url)
    assert "password@" not in str(refused.value)


def test_options_are_checked() -> None:
    with pytest.raises(BadArgument, match="concurrency must be positive"):
        Endpoint("http://host/v1", concurrency=0)
    with pytest.raises(BadArgument, match=r"must hold \{question\}"):
        Endpoint("http://host/v1", template="Yes or no?")


# The cache --------------------------------------------------------------------------------------


def test_a_second_run_asks_nothing_and_answers_the_same(chat: Chat, tmp_path: Path) -> None:
    kept = tmp_path / "deep" / "answers.sqlite"
    first = judge(chat, cache=kept).ask(CLIP, questions(9))
    again = judge(chat, cache=kept).ask(CLIP, questions(9))
    assert again == first and len(chat.asked) == 9


@pytest.mark.parametrize(
    "change",
    [
        {"template": "{question} Yes or no?"},
        {"model": "another"},
        {"parameters": {"seed": 1}},
        {"coding": "png"},
        {"media": "video"},
        {"max_pixels": 100},
        {"top_logprobs": 5},
    ],
    ids=str,
)
def test_what_changes_the_answer_is_asked_again(
    chat: Chat, tmp_path: Path, change: dict[str, Any]
) -> None:
    kept = {"cache": tmp_path / "answers.sqlite"}
    judge(chat, **kept).ask(CLIP, questions(2))
    judge(chat, **kept, **change).ask(CLIP, questions(2))
    assert len(chat.asked) == 4


def test_other_frames_clips_prompts_and_white_space_are_asked_again(
    chat: Chat, tmp_path: Path
) -> None:
    known = judge(chat, cache=tmp_path / "answers.sqlite")
    about = Question(id="p", text="Is it [[prompt]]?")
    known.ask(CLIP, [about], prompt="a wall")
    for clip, question, prompt in [
        (CLIP, about, "a house"),
        (CLIP.at([0, 1]), about, "a wall"),
        (Clip.from_frames(255 - CLIP.frames()), about, "a wall"),
        (CLIP, Question(id="p", text="Is it [[prompt]]?\n"), "a wall"),
    ]:
        before = len(chat.asked)
        known.ask(clip, [question], prompt=prompt)
        assert len(chat.asked) == before + 1
    known.ask(CLIP, [Question(id="other id", text="Is it a wall?")])
    assert len(chat.asked) == 5  # the same text is the same question


def test_what_failed_is_asked_again_and_the_rest_is_kept(chat: Chat, tmp_path: Path) -> None:
    chat.plan = lambda text, attempt: "500" if number_of(text) % 2 else "answer"
    known = judge(chat, cache=tmp_path / "answers.sqlite", tries=1)
    assert p_yes(known.ask(CLIP, questions(6))).count(None) == 3
    chat.plan = lambda text, attempt: "answer"
    before = len(chat.asked)
    assert None not in p_yes(known.ask(CLIP, questions(6)))
    assert sorted(number_of(one.text) for one in chat.asked[before:]) == [1, 3, 5]


def test_unclear_answers_are_not_kept(chat: Chat, tmp_path: Path) -> None:
    chat.tokens = lambda p: {"Perhaps": 0.5} if len(chat.asked) < 2 else {"Yes": 0.6, "No": 0.3}
    known = judge(chat, cache=tmp_path / "answers.sqlite")
    assert p_yes(known.ask(CLIP, questions(1))) == [None]
    assert p_yes(known.ask(CLIP, questions(1))) == pytest.approx([2 / 3])


def test_a_bare_reply_gives_way_to_probabilities_once_they_are_to_be_had(
    chat: Chat, tmp_path: Path
) -> None:
    kept = {"cache": tmp_path / "answers.sqlite"}
    chat.logprobs = "refused"
    judge(chat, **kept).ask(CLIP, questions(5))
    judge(chat, **kept).ask(CLIP, questions(5))
    assert sum("logprobs" not in one.body for one in chat.asked) == 6  # 5, and 1 to find it out
    chat.logprobs = "yes"
    assert not set(p_yes(judge(chat, **kept).ask(CLIP, questions(5)))) & {0.0, 1.0}


def test_processes_share_a_file_of_answers(chat: Chat, tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from features.clip import Clip\n"
        "from vqa.checklist import Question\n"
        "from vqa.judges.endpoint import Endpoint\n"
        "url, cache = sys.argv[1:]\n"
        "clip = Clip.from_frames(np.zeros((1, 8, 8, 3), np.uint8))\n"
        "asked = [Question(id=str(n), text=f'Is it {n}?') for n in range(60)]\n"
        "answers = Endpoint(url, cache=cache).ask(clip, asked)\n"
        "print(sum(a.p_yes for a in answers))\n"
    )
    kept = str(tmp_path / "answers.sqlite")
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, chat.url, kept],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert said[0][0] == said[1][0]
    with sqlite3.connect(kept) as file:
        assert file.execute("select count(*) from answers").fetchone() == (60,)
        (model, question), *_ = file.execute(
            "select model, question from answers order by question"
        )
    file.close()
    assert (model, question) == (MODEL, "Is it 0?")


def test_by_default_answers_are_kept_in_the_users_cache(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Endpoint(chat.url).ask(CLIP, questions(2))
    Endpoint(chat.url).ask(CLIP, questions(2))
    assert len(chat.asked) == 2
    if sys.platform == "linux":
        assert user_cache() == tmp_path / "vqa" / "answers.sqlite" and user_cache().exists()


def test_a_file_that_is_something_else_is_refused_and_left_as_it_is(
    chat: Chat, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("do not lose me" * 100)
    with pytest.raises(BadArgument, match=r"notes\.txt: cannot be used as a file of answers"):
        judge(chat, cache=notes).ask(CLIP, questions(1))
    assert notes.read_text() == "do not lose me" * 100 and not chat.asked


def test_a_cache_folder_that_cannot_be_written_costs_no_answers(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert None not in p_yes(Endpoint(chat.url).ask(CLIP, questions(2)))
    assert "cannot be used as a file of answers" in caplog.text


def test_a_cache_that_breaks_on_the_way_costs_no_answers(
    chat: Chat, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = tmp_path / "answers.sqlite"
    with sqlite3.connect(kept) as file:
        file.execute("create table answers (key text)")  # of somebody else
    file.close()
    assert None not in p_yes(judge(chat, cache=kept).ask(CLIP, questions(2)))
    assert "answers are not kept" in caplog.text


# Where it is used -------------------------------------------------------------------------------


def test_a_score_by_address_counts_every_question(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    scorer = vqa.load("visionreward-video", judge=f"{chat.url}#{MODEL}", sampler="uniform:2")
    scores = scorer.score_many([CLIP, b"no video", OTHER], "a wall moves")
    assert [score.status for score in scores] == ["ok", "error", "ok"]
    assert [score.coverage for score in scores] == [1.0, None, 1.0]
    assert len(chat.asked) == 2 * 29
    expected = scorer.checklist.score(
        p_yes([scores[0].answer(q.id) for q in scorer.checklist.asked])
    )
    assert scores[0].value == pytest.approx(expected.value)


def test_the_command_takes_an_address(chat: Chat, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, picture in enumerate(CLIP.images()):
        picture.save(folder / f"{number}.png")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "vqa", "ask", str(folder), "Is it a wall?", "--json"),
            *("--scorer", "visionreward-video", "--judge", chat.url),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert chat.asked[0].urls and "Is it a wall?" in chat.asked[0].text
    assert p_of(chat.asked[0].text, chat.asked[0].urls) == pytest.approx(
        json.loads(done.stdout)["p_yes"]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": "folder"}, "has no use for it"),
        ({"quantize": "int8"}, "quantize is for cogvlm2"),
    ],
)
def test_what_a_server_decides_is_not_taken(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        vqa.load("visionreward-video", judge="http://localhost:1/v1", **options)


def test_it_is_a_judge_that_travels() -> None:
    known = Endpoint("http://host/v1/", api_key="k")
    assert isinstance(known, BatchJudge) and (known.name, known.sees) == ("endpoint", "frames")
    assert pickle.loads(pickle.dumps(known)).url == "http://host/v1"


# Threads ----------------------------------------------------------------------------------------


def test_whoever_stops_listening_waits_for_nobody() -> None:
    held, begun, before = threading.Event(), [], set(threading.enumerate())

    def wait(number: int) -> int:
        begun.append(number)
        if number:
            held.wait(20)
        return number

    jobs = [lambda number=number: wait(number) for number in range(50)]
    for number, found in done_by(jobs, workers=3):
        assert (number, found) == (0, 0)
        break
    held.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
    assert len(begun) <= 4


def test_errors_come_back_as_what_they_are() -> None:
    def fail() -> int:
        raise KeyError("x")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = dict(done_by([lambda: 1, fail, lambda: 3], workers=2))
    assert found[0] == 1 and found[2] == 3 and isinstance(found[1], KeyError)

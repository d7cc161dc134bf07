"""Prompts of CogVLM2 against the reference's ids, and positions against the rule in words."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from tests.golden import DATA, IMAGE, VIDEO, golden, medium
from vqa.errors import BadArgument, BadCheckpoint
from vqa.models.cogvlm2.config import Config
from vqa.models.cogvlm2.prompt import TEMPLATES, Prompts, Tokens, positions

QUESTIONS = [
    (name, key, number)
    for name in (VIDEO, IMAGE)
    for key, one in golden(name)["media"].items()
    for number in range(len(one["questions"]))
]
masks = st.lists(st.tuples(st.booleans(), st.integers(1, 6)), max_size=6).map(
    lambda runs: [seen for seen, count in runs for _ in range(count)]
)


@lru_cache
def _prompts(name: str, template: str | None = None) -> Prompts:
    folder = DATA / name
    return Prompts.load(folder, Config.read(folder), template=template)


def _question(name: str, key: str, number: int) -> dict[str, Any]:
    found: dict[str, Any] = golden(name)["media"][key]["questions"][number]
    return found


def _says_what_the_reference_says(tokens: Tokens, expected: dict[str, Any]) -> bool:
    return (list(tokens.ids), [int(seen) for seen in tokens.vision], list(tokens.positions)) == (
        expected["input_ids"],
        expected["token_type_ids"],
        expected["position_ids"],
    )


@pytest.mark.parametrize(("name", "key", "number"), QUESTIONS)
def test_ids_types_and_positions_are_those_of_the_reference(
    name: str, key: str, number: int
) -> None:
    prompts, expected = _prompts(name), _question(name, key, number)
    tokens = Tokens.joined([prompts.head(len(medium(name, key))), prompts.tail(expected["query"])])
    assert _says_what_the_reference_says(tokens, expected)
    assert (len(tokens), max(tokens.positions)) == (
        expected["num_tokens"],
        expected["max_position"],
    )
    text = [id_ for id_, seen in zip(tokens.ids, tokens.vision, strict=True) if not seen]
    assert prompts.decode(text).endswith(expected["prompt_text"])


@pytest.mark.parametrize("number", range(len(golden(VIDEO)["other_templates"])))
def test_other_templates_are_those_of_the_reference(number: int) -> None:
    expected = golden(VIDEO)["other_templates"][number]
    prompts = _prompts(VIDEO, expected["template"])
    head = prompts.head(len(medium(VIDEO, expected["media"])))
    assert _says_what_the_reference_says(
        Tokens.joined([head, prompts.tail(expected["query"])]), expected
    )


@pytest.mark.parametrize("name", [VIDEO, IMAGE])
def test_tokens_with_a_meaning_are_those_of_the_reference(name: str) -> None:
    prompts, expected = _prompts(name), golden(name)["token_ids"]
    config = prompts.config
    assert {text: prompts.answer_token(text) for text in ("yes", "no")} == {
        text: expected[text] for text in ("yes", "no")
    }
    assert (config.bos_token_id, config.pad_token_id) == (
        expected["bos"],
        expected["vision_placeholder"],
    )
    assert config.eos_token_ids[0] == expected["eos"]
    times = golden(name)["time_index_token_ids"]
    assert [prompts.encode(str(time)) for time in range(len(times))] == times


def test_templates_without_times_have_one_run_of_vision() -> None:
    for template in ("base", "vqa"):
        head = _prompts(VIDEO, template).head(6)
        assert head.vision == (False,) + (True,) * (6 * 66)
        assert head.positions == (0, 1, *[2] * (6 * 66 - 2), 3)


def test_picture_takes_three_positions_and_its_number_one() -> None:
    head = _prompts(VIDEO).head(3)
    assert head.positions == (
        *(0, 1, *[2] * 64, 3, 4),
        *(5, *[6] * 64, 7, 8),
        *(9, *[10] * 64, 11, 12),
    )


def test_number_of_a_picture_may_take_several_tokens() -> None:
    prompts = _prompts(VIDEO)
    number = prompts.encode("100")
    assert len(number) > 1, "the tokenizer of the tests has numbers below 100 only"
    head, shorter = prompts.head(101), prompts.head(100)
    assert head.ids[len(shorter) + 66 :] == tuple(number)
    last = shorter.positions[-1]
    after = range(last + 4, last + 4 + len(number))
    assert head.positions[len(shorter) :] == (last + 1, *[last + 2] * 64, last + 3, *after)


def _as_the_rule_says(vision: list[bool]) -> list[int]:
    """The rule as it is told, with none of the shortcuts of the code."""
    textlike = []
    for place, seen in enumerate(vision):
        first = place == 0 or not vision[place - 1]
        last = place == len(vision) - 1 or not vision[place + 1]
        textlike.append(not seen or first or last)
    found: list[int] = []
    for place, like in enumerate(textlike):
        if place == 0:
            found.append(0)
        elif like or textlike[place - 1]:
            found.append(found[-1] + 1)
        else:
            found.append(found[-1])
    return found


@settings(deadline=None)
@given(masks)
def test_positions_follow_the_rule(vision: list[bool]) -> None:
    assert list(positions(vision)) == _as_the_rule_says(vision)


@settings(deadline=None)
@given(masks)
def test_experts_are_for_vision_that_vision_follows(vision: list[bool]) -> None:
    tokens = Tokens((0,) * len(vision), tuple(vision))
    follows = [*vision[1:], False]
    assert list(tokens.experts) == [
        place for place in range(len(vision)) if vision[place] and follows[place]
    ]


def test_last_token_of_a_picture_and_all_text_use_language_weights() -> None:
    tokens = Tokens.joined([_prompts(IMAGE).head(1), _prompts(IMAGE).tail("Is it sharp?")])
    assert tokens.experts == tuple(range(1, 18))  # boi is 1, eoi 18


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=4), st.sampled_from(["chat", "vqa"]))
def test_splitting_a_prompt_changes_no_token(queries: list[str], template: str) -> None:
    prompts = _prompts(VIDEO, template)
    head, tails = prompts.split(2, queries)
    assert all(len(tail) for tail in tails)
    for query, tail in zip(queries, tails, strict=True):
        whole = Tokens.joined([prompts.head(2), prompts.tail(query)])
        assert Tokens.joined([head, tail]) == whole


def test_what_every_question_starts_with_is_part_of_the_head() -> None:
    prompts = _prompts(VIDEO)
    head, tails = prompts.split(1, ["Is it sharp?", "Is it?\n"])
    assert prompts.decode(head.ids[-2:]).endswith("Question:")
    assert prompts.decode(tails[0].ids) == " Is it sharp? Answer:"


def test_a_question_that_melts_into_the_opening_keeps_its_tokens() -> None:
    """With a tokenizer whose token spans the two, the head ends before it."""
    words = {"Question: a Answer:": 0, "Question:": 1}
    prompts = replace(_prompts(VIDEO), tokenizer=Tokenizer(WordLevel(words, unk_token="Question:")))
    head, tails = prompts.split(1, ["a"])
    assert head == prompts.head(1)
    assert tails == [Tokens.text([0])]


def test_an_empty_question_without_a_template_has_no_token_to_answer_at() -> None:
    with pytest.raises(BadArgument, match="question 2 is empty"):
        _prompts(VIDEO, "base").split(1, ["Is it sharp?", ""])


def test_the_question_reaches_the_model_as_it_stands() -> None:
    for template, (before, after) in TEMPLATES.items():
        prompts = _prompts(VIDEO, template)
        for query in ("  Is it?\n", 'It says "no", \\ and é😀', "yes"):
            assert prompts.decode(prompts.tail(query).ids) == before + query + after


def test_template_is_that_of_visionreward_unless_told() -> None:
    assert (_prompts(VIDEO).template, _prompts(IMAGE).template) == ("chat", "vqa")
    with pytest.raises(BadArgument, match="'chta': no template of that name; there are base, chat"):
        _prompts(VIDEO, "chta")


def test_reply_is_spelled_up_to_its_end() -> None:
    prompts = _prompts(IMAGE)
    yes, no, end = (*(prompts.answer_token(text) for text in ("yes", "no")), 128001)
    assert prompts.spell([yes, end, no], stop=[end]) == "yes<|end_of_text|>"
    assert prompts.spell([yes, no], stop=[end]) == "yesno"
    assert prompts.spell([100000], stop=[end]) == ""  # the real vocabulary is larger than this one
    assert prompts.decode([yes, end]) == "yes"


def test_tokenizer_that_splits_yes_is_refused() -> None:
    with pytest.raises(BadCheckpoint, match="splits 'yessir' into 3 tokens"):
        _prompts(VIDEO).answer_token("yessir")


def test_missing_tokenizer_is_told_with_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"copy tokenizer\.json of"):
        Prompts.load(tmp_path, Config.read(DATA / VIDEO))

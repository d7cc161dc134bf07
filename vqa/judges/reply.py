"""What a server's answer says: P(yes) from the likeliest first tokens, or the literal reply."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vqa.spelling import side_of, side_of_reply


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer as it was read.

    p_yes -- None when it says neither yes nor no. log_yes, log_no -- natural logarithms of the
    probability of all their spellings, None where none was returned. reply -- the text, only where
    the server gave no probabilities. share -- probability of yes and no together.
    """

    p_yes: float | None
    log_yes: float | None = None
    log_no: float | None = None
    reply: str | None = None
    share: float | None = None


def read(completion: Any) -> Reading:
    """Read a chat completion (a parsed JSON body) with `max_tokens` 1.

    P(yes) is the probability of all spellings of yes over that of yes and no, among the tokens that
    the server returned; what is not among its likeliest counts as nothing. Without probabilities
    the reply itself is read: P is 1 or 0, and None when it is neither yes nor no. Raises
    ValueError, TypeError, KeyError or IndexError for what is no completion.
    """
    choice = completion["choices"][0]
    found = choice.get("logprobs")
    if found is None or found.get("content") is None:
        return _literal(choice["message"].get("content") or "")
    return _weighed(_tokens(found["content"]))


def _literal(reply: str) -> Reading:
    side = side_of_reply(reply)
    return Reading(None if side is None else float(side == "yes"), reply=reply)


def _tokens(content: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """Tokens and log probabilities of the first place; the one that was chosen is one of them."""
    if not content:
        return []
    first = content[0]
    listed = [(top["token"], float(top["logprob"])) for top in first.get("top_logprobs") or ()]
    if first["token"] not in [token for token, _ in listed]:
        listed.append((first["token"], float(first["logprob"])))
    if any(math.isnan(value) or value == math.inf for _, value in listed):
        raise ValueError("a log probability is not a number")
    return listed


def _weighed(tokens: Sequence[tuple[str, float]]) -> Reading:
    log_yes = _total([value for token, value in tokens if side_of(token) == "yes"])
    log_no = _total([value for token, value in tokens if side_of(token) == "no"])
    both = _total([value for value in (log_yes, log_no) if value is not None])
    if both is None:
        return Reading(None, share=0.0)
    p_yes = 0.0 if log_yes is None else min(1.0, math.exp(log_yes - both))
    return Reading(p_yes, log_yes, log_no, share=math.exp(min(0.0, both)))


def _total(values: Sequence[float]) -> float | None:
    """Logarithm of the sum of exponentials; None for nothing."""
    highest = max(values, default=-math.inf)
    if highest == -math.inf:
        return None
    return highest + math.log(math.fsum(math.exp(value - highest) for value in values))

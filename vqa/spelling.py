"""What counts as yes or no at the start of an answer.

A language model has many tokens that say yes: "yes", "Yes", " YES". How likely the answer is yes is
the probability of all of them together. The rule: white space and the marks by which tokenizers
write a leading space (U+2581 of sentencepiece, U+0120 of byte-level BPE, and U+010A for a newline)
are taken off both ends, case is folded, and what is left must be exactly "yes" or "no". "Yes," or
"Y" is neither: whoever continues after it is unknown.
"""

from __future__ import annotations

from typing import Literal

Side = Literal["yes", "no"]

_MARKS = " \t\r\n\u2581\u0120\u010a"
# What people and models put around a word of a reply in full.
_DRESS = _MARKS + ".,;:!?*_`'\"()"


def side_of(token: str) -> Side | None:
    """Tell what one token says: "yes", "no", or None for neither."""
    return _side(token.strip(_MARKS))


def side_of_reply(reply: str) -> Side | None:
    """Tell what a reply in words says by its first word, punctuation taken off."""
    words = reply.strip(_DRESS).split(maxsplit=1)
    return _side(words[0].strip(_DRESS)) if words else None


def _side(word: str) -> Side | None:
    folded = word.casefold()
    if folded == "yes":
        return "yes"
    return "no" if folded == "no" else None

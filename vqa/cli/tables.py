"""Tables for people, with rich. Imported only when a table is printed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vqa.cli.output import about, printable
from vqa.comparison import Comparison
from vqa.score import Answer, Score

_WIDE = 160  # characters, where output goes to a file and has no width
_CLIPS_PER_TABLE = 4
_SHADES = " ▁▂▃▄▅▆▇█"


def print_scores(scores: Sequence[Score]) -> None:
    """Print one line per clip, best dimensions apart; a single clip with its questions as well."""
    console = _console()
    scored = [s for s in scores if s.status == "ok"]
    names = [n for s in scored for n, value in s.dimensions.items() if value is not None]
    names = list(dict.fromkeys(names))
    table = _table("clip", "score", "coverage", *(name.replace("_", " ") for name in names))
    for s in scored:
        parts = [_signed(s.dimensions.get(name)) for name in names]
        table.add_row(_text(s.path or "-"), _signed(s.value), _share(s.coverage), *parts)
    if scored:
        console.print(table)
    if len(scores) == 1 and scored:
        console.print(_answers_of(scored[0]))
        scales = ", ".join(f"{name} {_signed(v)}" for name, v in scored[0].scales.items())
        console.print(_text(f"The score on every scale: {scales}"))
    for s in scores:
        for note in s.warnings:
            console.print(_text(f"warning: {s.path}: {note}"))
        if s.error is not None:
            console.print(_text(f"failed: {about(s.path, s.error['message'])}"))


def _answers_of(score: Score) -> Table:
    """The answered questions, largest influence first; those without weight only inform."""
    table = _table("question", "P(yes)", "weight", "contribution")
    answered = [a for a in score.answers if a.p_yes is not None]
    for a in sorted(answered, key=lambda a: -abs(a.contribution or 0.0)):
        counts = (f"{a.weight:.3f}", _signed(a.contribution)) if a.weight else ("-", "-")
        table.add_row(_text(a.text), _p(a.p_yes), *counts)
    return table


def print_comparison(found: Comparison) -> None:
    """Print who wins, then dimensions, then the questions that decided."""
    console = _console()
    for side in (found.a, found.b):
        if side.error is not None:
            console.print(_text(f"failed: {about(side.path, side.error['message'])}"))
    console.print(_text(_verdict(found)))
    if found.difference is None:
        return
    table = _table("", "A", "B", "A - B")
    table.add_row(
        "score", _signed(found.a.value), _signed(found.b.value), _signed(found.difference)
    )
    for name, difference in found.dimensions.items():
        if difference is not None:
            a, b = found.a.dimensions.get(name), found.b.dimensions.get(name)
            table.add_row(name.replace("_", " "), _signed(a), _signed(b), _signed(difference))
    console.print(table)
    decided = [d for d in found.answers if d.difference]
    if decided:
        questions = _table("question", "P(yes) A", "P(yes) B", "A - B")
        for d in decided:
            questions.add_row(_text(d.text), _p(d.p_yes_a), _p(d.p_yes_b), _signed(d.difference))
        console.print(questions)


def _verdict(found: Comparison) -> str:
    if found.winner is None:
        return "No verdict: one of the clips has no score."
    if found.winner == "tie":
        return "A tie: every answer that counts is the same."
    better, name = (found.a, "A") if found.winner == "a" else (found.b, "B")
    return f"{name} is better: {better.path} by {abs(found.difference or 0.0):.4f}"


def print_answers(answers: Sequence[Answer]) -> None:
    """Print questions and P(yes)."""
    table = _table("question", "P(yes)")
    for a in answers:
        table.add_row(_text(a.text), "no answer" if a.p_yes is None else _p(a.p_yes))
    _console().print(table)


def print_measurements(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print features down and clips across, a few clips at a time; curves as small pictures."""
    console = _console()
    measured = [row for row in rows if row["status"] == "ok"]
    for start in range(0, len(measured), _CLIPS_PER_TABLE):
        some = measured[start : start + _CLIPS_PER_TABLE]
        table = _table("feature", *(row["path"] for row in some))
        for name in some[0]["features"]:
            table.add_row(name, *(_number(row["features"].get(name)) for row in some))
        console.print(table)
    for row in measured:
        if "curves" in row:
            console.print(_curves_of(row))
    for row in rows:
        if row["error"] is not None:
            console.print(_text(f"failed: {about(row['path'], row['error']['message'])}"))


def _curves_of(row: Mapping[str, Any]) -> Table:
    table = _table("curve", "least", "most", _text(f"over time, {row['path']}"))
    for name, values in row["curves"].items():
        known = [v for v in values if v is not None]
        least, most = (min(known), max(known)) if known else (None, None)
        table.add_row(name, _number(least), _number(most), _sparkline(values))
    return table


def _sparkline(values: Sequence[float | None], width: int = 48) -> str:
    """One character per stretch of time: the largest value in it, from least to most."""
    known = [v for v in values if v is not None]
    if not known:
        return ""
    low, span = min(known), (max(known) - min(known)) or 1.0
    count = min(width, len(values))
    parts = (
        values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)
    )
    tops = [max((v for v in part if v is not None), default=None) for part in parts]
    levels = len(_SHADES) - 2
    return "".join(
        _SHADES[0] if v is None else _SHADES[1 + round(levels * (v - low) / span)] for v in tops
    )


def print_records(records: Iterable[Mapping[str, Any]]) -> None:
    """Print objects with the same keys, one line each."""
    rows = list(records)
    table = _table(*(key.replace("_", " ") for key in rows[0]), numbers=False)
    for row in rows:
        table.add_row(*(_text(_plainly(value)) for value in row.values()))
    _console().print(table)


def _console() -> Console:
    width = None if sys.stdout.isatty() else _WIDE
    return Console(width=width, highlight=False, emoji=False, markup=False)


def _table(first: str, *rest: str | Text, numbers: bool = True) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(_text(first), overflow="fold")
    for name in rest:
        title = name if isinstance(name, Text) else _text(name)
        table.add_column(title, justify="right" if numbers else "left", overflow="fold")
    return table


def _plainly(value: object) -> str:
    words: dict[object, str] = {None: "-", True: "yes", False: "no"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _text(text: str) -> Text:
    return Text(printable(text))


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"

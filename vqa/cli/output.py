"""Where output goes: JSON Lines for programs, tables for people, progress on a terminal only."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from vqa.errors import BadArgument


def wants_json(*, as_json: bool, as_table: bool) -> bool:
    """Decide between JSON Lines and a table: the flag, else a table on a terminal."""
    if as_json and as_table:
        raise BadArgument("--json and --table: give one of them")
    return as_json or not (as_table or sys.stdout.isatty())


def write_json(row: Mapping[str, Any]) -> None:
    """Write one object as one line, at once; ASCII, so that no path or locale can break it."""
    sys.stdout.write(json.dumps(row, allow_nan=False) + "\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """Say one line to the person at the terminal, beside the output."""
    print(printable(text), file=sys.stderr)


def printable(text: str) -> str:
    """Escape what a terminal could not show or would obey: control characters and odd bytes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


def about(path: str | None, message: str) -> str:
    """Put the path before a message that does not name it."""
    return message if path is None or path in message else f"{path}: {message}"


@contextmanager
def progress(total: int, *, title: str, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a bar on standard error if that is a terminal; gives a function to call per clip.

    quiet -- rows are being written to the same terminal, where a bar would run through them.
    """
    if quiet or total < 2 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)

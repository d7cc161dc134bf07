"""`vqa compare`."""

from __future__ import annotations

from vqa.cli.output import wants_json, write_json
from vqa.cli.score import Options, tell_coverage
from vqa.comparison import compare


def run(a: str, b: str, *, prompt: str | None, options: Options, json: bool, table: bool) -> int:
    """Compare two clips and print what decided; returns the exit status."""
    as_json = wants_json(as_json=json, as_table=table)
    scorer = options.load()
    first, second = scorer.score_many([a, b], prompt)
    found = compare(first, second)
    if as_json:
        write_json(found.row())
    else:
        from vqa.cli.tables import print_comparison

        print_comparison(found)
    failed = "error" in (first.status, second.status)
    if not failed:
        tell_coverage(scorer, first)
    return 1 if failed else 0

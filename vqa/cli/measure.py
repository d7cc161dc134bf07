"""`vqa measure`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from vqa.cli.inputs import expand
from vqa.cli.output import progress, tell, wants_json, write_json
from vqa.score import Score, plain


def run(paths: Sequence[str], *, curves: bool, strict: bool, json: bool, table: bool) -> int:
    """Measure clips and print them; returns the exit status."""
    as_json = wants_json(as_json=json, as_table=table)
    clips = expand(paths)
    shown = []
    failed = 0
    quiet = as_json and sys.stdout.isatty()
    with progress(len(clips), title="measuring", quiet=quiet) as step:
        for row, warnings in _rows(clips, curves=curves, strict=strict):
            failed += row["status"] == "error"
            if as_json:
                write_json(row)
            else:
                shown.append(row)
            step()
            for warning in warnings:
                tell(f"{row['path']}: {warning}")
    if not as_json:
        from vqa.cli.tables import print_measurements

        print_measurements(shown)
    return 1 if failed else 0


def _rows(
    clips: Sequence[str], *, curves: bool, strict: bool
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    from features.clip import Clip
    from features.measure import measure

    for path in clips:
        try:
            found = measure(Clip.open(path, strict=strict))
        except Exception as error:
            failed = Score.failed(error, path=path).row()
            row = {key: failed[key] for key in ("path", "status", "error", "features", "clip")}
            yield (row | {"curves": {}} if curves else row), []
            continue
        row = {
            "path": path,
            "status": "ok",
            "error": None,
            "features": found.features,
            "clip": found.clip,
        }
        if curves:
            row["curves"] = found.curves
        yield plain(row), found.warnings

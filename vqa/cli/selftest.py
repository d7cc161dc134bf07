"""`vqa selftest`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa.catalogue import SCORERS
from vqa.cli.output import tell, wants_json, write_json
from vqa.errors import BadArgument
from vqa.loading import load, sampler_named
from vqa.score import plain
from vqa.selftest import Case, Finding, compare, decoded, has_collapsed
from vqa.selftest_file import Catalogue, find

if TYPE_CHECKING:
    from vqa.scorer import Scorer
    from vqa.scorers.base import Rating


def run(
    name: str,
    *,
    checkpoint: str | Mapping[str, str] | None,
    inputs: Sequence[str],
    cases: str | None = None,
    device: str,
    dtype: str,
    json: bool,
    table: bool,
) -> int:
    """Compare a scorer with published outputs and print that; 0 if all agree, 1 if some differ.

    cases -- a file of one's own instead of the published ones; its inputs may lie beside it.
    Raises BadArgument where there is nothing to compare with or an input is missing, and what
    `vqa.load` raises where there are no weights.
    """
    as_json = wants_json(as_json=json, as_table=table)
    if name not in SCORERS:
        raise BadArgument(f"{name!r}: no scorer of that name; `vqa models` lists them")
    known = Catalogue.published() if cases is None else Catalogue.of(cases)
    chosen = known.cases(name)
    beside = [] if cases is None else [os.path.dirname(os.path.abspath(cases))]
    found = find([one for case in chosen for one in case.inputs], [*inputs, *beside])
    scorer = load(name, checkpoint=checkpoint or _cached(chosen[0]), device=device, dtype=dtype)
    findings = [*_decoded(chosen, found)]
    for case in chosen:
        findings += _compared(scorer, case, found)
    _show(findings, as_json=as_json)
    differ = sum(not finding.agrees for finding in findings)
    tell(f"{name}: {len(findings) - differ} of {len(findings)} numbers agree with {known.path}")
    return 1 if differ else 0


def _cached(case: Case) -> str | None:
    """The weights of a case where they are not the scorer's own; nothing is fetched."""
    if case.checkpoint in (None, SCORERS[case.scorer].hub_id):
        return None
    from vqa.models.hub import resolve

    return str(resolve(case.checkpoint, download=False, needs=()))


def _decoded(cases: Sequence[Case], found: Mapping[str, Path]) -> list[Finding]:
    from features.clip import Clip

    inputs = {one.name: one for case in cases for one in case.inputs}
    return [
        finding
        for name, one in inputs.items()
        if one.frames or one.mean_rgb
        for finding in decoded(one, Clip.open(found[name]))
    ]


def _compared(scorer: Scorer, case: Case, found: Mapping[str, Path]) -> list[Finding]:
    if case.sampler is not None:
        scorer = replace(scorer, sampler=sampler_named(case.sampler))
    pairs = [(found[one.name], prompt) for one in case.inputs for prompt in case.prompts]
    ratings = [_rating(scorer, path, prompt) for path, prompt in pairs]
    if has_collapsed(case, ratings):
        tell(f"{case.name}: every value is what an empty head gives; are the weights whole?")
    return compare(case, ratings)


def _rating(scorer: Scorer, path: Path, prompt: str) -> Rating:
    """Ask the network itself: a published prompt may be empty, which a scorer takes as none."""
    from vqa.scorers.base import NetworkScorer, Rating, View

    if not isinstance(scorer, NetworkScorer):
        raise BadArgument(f"{scorer.name}: weighs a checklist; only networks have a self-test")
    (rating,) = scorer.rater.rate([View(scorer.sample(scorer.open(path)), prompt)])
    if not isinstance(rating, Rating):
        raise rating
    return rating


def _show(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        for finding in findings:
            write_json(plain(_row(finding) | {"source": finding.source}))
        return
    from vqa.cli.tables import print_records

    rows = [_row(finding) for finding in findings]
    print_records([{k: _short(v) for k, v in row.items()} for row in rows])


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "case": finding.case,
        "what": finding.what,
        "expected": finding.expected,
        "found": finding.found,
        "tolerance": finding.tolerance,
        "agrees": finding.agrees,
    }


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value

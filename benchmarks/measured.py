"""How well the `measured` scorer agrees with people, on the rated clips of a folder.

    python -m benchmarks measured [--data ../shared/videos] [--json]

Ratings stand in the notes of the folder's manifest.csv, in three forms: means of several people per
clip for one prompt ("static=3.0, temporal=2.33"), scores per clip ("technical_quality=4 ...
overall=2") and preferences between two clips of one prompt ("human preference VQ=B, MQ=B"). They
are turned into pairs of clips made for the same prompt, because scores of different prompts are not
comparable; a pair counts when people preferred one of the two. Agreement is the share of pairs
whose preferred clip scores higher (a tie counts half); the interval is a bootstrap over prompts,
since the pairs of one prompt share clips. With so few prompts it is wide, and that is the finding.
"""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

import vqa

RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Pair:
    """Two clips of one prompt, the one people preferred first, and in which respect."""

    group: str
    aspect: str
    better: str
    worse: str


def pairs_of(rows: Sequence[Mapping[str, str]]) -> list[Pair]:
    """All decided pairs that the notes of a manifest hold."""
    return [*_from_ratings(rows), *_from_preferences(rows)]


def _from_ratings(rows: Sequence[Mapping[str, str]]) -> Iterator[Pair]:
    groups: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for row in rows:
        if "human mean" in row["notes"]:
            ratings = re.findall(r"(static|temporal|alignment)=([\d.]+)", row["notes"])
            groups[row["prompt"]][row["file"]] = {aspect: float(value) for aspect, value in ratings}
    for group, clips in groups.items():
        for (a, of_a), (b, of_b) in combinations(clips.items(), 2):
            for aspect in of_a.keys() & of_b.keys():
                if of_a[aspect] != of_b[aspect]:
                    better, worse = (a, b) if of_a[aspect] > of_b[aspect] else (b, a)
                    yield Pair(group, aspect, better, worse)


def _from_preferences(rows: Sequence[Mapping[str, str]]) -> Iterator[Pair]:
    by_prompt: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for row in rows:
        if "human preference" in row["notes"]:
            by_prompt[row["prompt"]].append(row)
    names = {"VQ": "visual quality", "MQ": "motion quality", "TA": "text alignment"}
    for group, (a, b) in (
        (g, sorted(r, key=lambda r: r["file"])) for g, r in by_prompt.items() if len(r) == 2
    ):
        for aspect, choice in re.findall(r"(VQ|MQ|TA)=(A|B)\b", a["notes"]):
            better, worse = (a, b) if choice == "A" else (b, a)
            yield Pair(group, names[aspect], better["file"], worse["file"])


def agreement(pairs: Sequence[Pair], scores: Mapping[str, float]) -> tuple[float, float, float]:
    """Share of pairs in which the preferred clip scores higher, and its 95 % interval over
    prompts.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        groups[pair.group].append(
            0.5 + 0.5 * float(np.sign(scores[pair.better] - scores[pair.worse]))
        )
    sums = np.array([(sum(hits), len(hits)) for hits in groups.values()])
    drawn = np.random.default_rng(0).integers(0, len(sums), (RESAMPLES, len(sums)))
    resampled = sums[drawn].sum(axis=1)
    low, high = np.quantile(resampled[:, 0] / resampled[:, 1], (0.025, 0.975))
    return float(sums[:, 0].sum() / sums[:, 1].sum()), float(low), float(high)


def report(folder: Path) -> Iterator[dict[str, object]]:
    """One dictionary per aspect, and one for all pairs that do not ask about the prompt."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        pairs = pairs_of(list(csv.DictReader(file)))
    files = sorted({name for pair in pairs for name in (pair.better, pair.worse)})
    scorer = vqa.load("measured")
    scored = scorer.score_many([folder / name for name in files])
    scores = {
        name: score.value
        for name, score in zip(files, scored, strict=True)
        if score.value is not None
    }
    pairs = [pair for pair in pairs if pair.better in scores and pair.worse in scores]
    seen = [pair for pair in pairs if pair.aspect not in ("alignment", "text alignment")]
    subsets = {"all but the prompt": seen} | {
        aspect: [pair for pair in pairs if pair.aspect == aspect]
        for aspect in sorted({p.aspect for p in pairs})
    }
    for name, chosen in subsets.items():
        share, low, high = agreement(chosen, scores)
        yield {
            "aspect": name,
            "pairs": len(chosen),
            "prompts": len({p.group for p in chosen}),
            "agreement": round(share, 3),
            "interval_95": [round(low, 3), round(high, 3)],
        }


def print_report(folder: Path, *, as_json: bool) -> list[dict[str, object]]:
    """Print one line per aspect and return them."""
    lines = list(report(folder))
    for line in lines:
        print(json.dumps(line) if as_json else "  ".join(f"{k}={v}" for k, v in line.items()))
    return lines

"""The edge: here, and only here, names become values.

Everything further in takes a checklist, a judge, a sampler. (The file is not called load.py: a
module of that name would hide the function `vqa.load`.)
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vqa.assess import ChecklistScorer
from vqa.checklist import Checklist
from vqa.errors import BadArgument, MissingCheckpoint, NotAvailable
from vqa.judges.base import Judge

if TYPE_CHECKING:
    from vqa.sample import Sampler


@dataclass(frozen=True)
class Known:
    """What `vqa models` tells about a scorer that `load` knows by name."""

    name: str
    what: str
    needs: str
    checklist: str
    hub_id: str | None = None
    size: str | None = None
    memory: str | None = None
    license: str = "Apache-2.0"
    ready: bool = True


SCORERS: Mapping[str, Known] = {
    known.name: known
    for known in (
        Known(
            name="measured",
            what="questions that pixels can answer, from measured features",
            needs="nothing",
            checklist="visionreward-video",
            memory="under 1 GB",
        ),
        Known(
            name="visionreward-video",
            what="29 weighted questions about a video and its prompt",
            needs="a judge; its network is not in this release",
            checklist="visionreward-video",
            hub_id="zai-org/VisionReward-Video",
            size="25.0 GB",
            memory="over 25 GB (GPU)",
            license="CogVLM2 (weights)",
            ready=False,
        ),
        Known(
            name="visionreward-image",
            what="27 weighted questions, 3 masks and an alignment term",
            needs="a judge; its network is not in this release",
            checklist="visionreward-image",
            hub_id="zai-org/VisionReward-Image-bf16",
            size="39.0 GB",
            memory="over 39 GB (GPU)",
            license="CogVLM2 (weights)",
            ready=False,
        ),
    )
}


def load(
    name: str = "measured",
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    judge: Judge | str | None = None,
    checklist: Checklist | str | os.PathLike[str] | None = None,
    sampler: Sampler | str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantize: str | None = None,
) -> ChecklistScorer:
    """Make a scorer: "measured", "visionreward-video" or "visionreward-image".

    judge -- a Judge, or the name "measured". The networks of VisionReward are not in this release:
    without a judge their scorers raise MissingCheckpoint, with a checkpoint NotAvailable.
    checklist -- instead of the scorer's own: a Checklist, a shipped name or a path to YAML.
    sampler -- which frames a judge of frames sees: a sampler such as `vqa.Uniform(16)`, or "all",
    "per-second", "uniform", "at-rate", "around-motion" with their defaults.
    device, dtype, quantize -- for networks; "measured" and judges of your own do without.

    Raises BadArgument for an unknown name (the message lists the known ones), BadChecklist.
    """
    known = SCORERS[_one_of(name, SCORERS, "scorer")]
    if not isinstance(checklist, Checklist):
        checklist = Checklist.load(known.checklist if checklist is None else checklist)
    return ChecklistScorer(
        name=name,
        checklist=checklist,
        judge=_judge(known, judge, checkpoint),
        sampler=_sampler(known, sampler),
    )


def _judge(known: Known, judge: Judge | str | None, checkpoint: object) -> Judge:
    if judge is None and known.name != "measured":
        raise _no_network(known, checkpoint)
    if judge is not None and not isinstance(judge, str):
        return judge
    _one_of(judge or "measured", ("measured",), "judge")
    if known.checklist != "visionreward-video":
        raise NotAvailable(
            f"{known.name}: the judge 'measured' knows the questions of visionreward-video only;"
            " give a judge of your own"
        )
    from vqa.judges.measured import Measured

    return Measured()


def _no_network(known: Known, checkpoint: object) -> MissingCheckpoint | NotAvailable:
    way_out = "score with 'measured', or give a judge of your own (judge=...)"
    if checkpoint is None:
        return MissingCheckpoint(
            f"{known.name}: needs a judge. Its own network, {known.hub_id} ({known.size}), runs on"
            f" the CogVLM2 engine, which is not in this release; {way_out}"
        )
    return NotAvailable(
        f"{known.name}: cannot run {checkpoint}, the CogVLM2 engine is not in this release;"
        f" {way_out}"
    )


def _sampler(known: Known, sampler: Sampler | str | None) -> Sampler:
    from vqa import sample

    samplers: dict[str, Callable[[], Sampler]] = {
        "all": sample.All,
        "per-second": sample.PerSecond,
        "uniform": sample.Uniform,
        "at-rate": sample.AtRate,
        "around-motion": sample.AroundMotion,
    }
    if sampler is None:  # the released video script looks at one frame per second, at most 24
        return sample.PerSecond() if known.name == "visionreward-video" else sample.All()
    if not isinstance(sampler, str):
        return sampler
    return samplers[_one_of(sampler, samplers, "sampler")]()


def _one_of(name: str, names: Iterable[str], what: str) -> str:
    known = list(names)
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise BadArgument(f"{name!r}: no {what} of that name{hint} Known: {', '.join(known)}")

"""The edge: here, and only here, names become values.

Everything further in takes a checklist, a judge, a sampler. (The file is not called load.py: a
module of that name would hide the function `vqa.load`.)
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vqa.assess import ChecklistScorer
from vqa.checklist import Checklist
from vqa.errors import BadArgument, MissingCheckpoint, NotAvailable, VqaError
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
    judge: str
    kind: Literal["video", "image"] | None = None  # of its network
    hub_id: str | None = None
    size: str | None = None
    license: str = "Apache-2.0"


SCORERS: Mapping[str, Known] = {
    known.name: known
    for known in (
        Known(
            name="measured",
            what="questions that pixels can answer, from measured features",
            needs="nothing",
            checklist="visionreward-video",
            judge="measured",
        ),
        Known(
            name="visionreward-video",
            what="29 weighted questions about a video and its prompt",
            needs="a checkpoint",
            checklist="visionreward-video",
            judge="cogvlm2",
            kind="video",
            hub_id="zai-org/VisionReward-Video",
            size="25.0 GB",
            license="CogVLM2 (weights)",
        ),
        Known(
            name="visionreward-image",
            what="27 weighted questions, 3 masks and an alignment term",
            needs="a checkpoint, after `vqa convert`",
            checklist="visionreward-image",
            judge="cogvlm2",
            kind="image",
            hub_id="zai-org/VisionReward-Image-bf16",
            size="39.0 GB",
            license="CogVLM2 (weights)",
        ),
    )
}
JUDGES = ("measured", "cogvlm2")


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

    checkpoint -- a folder or a hub id ("zai-org/VisionReward-Video", 25 GB, fetched once). Without
    one the scorers of VisionReward take what the hub's cache already has, and never fetch.
    judge -- a Judge, or the name "measured" or "cogvlm2", instead of the scorer's own.
    checklist -- instead of the scorer's own: a Checklist, a shipped name or a path to YAML.
    sampler -- which frames a judge of frames sees: a sampler such as `vqa.Uniform(16)`, or "all",
    "per-second", "uniform", "at-rate", "around-motion" with their defaults.
    device -- "auto", "cpu", "cuda", "cuda:1". "auto" takes the GPU; what does not fit there goes to
    further GPUs and to the CPU. dtype -- "bfloat16", "float16", "float32"; "auto" is bfloat16, and
    float16 on GPUs older than Ampere. quantize -- "int8" or "int4": see `vqa models`.

    Raises BadArgument for an unknown name (the message lists the known ones), BadChecklist,
    MissingCheckpoint, BadCheckpoint, NotAvailable, NoSpace, OutOfMemory.
    """
    known = SCORERS[_one_of(name, SCORERS, "scorer")]
    if not isinstance(checklist, Checklist):
        checklist = Checklist.load(known.checklist if checklist is None else checklist)
    if judge is None or isinstance(judge, str):
        judge = _judge(known, judge, checkpoint, device=device, dtype=dtype, quantize=quantize)
    return ChecklistScorer(
        name=name, checklist=checklist, judge=judge, sampler=_sampler(known, sampler)
    )


def _judge(
    known: Known,
    judge: str | None,
    checkpoint: str | os.PathLike[str] | None,
    *,
    device: str,
    dtype: str,
    quantize: str | None,
) -> Judge:
    if _one_of(judge or known.judge, JUDGES, "judge") == "measured":
        return _measured(known, checkpoint)
    from vqa.judges.cogvlm2 import CogVLM2

    return CogVLM2.load(
        _cached(known) if checkpoint is None else checkpoint,
        device=device,
        dtype=dtype,
        quantize=quantize,
        kind=known.kind,
    )


def _measured(known: Known, checkpoint: object) -> Judge:
    if known.checklist != "visionreward-video":
        raise NotAvailable(
            f"{known.name}: the judge 'measured' knows the questions of visionreward-video only;"
            " give a checkpoint, or a judge of your own"
        )
    if checkpoint is not None:
        raise BadArgument(
            f"checkpoint {checkpoint}: the judge 'measured' needs none; give it to the scorer"
            " visionreward-video or visionreward-image"
        )
    from vqa.judges.measured import Measured

    return Measured()


def _cached(known: Known) -> Path:
    """The scorer's own checkpoint, if it was fetched before; nobody expects 25 GB to be fetched."""
    from vqa.models.hub import resolve

    hub_id = known.hub_id or "zai-org/VisionReward-Video"
    try:
        return resolve(hub_id, download=False)
    except VqaError:
        pass
    fetch = f"checkpoint={hub_id!r} fetches it ({known.size}), or give the folder of one"
    if known.kind == "image":
        fetch = f"fetch {hub_id} ({known.size}), run `vqa convert` once, and give that folder"
    raise MissingCheckpoint(
        f"{known.name}: needs a checkpoint: {fetch}; or score with 'measured', or give a judge of"
        " your own"
    )


def _sampler(known: Known, sampler: Sampler | str | None) -> Sampler:
    from vqa import sample

    if sampler is None:  # the released video script looks at one frame per second, at most 24
        return sample.PerSecond() if known.name == "visionreward-video" else sample.All()
    return sampler_named(sampler) if isinstance(sampler, str) else sampler


def sampler_named(text: str) -> Sampler:
    """Make a sampler from its name, "uniform", or name and number, "uniform:16".

    Raises BadArgument for an unknown name or a number that the sampler does not take.
    """
    from vqa import sample

    samplers: dict[str, tuple[Callable[..., Sampler], type[int] | type[float] | None]] = {
        "all": (sample.All, None),
        "per-second": (sample.PerSecond, int),
        "uniform": (sample.Uniform, int),
        "at-rate": (sample.AtRate, float),
        "around-motion": (sample.AroundMotion, int),
    }
    name, colon, number = text.partition(":")
    make, kind = samplers[_one_of(name, samplers, "sampler")]
    if not colon:
        return make()
    try:
        value = None if kind is None else kind(number)
    except ValueError:
        value = None
    if value is None:
        raise BadArgument(f"{text!r}: {number!r} is no number for the sampler {name!r}")
    return make(value)


def _one_of(name: str, names: Iterable[str], what: str) -> str:
    known = list(names)
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise BadArgument(f"{name!r}: no {what} of that name{hint} Known: {', '.join(known)}")

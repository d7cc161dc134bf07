"""What `vqa.load` knows by name, and what `vqa models` tells about it. Plain data; imports nothing.

Sizes are those of the published files. Facts about the baselines: the pages of their checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Known:
    """A scorer that `load` knows by name.

    A checklist scorer has `checklist`, `judge` and the `kind` of its network; any other has `home`,
    the module whose `load` makes its rater. inputs -- what it looks at: a scorer of images rates a
    video by its frames. prompt -- whether it needs one. parts -- names of its checkpoints, where it
    has several. own -- arguments of `load` that only it has. dtype -- what "auto" means. sampler --
    as `sampler_named` takes it. gb -- size of the published files in 1e9 bytes. parameters -- in
    1e9, for what it takes in memory.
    """

    name: str
    what: str
    range: str
    inputs: Literal["video", "image"] = "video"
    prompt: bool = True
    needs: str = "a checkpoint"
    checklist: str | None = None
    judge: str | None = None
    kind: Literal["video", "image"] | None = None
    home: str | None = None
    parts: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    sampler: str = "per-second"
    dtype: str = "bfloat16"
    hub_id: str | None = None
    pickles: tuple[str, ...] = ()
    gb: float | None = None
    parameters: float | None = None
    license: str = "Apache-2.0"


ASPECTS = "five aspects: visual quality, temporal consistency, dynamic degree, alignment, facts"
COSINE = "-1 to 1"

_ALL = (
    Known(
        name="measured",
        what="questions that pixels can answer, from measured features",
        range="-0.216 to 0.216",
        prompt=False,
        needs="nothing",
        checklist="visionreward-video",
        judge="measured",
        sampler="all",
    ),
    Known(
        name="visionreward-video",
        what="29 weighted questions about a video and its prompt",
        range="-0.216 to 0.216",
        prompt=False,
        checklist="visionreward-video",
        judge="cogvlm2",
        kind="video",
        hub_id="zai-org/VisionReward-Video",
        gb=25.0,
        parameters=12.508,
        license="CogVLM2 (weights)",
    ),
    Known(
        name="visionreward-image",
        what="27 weighted questions, 3 masks and an alignment term",
        range="-2.54 to 4.89",
        inputs="image",
        prompt=False,
        needs="a checkpoint, after `vqa convert`",
        checklist="visionreward-image",
        judge="cogvlm2",
        kind="image",
        parts=("visionreward-image", "vqascore"),
        sampler="all",
        hub_id="zai-org/VisionReward-Image-bf16",
        gb=39.0,
        parameters=19.503,
        license="CogVLM2 (weights)",
    ),
    Known(
        name="videoscore",
        what=ASPECTS,
        range="about 1 to 4, not clamped",
        home="vqa.scorers.videoscore",
        sampler="strided:16",
        hub_id="TIGER-Lab/VideoScore",
        gb=16.6,
        parameters=8.3,
    ),
    Known(
        name="videoscore-v1.1",
        what=ASPECTS,
        range="about 1 to 4, not clamped",
        home="vqa.scorers.videoscore",
        sampler="strided:48",
        hub_id="TIGER-Lab/VideoScore-v1.1",
        gb=16.6,
        parameters=8.3,
        license="MIT",
    ),
    Known(
        name="videoscore-qwen2vl",
        what=ASPECTS,
        range="about 1 to 4, not clamped",
        home="vqa.scorers.videoscore_qwen2vl",
        sampler="even-rate:8",
        hub_id="TIGER-Lab/VideoScore-Qwen2-VL",
        gb=15.5,
        parameters=7.75,
        license="unknown (base: Apache-2.0)",
    ),
    Known(
        name="imagereward",
        what="how well people like a picture for its prompt",
        range="unbounded, mean about 0, spread 1",
        inputs="image",
        home="vqa.scorers.imagereward",
        dtype="float32",
        hub_id="THUDM/ImageReward",
        pickles=("ImageReward.pt",),
        gb=1.8,
        parameters=0.447,
    ),
    Known(
        name="ict",
        what="how much of the prompt a picture shows: cosine of a tuned CLIP",
        range=COSINE,
        inputs="image",
        home="vqa.scorers.ict",
        dtype="float32",
        hub_id="8y/ICT",
        pickles=("pytorch_model.bin",),
        gb=3.9,
        parameters=0.986,
        license="unknown (base: MIT)",
    ),
    Known(
        name="hp",
        what="how well people like a picture, whatever the prompt",
        range="0 to 1",
        inputs="image",
        prompt=False,
        home="vqa.scorers.hp",
        dtype="float32",
        hub_id="8y/HP",
        pickles=("hp_backbone/pytorch_model.bin", "hp_scorer/mlp_pytorch_model.bin"),
        gb=3.9,
        parameters=0.987,
        license="unknown (base: MIT)",
    ),
    Known(
        name="icthp",
        what="ICT and HP together, half and half unless told",
        range="-0.5 to 1",
        inputs="image",
        home="vqa.scorers.icthp",
        needs="two checkpoints, ict= and hp=",
        parts=("ict", "hp"),
        own=("weights",),
        dtype="float32",
        gb=7.8,
        parameters=1.973,
        license="unknown (base: MIT)",
    ),
    Known(
        name="clipscore",
        what="cosine of picture and prompt; any CLIP",
        range=COSINE,
        inputs="image",
        home="vqa.scorers.clipscore",
        dtype="float32",
        hub_id="openai/clip-vit-large-patch14",
        pickles=("pytorch_model.bin",),
        gb=1.7,
        parameters=0.428,
        license="MIT",
    ),
    Known(
        name="pickscore",
        what="what people picked: scaled cosine of a tuned CLIP",
        range="about 15 to 27",
        inputs="image",
        home="vqa.scorers.pickscore",
        dtype="float32",
        hub_id="yuvalkirstain/PickScore_v1",
        pickles=("pytorch_model.bin",),
        gb=3.9,
        parameters=0.986,
        license="MIT",
    ),
    Known(
        name="hpsv2",
        what="how well people like a picture for its prompt: cosine of a tuned CLIP",
        range=COSINE,
        inputs="image",
        home="vqa.scorers.hpsv2",
        own=("antialias",),
        dtype="float32",
        hub_id="xswu/HPSv2",
        pickles=("HPS_v2.1_compressed.pt",),
        gb=3.9,
        parameters=0.986,
    ),
    Known(
        name="vqascore",
        what="P(Yes) to whether a picture shows the prompt: CLIP-FlanT5",
        range="0 to 1",
        inputs="image",
        home="vqa.scorers.vqascore",
        hub_id="zhiqiulin/clip-flant5-xxl",
        pickles=("pytorch_model*.bin",),
        gb=23.0,
        parameters=11.4,
    ),
)

SCORERS: Mapping[str, Known] = {known.name: known for known in _ALL}

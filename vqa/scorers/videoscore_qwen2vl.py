"""VideoScore-Qwen2-VL: a video and its prompt in, five numbers out, one for each aspect.

TIGER-Lab/VideoScore-Qwen2-VL; He et al., "VideoScore", arXiv 2406.15252. About 8 frames a second
are read, always an even number. Trained on labels from 1 to 4; the outputs are not clamped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from tokenizers import Tokenizer

from vqa.errors import BadArgument, BadCheckpoint
from vqa.models.fit import check_files
from vqa.models.qwen2vl import Regressor, load_regressor
from vqa.models.qwen2vl_pixels import Recipe, patches
from vqa.models.videoscore_prompt import ASPECTS, regression_prompt
from vqa.scorer import attempt
from vqa.scorers.base import Rating, View

VIDEO = "<|video_pad|>"
# The stock chat of Qwen2-VL: its system line, one turn of the user, and the start of an answer that
# is never given. The numbers are read at the line break after "assistant".
CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    f"<|im_start|>user\n<|vision_start|>{VIDEO}<|vision_end|>{{}}<|im_end|>\n"
    "<|im_start|>assistant\n"
)
FROM = "take it from TIGER-Lab/VideoScore-Qwen2-VL on the hub"
FILES = dict.fromkeys(("config.json", "preprocessor_config.json", "tokenizer.json"), FROM)


@dataclass(frozen=True, eq=False)
class Rater:
    """Rates clips, one per pass: clips differ in size, and a pass is long enough to fill a card."""

    network: Regressor
    tokenizer: Tokenizer
    recipe: Recipe
    at_once: int = 1
    needs_prompt: bool = True

    def rate(self, views: Sequence[View]) -> Sequence[Rating | Exception]:
        """Rate clips in order; the value is the mean of the five aspects."""
        return [attempt(lambda view=view: self._rate(view)) for view in views]  # type: ignore[misc]

    @torch.inference_mode()
    def _rate(self, view: View) -> Rating:
        pixels, grid = patches(view.clip.frames(), self.recipe)
        ids = self.ids(view.prompt or "", count=len(pixels) // self.recipe.merge**2)
        numbers = self.network(ids, pixels, grid).tolist()
        return Rating(fmean(numbers), aspects=dict(zip(ASPECTS, numbers, strict=True)))

    def ids(self, prompt: str, *, count: int) -> list[int]:
        """Give the token ids of the chat about a prompt, with `count` tokens for the video.

        Raises BadArgument for a prompt that itself holds the video's token.
        """
        if VIDEO in prompt:
            raise BadArgument(f"prompt {prompt!r}: {VIDEO} stands for the video; leave it out")
        text = CHAT.format(regression_prompt(prompt))
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        place = ids.index(self.network.video_token)
        return [*ids[:place], *ids[place : place + 1] * count, *ids[place + 1 :]]


def load(folders: Mapping[str, Path], *, device: torch.device, dtype: torch.dtype) -> Rater:
    """Load the folder of VideoScore-Qwen2-VL: weights, config, preprocessor config and tokenizer.

    Raises MissingCheckpoint and BadCheckpoint.
    """
    folder = folders["videoscore-qwen2vl"]
    check_files(folder, FILES)
    network = load_regressor(folder, outputs=len(ASPECTS), device=device, dtype=dtype)
    recipe = Recipe.read(folder)
    return Rater(network, _tokenizer(folder / "tokenizer.json", network.video_token), recipe)


def _tokenizer(file: Path, video_token: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more special
        raise BadCheckpoint(f"{file}: is no tokenizer ({error}); {FROM}") from None
    if tokenizer.token_to_id(VIDEO) != video_token:
        raise BadCheckpoint(
            f"{file}: {VIDEO} has the id {tokenizer.token_to_id(VIDEO)} there, and {video_token} in"
            f" config.json: they are of two models; {FROM}"
        )
    return tokenizer

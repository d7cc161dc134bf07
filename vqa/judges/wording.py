"""How a question is put to a model that was not trained on it, and the pictures it comes with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image

from vqa.errors import BadArgument

if TYPE_CHECKING:
    from features.clip import Clip

PLACE = "{question}"
PLAIN = f"{PLACE}\nAnswer with yes or no."
OF_FRAMES = f"These are frames of one video, in order of time.\n{PLAIN}"

# Several frames: no larger than what Qwen's own tools allow a frame of a video (768 patches of
# 28x28), or 24 frames of HD would be 28000 tokens. A single picture is left as it is.
MAX_PIXELS = 768 * 28 * 28
# More can only be a mistake, such as every frame of a long film.
MAX_PICTURES = 512


def checked(template: str | None) -> str | None:
    """Raise BadArgument for a template without a place for the question."""
    if template is not None and PLACE not in template:
        raise BadArgument(f"template {template!r}: must hold {PLACE}, where the question goes")
    return template


def worded(text: str, *, frames: int, template: str | None = None) -> str:
    """Give what is sent after the pictures; the question stands in it verbatim.

    template -- text with {question} in it; None takes `PLAIN` for a single picture or a video, and
    `OF_FRAMES` for several pictures.
    """
    return (template or (OF_FRAMES if frames > 1 else PLAIN)).replace(PLACE, text)


def pictures(clip: Clip, *, max_pixels: int | None = MAX_PIXELS) -> list[Image.Image]:
    """Give the wanted frames of a clip as RGB; several are made no larger than `max_pixels`.

    Transparency of a still image is dropped. Raises BadArgument for more than 512 frames, and what
    decoding raises.
    """
    count = len(clip.times_s if clip.indices is None else clip.indices)
    if count > MAX_PICTURES:
        raise BadArgument(
            f"{clip.name}: {count} frames are more than the {MAX_PICTURES} that a judge looks at;"
            " choose some with a sampler, such as vqa.PerSecond() or vqa.Uniform(24)"
        )
    shown = [image.convert("RGB") for image in clip.images()]
    if max_pixels is None or len(shown) == 1:
        return shown
    return [_shrunk(image, max_pixels) for image in shown]


def _shrunk(image: Image.Image, most: int) -> Image.Image:
    factor = math.sqrt(most / (image.width * image.height))
    if factor >= 1:
        return image
    size = (max(1, int(image.width * factor)), max(1, int(image.height * factor)))
    return image.resize(size, Image.Resampling.BICUBIC)

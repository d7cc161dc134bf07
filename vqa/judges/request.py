"""The body of a chat completion: pictures first, then the question.

All questions about a clip share the bytes up to the question, so that the prefix cache of a server
(vLLM, SGLang) holds the encoded pictures after the first of them.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

Media = Literal["images", "video"]
Coding = Literal["jpeg", "png"]

# Fine enough that compression is no flaw that a judge could see; a frame of 720p is about 200 kB.
JPEG_QUALITY = 95
_HERE = "\x00question\x00"  # stands where the question goes


@dataclass(frozen=True, eq=False)
class Body:
    """The bytes before and after the question, in JSON; parameters follow."""

    head: bytes
    tail: bytes

    def asking(self, text: str, parameters: Mapping[str, Any]) -> bytes:
        """Put in what is sent after the pictures."""
        rest = f", {json.dumps(parameters)[1:]}" if parameters else "}"
        return self.head + json.dumps(text).encode() + self.tail + rest.encode()


def body(
    pictures: Sequence[Image.Image],
    *,
    model: str,
    media: Media = "images",
    coding: Coding = "jpeg",
) -> Body:
    """Make the body about one clip.

    media -- "images" sends a list of pictures, which every server takes; "video" sends one part of
    JPEG frames, data:video/jpeg;base64,FRAME,FRAME,... as vLLM takes it.
    """
    parts = _video(pictures) if media == "video" else _images(pictures, coding)
    content = [*parts, {"type": "text", "text": _HERE}]
    message = {"model": model, "messages": [{"role": "user", "content": content}]}
    head, _, tail = json.dumps(message).partition(json.dumps(_HERE))
    return Body(head.encode(), tail.removesuffix("}").encode())


def _images(pictures: Sequence[Image.Image], coding: Coding) -> list[dict[str, Any]]:
    return [
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/{coding};base64,{_coded(p, coding)}"},
        }
        for p in pictures
    ]


def _video(pictures: Sequence[Image.Image]) -> list[dict[str, Any]]:
    frames = ",".join(_coded(picture, "jpeg") for picture in pictures)
    return [{"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{frames}"}}]


def _coded(picture: Image.Image, coding: Coding) -> str:
    out = io.BytesIO()
    if coding == "png":
        picture.save(out, "PNG")
    else:
        picture.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return base64.b64encode(out.getvalue()).decode()

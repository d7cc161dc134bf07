"""Judge a long and a short clip with less and less memory, and print what came of it as JSON.

    python -m tests.tight

A process of its own, because a limit on memory hits all that is in it. Most memory goes into the
wide MLP: 100 kB for a token of a pass. Freed blocks must go back to the system for the limit to be
what it says: run it with MALLOC_MMAP_THRESHOLD_=65536.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from features.clip import Clip
from tests.golden import VIDEO
from tests.peak import status
from tests.tiny import engine_of, random_model, small_config
from vqa.checklist import Checklist
from vqa.errors import OutOfMemory
from vqa.judges.base import Ask
from vqa.judges.cogvlm2 import CogVLM2
from vqa.models.cogvlm2.engine import Engine, Look

BUDGET = 3000
WIDE = replace(small_config(experts=False, vocab_size=1000), intermediate_size=8192)


@contextmanager
def memory(megabytes: int) -> Iterator[None]:
    """Leave so much to allocate on top of what the process holds."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (status("VmData") + megabytes * 10**6, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def judged(engine: Engine, asks: list[Ask]) -> dict[str, object]:
    """Ask about all clips together; give P(yes) or the complaint of each, and the budget left."""
    engine.packer.budget = BUDGET
    found = CogVLM2(engine).ask_many(asks)
    told = [repr(one) if isinstance(one, Exception) else [a.p_yes for a in one] for one in found]
    return {"told": told, "budget": engine.packer.budget}


def main() -> None:
    """Ask 26 questions about 100 pictures and 5 about 2 of them."""
    torch.set_num_threads(1)  # a thread that starts takes memory of its own
    engine = engine_of(VIDEO, random_model(WIDE))
    asked = [q for q in Checklist.load("visionreward-video").asked if not q.needs_prompt]
    frames = np.random.default_rng(0).integers(0, 256, (100, 56, 56, 3), np.uint8)
    asks = [Ask(Clip.from_frames(frames), asked), Ask(Clip.from_frames(frames[:2]), asked[:5])]
    found: dict[str, object] = {"free": judged(engine, asks)}
    for megabytes in (100, 50):
        with memory(megabytes):
            found[str(megabytes)] = judged(engine, asks)
    look = Look(engine.pixels(frames), ["Is it sharp?"])
    with memory(0):
        try:
            engine.read([look])
        except OutOfMemory as error:
            found["nothing"] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

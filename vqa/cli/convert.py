"""`vqa convert`."""

from __future__ import annotations

from vqa.cli.output import tell


def run(source: str, out: str, *, tokenizer: str | None = None, dtype: str | None = None) -> int:
    """Convert VisionReward-Image as published into `out` and print that; returns the exit status.

    Raises what `vqa.models.cogvlm2.convert.convert` raises.
    """
    from vqa.models.cogvlm2.convert import convert

    print(convert(source, out, tokenizer=tokenizer, dtype=dtype, on_shard=_tell_shard))
    if tokenizer is None:
        tell(f"{out}: has no tokenizer yet; put tokenizer.json of Meta-Llama-3-8B-Instruct into it")
    return 0


def _tell_shard(name: str, done_bytes: int, total_bytes: int) -> None:
    tell(f"{name}: {done_bytes / 1e9:.2f} of {total_bytes / 1e9:.2f} GB")

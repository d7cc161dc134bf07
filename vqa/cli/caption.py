"""`vqa caption`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqa.cli.inputs import expand
from vqa.cli.output import about, progress, tell, wants_json, write_json
from vqa.errors import BadArgument, MissingCheckpoint
from vqa.loading import sampler_named
from vqa.score import Score

if TYPE_CHECKING:
    from vqa.judges.cogvlm2 import CogVLM2
    from vqa.sample import Sampler

HUB_ID = "zai-org/cogvlm2-llama3-caption"


@dataclass(frozen=True)
class Options:
    """Which network, and which frames it sees."""

    checkpoint: str | None = None
    sampler: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    quantize: str | None = None
    strict: bool = False

    def load(self) -> CogVLM2:
        """Load the network; raises what `CogVLM2.load` raises."""
        if self.checkpoint is None:
            raise MissingCheckpoint(
                f"caption: needs a checkpoint: --checkpoint {HUB_ID} fetches one (25.0 GB), or give"
                " the folder of one"
            )
        from vqa.judges.cogvlm2 import CogVLM2

        return CogVLM2.load(
            self.checkpoint, device=self.device, dtype=self.dtype, quantize=self.quantize
        )


def run(
    paths: Sequence[str],
    *,
    question: str | None,
    max_tokens: int,
    options: Options,
    json: bool,
    table: bool,
) -> int:
    """Describe clips and print that; returns the exit status."""
    if max_tokens < 1:
        raise BadArgument(f"--max-tokens must be at least 1, not {max_tokens}")
    as_json = wants_json(as_json=json, as_table=table)
    clips = expand(paths)
    sampler = sampler_named(options.sampler or "per-second")
    judge = options.load()
    failed = 0
    with progress(len(clips), title="describing", quiet=True) as step:
        for path in clips:
            row = _row(judge, sampler, path, question, max_tokens, strict=options.strict)
            failed += row["status"] == "error"
            _show(row, as_json=as_json)
            step()
    return 1 if failed else 0


def _row(
    judge: CogVLM2,
    sampler: Sampler,
    path: str,
    question: str | None,
    max_tokens: int,
    *,
    strict: bool,
) -> dict[str, Any]:
    from features.clip import Clip

    row: dict[str, Any] = {"path": path, "status": "ok", "error": None, "caption": None}
    asked = {} if question is None else {"query": question}
    try:
        clip = sampler(Clip.open(path, strict=strict))
        return row | {"caption": judge.caption(clip, max_tokens=max_tokens, **asked)}
    except Exception as error:
        return row | {"status": "error", "error": Score.failed(error).row()["error"]}


def _show(row: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(row)
    elif row["status"] == "ok":
        print(f"{row['path']}: {row['caption']}")
    if row["status"] == "error":
        tell(about(row["path"], row["error"]["message"]))

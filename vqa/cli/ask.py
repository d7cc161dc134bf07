"""`vqa ask`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vqa.cli.output import about, tell, wants_json, write_json
from vqa.cli.score import Options
from vqa.errors import BadArgument
from vqa.score import Score, plain


def run(
    clip: str,
    questions: Sequence[str],
    *,
    prompt: str | None,
    options: Options,
    json: bool,
    table: bool,
) -> int:
    """Ask and print the answers; returns the exit status."""
    as_json = wants_json(as_json=json, as_table=table)
    scorer = options.load()
    try:
        answers = scorer.ask(clip, questions, prompt=prompt)
    except BadArgument:
        raise  # wrong usage
    except Exception as error:
        failed = Score.failed(error, path=clip).row()["error"]
        if as_json:
            write_json(_row(clip, prompt, error=failed))
        tell(about(clip, failed["message"]))
        return 1
    if as_json:
        for a in answers:
            write_json(_row(clip, prompt, id=a.id, text=a.text, p_yes=plain(a.p_yes)))
    else:
        from vqa.cli.tables import print_answers

        print_answers(answers)
    missing = sum(a.p_yes is None for a in answers)
    if missing:
        tell(
            f"{scorer.name}: no answer to {missing} of {len(answers)} questions; questions about a"
            " prompt need --prompt, and what pixels do not show needs another judge: see"
            " `vqa models`"
        )
    return 0


def _row(clip: str, prompt: str | None, **found: Any) -> dict[str, Any]:
    empty = {"id": None, "text": None, "p_yes": None, "error": None}
    return {"path": clip, "prompt": prompt, **empty, **found}

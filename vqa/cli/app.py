"""What the commands are called and what they take. Parsing only: a command gives back its work.

The work runs outside of typer, so that interrupts, closed pipes and errors are handled in one place
(`vqa.cli.main`). Help is plain text: rich help costs 0.1 s at every start and says nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from vqa._version import __version__
from vqa.errors import BadArgument

Work = Callable[[], int]

app = typer.Typer(
    name="vqa",
    help="Scores generated video the way people judge it, and says why.",
    epilog="Exit status: 0 all scored, 1 some inputs failed (their rows say why), 2 wrong usage.",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help="Video files, folders (every video in them; a folder of images is one clip), patterns"
        " in quotes.",
    ),
]
Prompt = Annotated[str | None, typer.Option(help="The prompt the clips were made from.")]
Prompts = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="One prompt per line in the order of the clips, or CSV or JSON Lines with path and"
        " prompt.",
    ),
]
ScorerName = Annotated[
    str, typer.Option("--scorer", metavar="NAME", help="Which scorer; see `vqa models`.")
]
JudgeName = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="NAME|MODEL|URL",
        help="Who answers the questions: measured, cogvlm2; the folder or hub id of a"
        " vision-language model; or an OpenAI-compatible server, http://HOST:PORT/v1[#MODEL].",
    ),
]
Checkpoint = Annotated[
    list[str] | None,
    typer.Option(
        "--checkpoint",
        metavar="[NAME=]DIR",
        help="The network's weights: a folder, or a hub id, which is fetched once.",
    ),
]
Reduce = Annotated[
    str | None,
    typer.Option("--reduce", help="How frames become one number: mean, median, min, max, last."),
]
SamplerName = Annotated[
    str | None,
    typer.Option(
        "--sampler",
        metavar="NAME[:N]",
        help="Which frames a network sees: per-second[:24], uniform[:24], at-rate[:4],"
        " around-motion[:16], all.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="For networks: auto, cpu, cuda, cuda:1.")]
Dtype = Annotated[
    str, typer.Option("--dtype", help="For networks: auto, bfloat16, float16, float32.")
]
Quantize = Annotated[
    str | None,
    typer.Option("--quantize", metavar="int8|int4", help="Networks in less memory."),
]
ChecklistPath = Annotated[
    str | None,
    typer.Option("--checklist", metavar="NAME|FILE", help="Questions and weights of your own."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="A clip that stops early is an error, not a warning.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
AsTable = Annotated[
    bool, typer.Option("--table", help="A table for people (the default on a terminal).")
]
Clip = Annotated[str, typer.Argument(metavar="CLIP", help="A video file.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"vqa {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("score", short_help="Score clips: one number each, with the reasons.")
def _score(
    paths: Paths,
    prompt: Prompt = None,
    prompts: Prompts = None,
    scorer: ScorerName = "measured",
    judge: JudgeName = None,
    checkpoint: Checkpoint = None,
    checklist: ChecklistPath = None,
    sampler: SamplerName = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    reduce: Reduce = None,
    strict: Strict = False,
    json: AsJson = False,
    table: AsTable = False,
) -> Work:
    """Score clips: one number each, and what it is made of.

    Table on a terminal, one JSON object per clip in a pipe. A clip that cannot be read costs its
    own row and nothing else.

    \b
    Examples:
      vqa score clip.mp4 --prompt "a horse runs on a beach"
      vqa score outputs/ --prompts prompts.txt --json > rows.jsonl
      vqa score out/ --scorer visionreward-video --checkpoint DIR --json
    """
    from vqa.cli import score

    options = score.Options(
        scorer=scorer,
        judge=judge,
        checkpoint=score.checkpoints(checkpoint),
        checklist=checklist,
        sampler=sampler,
        device=device,
        dtype=dtype,
        quantize=quantize,
        reduce=reduce,
        strict=strict,
    )
    return lambda: score.run(
        paths, prompt=prompt, prompts=prompts, options=options, json=json, table=table
    )


@app.command("compare", short_help="Tell which of two clips is better, and why.")
def _compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A video file.")],
    b: Annotated[str, typer.Argument(metavar="B", help="A video file made for the same prompt.")],
    prompt: Prompt = None,
    scorer: ScorerName = "measured",
    judge: JudgeName = None,
    checkpoint: Checkpoint = None,
    checklist: ChecklistPath = None,
    sampler: SamplerName = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    reduce: Reduce = None,
    strict: Strict = False,
    json: AsJson = False,
    table: AsTable = False,
) -> Work:
    """Compare two clips: which is better, by how much, and what decided it.

    \b
    Example:
      vqa compare a.mp4 b.mp4 --prompt "a horse runs on a beach"
    """
    from vqa.cli import compare, score

    options = score.Options(
        scorer=scorer,
        judge=judge,
        checkpoint=score.checkpoints(checkpoint),
        checklist=checklist,
        sampler=sampler,
        device=device,
        dtype=dtype,
        quantize=quantize,
        reduce=reduce,
        strict=strict,
    )
    return lambda: compare.run(a, b, prompt=prompt, options=options, json=json, table=table)


@app.command("ask", short_help="Ask yes/no questions about a clip.")
def _ask(
    clip: Clip,
    questions: Annotated[
        list[str],
        typer.Argument(metavar="QUESTION", help="A yes/no question, or the id of one."),
    ],
    prompt: Prompt = None,
    scorer: ScorerName = "measured",
    judge: JudgeName = None,
    checkpoint: Checkpoint = None,
    checklist: ChecklistPath = None,
    sampler: SamplerName = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    strict: Strict = False,
    json: AsJson = False,
    table: AsTable = False,
) -> Work:
    """Ask yes/no questions about a clip: P(yes), or nothing where the judge cannot say.

    `measured` answers those questions of its checklist that pixels can answer, by id or by exact
    text.

    \b
    Example:
      vqa ask clip.mp4 "Is the camera very stable?" clear.very_clear
    """
    from vqa.cli import ask, score

    options = score.Options(
        scorer=scorer,
        judge=judge,
        checkpoint=score.checkpoints(checkpoint),
        checklist=checklist,
        sampler=sampler,
        device=device,
        dtype=dtype,
        quantize=quantize,
        strict=strict,
    )
    return lambda: ask.run(clip, questions, prompt=prompt, options=options, json=json, table=table)


@app.command("measure", short_help="Measure clips: numbers with units.")
def _measure(
    paths: Paths,
    curves: Annotated[
        bool, typer.Option("--curves", help="Add the curves over time (one value per frame).")
    ] = False,
    strict: Strict = False,
    json: AsJson = False,
    table: AsTable = False,
) -> Work:
    """Measure clips: motion, stability, flicker, freezes, sharpness and more, with units.

    \b
    Example:
      vqa measure clip.mp4 --curves --json
    """
    from vqa.cli import measure

    return lambda: measure.run(paths, curves=curves, strict=strict, json=json, table=table)


@app.command("caption", short_help="Describe clips in words.")
def _caption(
    paths: Paths,
    checkpoint: Checkpoint = None,
    question: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What to ask instead of a description.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Longest caption, in tokens.")] = 512,
    sampler: SamplerName = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    strict: Strict = False,
    json: AsJson = False,
    table: AsTable = False,
) -> Work:
    """Describe clips in words with a CogVLM2 that was trained to: cogvlm2-llama3-caption.

    \b
    Example:
      vqa caption clip.mp4 --checkpoint zai-org/cogvlm2-llama3-caption
    """
    from vqa.cli import caption

    options = caption.Options(
        checkpoint[-1] if checkpoint else None, sampler, device, dtype, quantize, strict
    )
    return lambda: caption.run(
        paths, question=question, max_tokens=max_tokens, options=options, json=json, table=table
    )


@app.command("convert", short_help="Convert VisionReward-Image as published, once.")
def _convert(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Its folder (split parts), tar or .pt file.")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The folder to write.")],
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Where tokenizer.json of Meta-Llama-3-8B lies."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(metavar="NAME", help="bfloat16, float16, float32; else as it is.")
    ] = None,
) -> Work:
    """Convert VisionReward-Image from its training format into safetensors, shard by shard.

    Runs nothing that is stored in it, and needs disk for the result only.

    \b
    Example:
      vqa convert VisionReward-Image-bf16 converted --tokenizer FOLDER
    """
    from vqa.cli import convert

    return lambda: convert.run(source, out, tokenizer=tokenizer, dtype=dtype)


@app.command("selftest", short_help="Compare a scorer with published outputs.")
def _selftest(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A scorer; see `vqa models`.")],
    checkpoint: Checkpoint = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="PATH",
            help="An example that was published, or a folder with them; a message says which.",
        ),
    ] = None,
    cases: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Cases of your own, in the form of selftest.yaml."),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    json: AsJson = False,
    table: AsTable = False,
) -> Work:
    """Compare a scorer with the outputs that its authors and users published.

    Needs the published weights and the examples. Status 0 if all numbers agree, 1 if some do not,
    2 if something is missing.

    \b
    Example:
      vqa selftest videoscore --checkpoint DIR --input video1.mp4
    """
    from vqa.cli import score, selftest

    return lambda: selftest.run(
        name,
        checkpoint=score.checkpoints(checkpoint),
        inputs=inputs or [],
        cases=cases,
        device=device,
        dtype=dtype,
        json=json,
        table=table,
    )


@app.command("models", short_help="List the scorers and what they need.")
def _models(json: AsJson = False, table: AsTable = False) -> Work:
    """List the scorers: what they need, their size, license and hub id, and what fits here.

    \b
    Example:
      vqa models
    """
    from vqa.cli import about

    return lambda: about.models(json=json, table=table)


@app.command("doctor", short_help="Tell what works on this machine.")
def _doctor(json: AsJson = False, table: AsTable = False) -> Work:
    """Tell what works on this machine: packages, decoders, GPU, memory, disk.

    \b
    Example:
      vqa doctor
    """
    from vqa.cli import about

    return lambda: about.doctor(json=json, table=table)


def parse(argv: list[str]) -> Work:
    """Turn arguments into work to do; raises BadArgument for wrong usage."""
    try:
        found: Any = typer.main.get_command(app).main(argv, prog_name="vqa", standalone_mode=False)
    except Exception as error:
        # typer brings click along under its own name in some releases and as a package in others.
        if not hasattr(error, "format_message"):
            raise
        raise BadArgument(_usage(error)) from None
    status = found if isinstance(found, int) else 0
    return found if callable(found) else lambda: status


def _usage(error: Any) -> str:
    command = getattr(getattr(error, "ctx", None), "command_path", None) or "vqa"
    message = error.format_message()
    return (
        f"{message if message.endswith('?') else message.rstrip('.') + '.'} See `{command} --help`."
    )

"""The command line. `main` is what `vqa` runs; nothing heavy is imported until work begins."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
PIPE_CLOSED = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0 all inputs scored, 1 some failed (their rows say why), 2 wrong usage, 130 interrupted.
    """
    try:
        status = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("vqa: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`| head`). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _run(argv: list[str]) -> int:
    from vqa.cli.app import parse
    from vqa.cli.output import printable
    from vqa.errors import VqaError

    try:
        return parse(argv)()
    except VqaError as error:
        print(f"vqa: {printable(str(error))}", file=sys.stderr)
        return 2

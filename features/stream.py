"""One sequential pass over the frames of a clip, in constant memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt

from features.clock import Times
from features.errors import NoDecodableFrame, StoppedEarly
from features.limits import Limits
from features.sources import Picture, Report, Source

U8 = npt.NDArray[np.uint8]
Timed = tuple[float, Picture]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a clip."""

    index: int  # counted over the frames that could be decoded, from 0
    time_s: float  # presentation start, from the start of the stream
    rgb: U8  # (H, W, 3) uint8 RGB
    luma: U8 | None = None  # (H, W) uint8 full range, as coded: for 8-bit YUV, when not upright


class FrameStream:
    """Iterator over all frames; a context manager that lets go of the file when left early.

    When it is exhausted, `decoded` is the number of frames, `last_time_s` the time of the last one
    and `warnings` says what could not be decoded ("30 of 49 declared frames decoded").
    Raises `OverLimit` where the header lied about the size of the clip, `NoDecodableFrame` when
    there is not a single frame, and with `strict` `StoppedEarly` instead of the warnings.
    """

    def __init__(self, source: Source, limits: Limits, *, upright: bool, strict: bool) -> None:
        self.decoded = 0
        self.last_time_s: float | None = None
        self.warnings: list[str] = []
        self._frames = self._run(source, limits, upright=upright, strict=strict)

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return next(self._frames)

    def __enter__(self) -> FrameStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file. Iterating further gives nothing."""
        self._frames.close()

    def _run(
        self, source: Source, limits: Limits, *, upright: bool, strict: bool
    ) -> Generator[Frame]:
        report = Report()
        for time_s, picture in checked(source, limits, report, upright=upright):
            frame = Frame(self.decoded, time_s, picture.rgb(), picture.luma())
            self.decoded += 1
            self.last_time_s = time_s
            yield frame
        self.warnings = report.losses + report.notes
        if strict and report.losses:
            raise StoppedEarly(
                f"{source.name}: {'; '.join(report.losses)}; get the whole file, or read it "
                "without strict"
            )


def checked(source: Source, limits: Limits, report: Report, *, upright: bool) -> Generator[Timed]:
    """The pictures of a source, at least one, within the limits."""
    count = 0
    for time_s, picture in source.pictures(report, upright=upright):
        count += 1
        limits.check_frames(source.name, count)
        limits.check_seconds(source.name, time_s)
        yield time_s, picture
    if not count:
        raise NoDecodableFrame(
            f"{source.name}: not a single frame could be decoded; is the file damaged?"
        )


def chosen(pictures: Generator[Timed], wanted: Sequence[int], times_s: Times) -> Iterator[U8]:
    """RGB of the frames with these sorted indices into `times_s`; other pictures stay undecoded.

    Frames are matched by time, so that a lost frame does not shift those after it; in place of a
    lost frame comes the one nearest in time.
    """
    before: Timed | None = None
    waiting = list(reversed(wanted))
    for index, timed in enumerate(pictures):
        while waiting and _is_due(index, timed[0], waiting[-1], float(times_s[waiting[-1]])):
            due = float(times_s[waiting.pop()])
            yield _nearest(before, timed, due).rgb()
        if not waiting:
            pictures.close()
            return
        before = timed
    for _ in waiting:  # `checked` has raised if there was no picture at all
        yield before[1].rgb()  # type: ignore[index]


def _is_due(index: int, time_s: float, wanted: int, due: float) -> bool:
    # Frames may share a time; the index then tells them apart.
    return time_s > due or (time_s == due and index >= wanted)


def _nearest(before: Timed | None, here: Timed, due: float) -> Picture:
    if before is None or abs(here[0] - due) < due - before[0] or here[0] == due:
        return here[1]
    return before[1]

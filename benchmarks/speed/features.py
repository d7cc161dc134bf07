"""What measuring costs: seconds against decoding alone, memory against length, start-up time.

    python -m benchmarks speed features [--json] [--minutes 10] [--repeats 7] [--clip PATH ...]

A clip is decoded alone and measured in turn, several times, in this process; the medians are
compared. Both go through the same `Clip.stream`. Without --clip the clips are made here, 720x480 at
8 frames per second and 1280x720 at 24, and encoded as finely as real ones of these sizes: those of
../shared/videos have about 12 and 6 kB per frame. Two of them are timed as well where they are
there. Peak memory is that of a process of its own, for 10 seconds and for `--minutes` of 1080p.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from features.clip import Clip
from features.encode import repeat_clip, write_clip
from features.measure import measure
from features.synthetic import Scene, render

ALLOWED = {(720, 480): 2.0, (1280, 720): 1.5}
MEMORY_ALLOWED_MB = 100
REAL = [Path("../shared/videos") / name for name in ("cogvideox_1.mp4", "chronomagic_aquarium.mp4")]
HELP_ALLOWED_S, SCORE_ALLOWED_S = 0.4, 2.0

Case = dict[str, object]


def cases(*, clips: list[Path], minutes: float, repeats: int) -> Iterator[Case]:
    """One dictionary per case, as it is measured."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        for path in clips or [*_of_both_sizes(made), *(p for p in REAL if p.exists())]:
            yield _time_case(path, repeats)
        yield _start_case("vqa --help", ["--help"], HELP_ALLOWED_S, repeats)
        six = _made(made, 720, 480, 8, 48)
        yield _start_case(
            "vqa score (6 s, 720x480)", ["score", str(six), "--json"], SCORE_ALLOWED_S, repeats
        )
        if minutes > 0:
            yield _memory_case(made, minutes)


def _of_both_sizes(folder: Path) -> list[Path]:
    return [_made(folder, 720, 480, 8, 49, crf=16), _made(folder, 1280, 720, 24, 96, crf=22)]


def _time_case(path: Path, repeats: int) -> Case:
    clip = Clip.open(path)
    decode_s, measure_s = [], []
    for _ in range(repeats):
        decode_s.append(_seconds(lambda: _decode(clip)))
        measure_s.append(_seconds(lambda: measure(clip)))
    decode, everything = statistics.median(decode_s), statistics.median(measure_s)
    return {
        "case": f"measure {path.name}",
        "width": clip.width,
        "height": clip.height,
        "frames": len(clip.times_s),
        "kb_per_frame": round(path.stat().st_size / 1024 / len(clip.times_s), 1),
        "decode_s": round(decode, 4),
        "measure_s": round(everything, 4),
        "ratio": round(everything / decode, 3),
        "ratio_allowed": ALLOWED.get((clip.width, clip.height)),
        "ratios": sorted(round(m / d, 2) for m, d in zip(measure_s, decode_s, strict=True)),
    }


def _start_case(name: str, arguments: list[str], allowed_s: float, repeats: int) -> Case:
    command = [sys.executable, "-m", "vqa", *arguments]
    taken = [
        _seconds(lambda: subprocess.run(command, capture_output=True, check=True))
        for _ in range(repeats)
    ]
    return {
        "case": name,
        "seconds": round(statistics.median(taken), 3),
        "seconds_allowed": allowed_s,
    }


def _memory_case(folder: Path, minutes: float) -> Case:
    second, short, long = (
        _made(folder, 1920, 1080, 24, 24),
        folder / "short.mp4",
        folder / "long.mp4",
    )
    repeat_clip(second, short, times=10)
    repeat_clip(second, long, times=round(60 * minutes))
    small, large = _peak_mb(short), _peak_mb(long)
    return {
        "case": f"peak memory, 1080p, 10 s and {minutes:g} min",
        "mb_10_s": small,
        "mb_long": large,
        "mb_more": round(large - small, 1),
        "mb_more_allowed": MEMORY_ALLOWED_MB,
    }


def _peak_mb(path: Path) -> float:
    # Not getrusage: its figure starts with that of the process that forked this one.
    program = (
        "import sys\n"
        "from features.measure import measure\n"
        "measure(sys.argv[1])\n"
        "lines = open('/proc/self/status').read().splitlines()\n"
        "print(next(l.split()[1] for l in lines if l.startswith('VmHWM')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    return round(float(done.stdout) / 1024, 1)


def _made(folder: Path, width: int, height: int, fps: int, frames: int, *, crf: int = 18) -> Path:
    path = folder / f"made_{width}x{height}_{frames}.mp4"
    scene = Scene(
        width,
        height,
        frames,
        pan_px=(width / 400, 0.0),
        disc_px=(width / 200, 0.0),
        disc_radius=height // 6,
    )
    write_clip(path, render(scene), fps=fps, crf=crf)
    return path


def _decode(clip: Clip) -> None:
    with clip.stream(upright=False) as frames:
        for _ in frames:
            pass


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def print_case(case: Case, *, as_json: bool) -> None:
    """One line per case."""
    print(
        json.dumps(case) if as_json else "  ".join(f"{k}={v}" for k, v in case.items()), flush=True
    )

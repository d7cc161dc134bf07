"""`python -m benchmarks`: speed, agreement of the measured judge, its calibration."""

import argparse
from pathlib import Path


def main() -> None:
    """Read the command line and run one benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    speed = commands.add_parser("speed", help="seconds and memory as ratios, in one run")
    speed.add_argument("what", choices=["features"])
    speed.add_argument(
        "--clip", action="append", type=Path, default=[], help="time this clip instead of made ones"
    )
    speed.add_argument(
        "--minutes",
        type=float,
        default=10.0,
        help="length of the long clip for memory; 0 leaves it out",
    )
    speed.add_argument("--repeats", type=int, default=7)
    speed.add_argument("--json", action="store_true", help="one object per case")

    measured = commands.add_parser(
        "measured", help="agreement of `measured` with people on rated clips"
    )
    measured.add_argument("--data", type=Path, default=Path("../shared/videos"))
    measured.add_argument("--json", action="store_true", help="one object per line")

    ladders = commands.add_parser(
        "ladders", help="how often an original scores above its degraded copies"
    )
    ladders.add_argument("--data", type=Path, default=Path("../shared/ladders"))
    ladders.add_argument("--json", action="store_true", help="one object per line")

    ladders.add_argument(
        "--clip", action="append", type=Path, default=[], help="make ladders of it"
    )

    rounding = commands.add_parser("quantize", help="what int8 and int4 do to P(yes) and memory")
    rounding.add_argument("--clips", type=int, default=2)
    rounding.add_argument("--frames", type=int, default=7)
    rounding.add_argument("--hidden", type=int, default=512)
    rounding.add_argument("--layers", type=int, default=6)
    rounding.add_argument("--json", action="store_true", help="one object per line")

    demo = commands.add_parser("demo", help="write sample clips into a folder")
    demo.add_argument("folder", type=Path)

    calibrate = commands.add_parser("calibrate", help="fit the parameters of the measured judge")
    calibrate.add_argument("--clips", type=Path, default=Path("../shared/videos"))
    calibrate.add_argument("--out", type=Path, default=Path("vqa/judges/measured.yaml"))

    run = parser.parse_args()
    if run.command == "speed":
        from benchmarks.speed import features

        for case in features.cases(clips=run.clip, minutes=run.minutes, repeats=run.repeats):
            features.print_case(case, as_json=run.json)
    elif run.command == "measured":
        from benchmarks import measured as agreement

        agreement.print_report(run.data, as_json=run.json)
    elif run.command == "ladders":
        from benchmarks import ladders as twins

        twins.print_report(run.data, clips=run.clip, as_json=run.json)
    elif run.command == "quantize":
        from benchmarks import quantize

        quantize.print_report(
            clips=run.clips,
            frames=run.frames,
            hidden=run.hidden,
            layers=run.layers,
            as_json=run.json,
        )
    elif run.command == "demo":
        from benchmarks import demo as samples

        print(*samples.make(run.folder), sep="\n")
    else:
        from benchmarks import calibrate as fitting

        fitting.main(run.clips, run.out)


if __name__ == "__main__":
    main()

"""`vqa models` and `vqa doctor`: what can be loaded, and what works on this machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING, Any

from vqa._version import __version__
from vqa.cli.output import wants_json, write_json

if TYPE_CHECKING:
    from vqa.catalogue import Known
    from vqa.models.cogvlm2.fitting import Row
    from vqa.models.machine import Machine

# What each package is for; the first ones are needed by every command that opens a clip.
PACKAGES = {
    "numpy": "arrays",
    "opencv-python-headless": "features",
    "av": "decoder (default)",
    "decord": "decoder (optional, bit parity with the released script)",
    "pillow": "images and animations",
    "pyyaml": "checklists",
    "typer": "command line",
    "rich": "tables",
    "torch": "networks",
    "transformers": "networks",
    "safetensors": "checkpoints",
    "accelerate": "checkpoints",
    "einops": "networks",
    "tokenizers": "networks",
    "huggingface-hub": "checkpoints",
    "bitsandbytes": "int8 and int4 (optional)",
}
OPTIONAL = {"decord", "bitsandbytes"}
_CUDA = (
    "import torch; n = torch.cuda.device_count() if torch.cuda.is_available() else 0;"
    "print('; '.join(f'{torch.cuda.get_device_name(i)},"
    " {torch.cuda.get_device_properties(i).total_memory / 1e9:.0f} GB' for i in range(n)))"
)
_CUDA_TIMEOUT_S = 60


def models(*, json: bool, table: bool) -> int:
    """List what `vqa.load` and `--scorer` know, and what of it this machine can hold."""
    from vqa.catalogue import SCORERS
    from vqa.models.cogvlm2.fitting import rows

    machine = _machine()
    fitting = {row.name: row for row in rows(machine)}
    found = [_model(known, fitting.get(known.name)) for known in SCORERS.values()]
    if wants_json(as_json=json, as_table=table):
        for record in found:
            write_json(record)
        return 0
    from vqa.cli.tables import print_records

    apart = ("memory_gb", "why")
    print_records([{k: v for k, v in one.items() if k not in apart} for one in found])
    for one in found:
        if one["memory_gb"]:
            forms = ", ".join(f"{form} {size:g} GB" for form, size in one["memory_gb"].items())
            print(f"{one['name']}: {forms} at its peak; here: {one['why']}")
    return 0


def _model(known: Known, fitting: Row | None) -> dict[str, Any]:
    peaks = None if fitting is None else fitting.peaks
    return {
        "name": known.name,
        "what": known.what,
        "needs": known.needs,
        "size_gb": known.gb,
        "memory_gb": peaks and {form: round(size / 1e9, 1) for form, size in peaks.items()},
        "fits": "yes" if fitting is None else fitting.fits,
        "why": None if fitting is None else fitting.why,
        "license": known.license,
        "hub_id": known.hub_id,
    }


def _machine() -> Machine:
    """Look at memory, and at GPUs if this torch can use any: importing it takes seconds."""
    from vqa.models.machine import Machine, free_ram

    version = _installed("torch")
    if version is None or version.endswith("+cpu"):
        return Machine(free_ram())
    return Machine.here()


def doctor(*, json: bool, table: bool) -> int:
    """Report what works here; always succeeds, because a missing part is a finding."""
    _print(list(_checks()), json=json, table=table)
    return 0


def _print(records: list[dict[str, Any]], *, json: bool, table: bool) -> None:
    if wants_json(as_json=json, as_table=table):
        for record in records:
            write_json(record)
        return
    from vqa.cli.tables import print_records

    print_records(records)


def _checks() -> Iterator[dict[str, Any]]:
    yield _check("vqa", True, __version__)
    yield _check("python", True, f"{platform.python_version()} ({sys.executable})")
    yield _check("system", True, f"{platform.system()} {platform.release()} {platform.machine()}")
    for package, purpose in PACKAGES.items():
        yield _package(package, purpose)
    yield _measures()
    yield _gpu()
    yield _check("cores", True, str(_cores()))
    yield _check("memory", True, _memory())
    yield _check("disk", True, f"{shutil.disk_usage(os.getcwd()).free / 1e9:.1f} GB free here")


def _check(name: str, ok: bool | None, detail: str) -> dict[str, Any]:
    return {"check": name, "ok": ok, "detail": detail}


def _package(package: str, purpose: str) -> dict[str, Any]:
    version = _installed(package)
    if version is not None:
        return _check(package, True, f"{version}: {purpose}")
    missing = f"not installed: {purpose}; pip install {package}"
    return _check(package, None if package in OPTIONAL else False, missing)


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _measures() -> dict[str, Any]:
    """Encode, decode and measure a few frames: the whole way that `vqa score` goes."""
    try:
        import tempfile

        import numpy as np

        from features.encode import write_clip
        from features.measure import measure

        ramp = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8)
        frames = [np.stack([np.roll(ramp, 2 * t, axis=1)] * 3, axis=2) for t in range(8)]
        with tempfile.TemporaryDirectory() as folder:
            found = measure(write_clip(os.path.join(folder, "check.mp4"), frames))
    except Exception as error:
        return _check("measuring", False, f"{type(error).__name__}: {error}")
    known = sum(value is not None for value in found.features.values())
    return _check("measuring", True, f"{known} features of a clip encoded and decoded here")


def _gpu() -> dict[str, Any]:
    """Ask torch in a process of its own: importing it takes seconds and a driver can crash it."""
    version = _installed("torch")
    if version is None:
        return _check("gpu", None, "unknown: torch is not installed")
    if version.endswith("+cpu"):
        return _check("gpu", None, f"none: torch {version} is built for the CPU only")
    command = [sys.executable, "-c", _CUDA]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_CUDA_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return _check("gpu", False, f"torch {version} failed to look for one ({error})")
    return _check("gpu", True if done.stdout.strip() else None, done.stdout.strip() or "none")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> str:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{total / 1e9:.1f} GB, {free / 1e9:.1f} GB free"

"""Whether a checkpoint fits a network: names, shapes, dtypes, and the files beside the weights."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqa.errors import BadCheckpoint
from vqa.models.headers import Headers, not_weights

QUANTISED = ("I8", "U8", "F8_E4M3", "F8_E5M2")  # useless without scales that we do not know
LISTED = 10  # names of each kind in a message


def check(
    headers: Headers,
    expected: Mapping[str, Sequence[int]],
    *,
    optional: Collection[str] = (),
) -> None:
    """Compare a checkpoint with the tensors of a network: name -> shape.

    optional -- names that may be missing, or there unexpectedly (tied heads, old buffers).
    Raises BadCheckpoint that lists what is missing, unexpected, of another shape or quantised, the
    first ten of each, and says so where this is evidently another model.
    """
    entries = headers.entries
    wrong = {
        "missing": [n for n in expected if n not in entries and n not in optional],
        "unexpected": [n for n in entries if n not in expected and n not in optional],
        "of another shape": [
            f"{name}: {list(entry.shape)} instead of {list(expected[name])}"
            for name, entry in entries.items()
            if name in expected and entry.shape != tuple(expected[name])
        ],
        "quantised already (take the original weights)": [
            f"{name}: {entry.dtype}"
            for name, entry in entries.items()
            if name in expected and entry.dtype in QUANTISED
        ],
    }
    if any(wrong.values()):
        told = "; ".join(_listed(kind, names) for kind, names in wrong.items() if names)
        raise BadCheckpoint(f"{headers.folder}: {_hint(headers, expected)}: {told}")


def compare(
    origin: str, found: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]]
) -> None:
    """Compare shapes by name, where tensors were renamed on the way; raises BadCheckpoint."""
    wrong = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "of another shape": [
            f"{name}: {list(shape)} instead of {list(expected[name])}"
            for name, shape in found.items()
            if name in expected and tuple(shape) != tuple(expected[name])
        ],
    }
    if any(wrong.values()):
        told = "; ".join(_listed(kind, names) for kind, names in wrong.items() if names)
        shared = len(set(expected) & set(found))
        raise BadCheckpoint(
            f"{origin}: does not fit the network, {shared} of {len(expected)} tensors are there:"
            f" {told}; is it another model, or are weights and config of two models?"
        )


def check_files(folder: Path, needed: Mapping[str, str]) -> None:
    """Check that files lie beside the weights and are whole: file name -> where to get it.

    Raises BadCheckpoint, which names the file and where it comes from.
    """
    for name, source in needed.items():
        file = folder / name
        try:
            raw = file.read_bytes()
        except FileNotFoundError:
            raise BadCheckpoint(f"{folder}: {name} is missing; {source}") from None
        except OSError as error:
            raise BadCheckpoint(f"{file}: cannot be read ({error.strerror})") from None
        if wrong := not_weights(raw[:40]):
            raise BadCheckpoint(f"{file}: {wrong}")
        if name.endswith(".json") and not raw.rstrip().endswith(b"}"):
            raise BadCheckpoint(f"{file}: cut off ({len(raw)} bytes); {source}")


def read_json(folder: Path, name: str, source: str) -> dict[str, Any]:
    """Read a JSON object beside the weights; `source` says where to get it.

    Raises BadCheckpoint, which names the file and where it comes from.
    """
    check_files(folder, {name: source})
    try:
        found = json.loads((folder / name).read_bytes())
    except ValueError as error:
        raise BadCheckpoint(f"{folder / name}: not JSON ({error}); {source}") from None
    if not isinstance(found, dict):
        raise BadCheckpoint(f"{folder / name}: holds no JSON object; {source}")
    return found


def _listed(kind: str, names: Sequence[str]) -> str:
    more = ", ..." if len(names) > LISTED else ""
    return f"{len(names)} {kind} ({', '.join(names[:LISTED])}{more})"


def _hint(headers: Headers, expected: Iterable[str]) -> str:
    expected = set(expected)
    shared = len(expected & set(headers.entries))
    if 2 * shared >= len(expected):
        return "does not fit its config.json (weights and config of two models?)"
    kinds = _architectures(headers.folder)
    says = f"; its config.json says {kinds}" if kinds else ""
    return f"evidently another model, with {shared} of {len(expected)} tensors expected{says}"


def _architectures(folder: Path) -> str:
    try:
        return ", ".join(json.loads((folder / "config.json").read_bytes())["architectures"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""

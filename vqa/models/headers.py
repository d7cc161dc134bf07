"""What a checkpoint folder holds, read from its safetensors headers alone.

A safetensors file is 8 bytes of length, that much JSON (name, dtype, shape and place of every
tensor) and the bytes of the tensors (https://github.com/huggingface/safetensors#format). The
headers of 25 GB are read in milliseconds and without torch, and nearly everything that goes wrong
with a checkpoint shows there: a download cut off, a missing shard, a pointer in place of a file.
Nothing is ever executed.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from vqa.errors import BadCheckpoint, MissingCheckpoint

HEADER_LIMIT = 100_000_000  # bytes; the limit of the safetensors library itself
ITEM_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
}
AGAIN = "copy or download it again"


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor as its header describes it."""

    file: Path
    dtype: str  # as safetensors spells it: "BF16"
    shape: tuple[int, ...]
    start: int  # byte where it begins, counted from the end of the header
    end: int


@dataclass(frozen=True)
class Headers:
    """All tensors of a checkpoint by name."""

    folder: Path
    entries: Mapping[str, Entry]

    @property
    def bytes(self) -> int:
        """Size of all tensors as they lie on disk."""
        return sum(entry.end - entry.start for entry in self.entries.values())

    def shards(self) -> Iterator[tuple[Path, list[str]]]:
        """Give every file with the names of its tensors, in the order of their bytes."""
        by_file: dict[Path, list[str]] = {}
        for name in sorted(self.entries, key=lambda name: self.entries[name].start):
            by_file.setdefault(self.entries[name].file, []).append(name)
        yield from sorted(by_file.items())


def read(folder: str | PathLike[str], *, stem: str = "model") -> Headers:
    """Read the headers of `stem`.safetensors, or of the shards that its index names.

    Raises MissingCheckpoint where there is no such folder, and BadCheckpoint, which names the file
    and what is wrong with it: cut off, missing, not safetensors, a git-lfs pointer, pickles only.
    """
    folder = Path(folder)
    files, index = layout(folder, stem=stem)
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise BadCheckpoint(
            f"{folder}: {len(missing)} of {len(files)} shards missing ({', '.join(missing[:10])});"
            f" {_unfinished(folder)}download or copy them too"
        )
    found = {file.name: header(file) for file in files}
    _check_index(folder, index, found)
    entries: dict[str, Entry] = {}
    for file, tensors in found.items():
        for name, entry in tensors.items():
            if name in entries and name not in index:
                raise BadCheckpoint(
                    f"{folder}: {name} is in two files ({entries[name].file.name}, {file}) and no"
                    " index says which; add the model's index"
                )
            if index.get(name, file) == file:
                entries[name] = entry
    return Headers(folder, entries)


def layout(folder: Path, *, stem: str = "model") -> tuple[list[Path], dict[str, str]]:
    """Give the weight files a folder should have, there or not, and its index: name -> file name.

    The index is empty for a single file, and for numbered shards whose index got lost (their
    headers say as much). Raises MissingCheckpoint and BadCheckpoint.
    """
    if not os.path.isdir(folder):  # False, and no error, for a name that no system allows
        raise MissingCheckpoint(f"{folder}: no such folder; give the folder of a checkpoint")
    single, index_file = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if single.exists():
        return [single], {}
    if index_file.exists():
        index = _index(index_file)
        return [folder / name for name in sorted(set(index.values()))], index
    shards = sorted(folder.glob(f"{stem}-*-of-*.safetensors"))
    if not shards:
        raise BadCheckpoint(_why_none(folder, stem))
    count = shards[0].stem.rpartition("-of-")[2]
    numbers = range(1, int(count) + 1) if count.isdecimal() and len(count) <= 5 else ()
    return [folder / f"{stem}-{n:05d}-of-{count}.safetensors" for n in numbers] or shards, {}


def header(file: Path) -> dict[str, Entry]:
    """Read and check the header of one safetensors file. Raises BadCheckpoint."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            first = stream.read(8)
            length = int.from_bytes(first, "little")
            wrong = not_weights(first + stream.read(32))
            stream.seek(8)
            text = b"" if wrong or length > HEADER_LIMIT else stream.read(length)
    except OSError as error:
        raise BadCheckpoint(f"{file}: cannot be read ({error.strerror})") from None
    if wrong:
        raise BadCheckpoint(f"{file}: {wrong}")
    if size < 8 or len(text) < length <= HEADER_LIMIT:
        raise BadCheckpoint(
            f"{file}: cut off inside its header ({size} bytes of over {max(8, length)}); {AGAIN}"
        )
    if length > HEADER_LIMIT:
        raise _garbage(file, f"its header would be {length} bytes long")
    entries = _parse(file, text)
    _check_size(file, size=size, due=8 + length + max((e.end for e in entries.values()), default=0))
    return entries


def not_weights(head: bytes) -> str:
    """Say what the first bytes of a file are if they are a known stand-in for it; else ""."""
    if head.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer, not the file itself; run `git lfs pull` in that folder"
    if head.lstrip()[:5].lower() in (b"<!doc", b"<html", b"<?xml"):
        return f"a web page saved in its place (a login or an error page?); {AGAIN}"
    return ""


def _parse(file: Path, text: bytes) -> dict[str, Entry]:
    try:
        data = json.loads(text.decode("utf-8"))
        data.pop("__metadata__", None)
        entries = {name: _entry(file, value) for name, value in data.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _garbage(file, "its header is no valid table of tensors") from None
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != end:
            raise _garbage(file, f"{name} begins at byte {entry.start} and not at {end}")
        end = entry.end
    return entries


def _entry(file: Path, data: Mapping[str, Any]) -> Entry:
    shape, (start, end) = tuple(data["shape"]), data["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise ValueError
    if end - start != math.prod(shape) * ITEM_BYTES[data["dtype"]]:
        raise ValueError
    return Entry(file, data["dtype"], shape, start, end)


def _check_size(file: Path, *, size: int, due: int) -> None:
    if size != due:
        what = "cut off" if size < due else "too long"
        raise BadCheckpoint(f"{file}: {what}: {size} bytes where its header tells {due}; {AGAIN}")


def _garbage(file: Path, reason: str) -> BadCheckpoint:
    return BadCheckpoint(f"{file}: not a safetensors file ({reason}); {AGAIN}")


def indexed(file: Path) -> list[Path]:
    """Give the files that an index lists, all of them there; raises BadCheckpoint."""
    names = sorted(set(_index(file).values()))
    missing = [name for name in names if not (file.parent / name).exists()]
    if missing:
        raise BadCheckpoint(
            f"{file.parent}: {len(missing)} of {len(names)} files missing"
            f" ({', '.join(missing[:10])}); {_unfinished(file.parent)}download or copy them too"
        )
    return [file.parent / name for name in names]


def _index(file: Path) -> dict[str, str]:
    try:
        raw = file.read_bytes()
        if wrong := not_weights(raw[:40]):
            raise BadCheckpoint(f"{file}: {wrong}")
        found = dict(json.loads(raw)["weight_map"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise BadCheckpoint(f"{file}: not an index with a weight_map; {AGAIN}") from None
    for shard in found.values():
        if not isinstance(shard, str) or Path(shard).name != shard or "\\" in shard:
            raise BadCheckpoint(f"{file}: names {shard!r}, which is no file beside it; {AGAIN}")
    if not found:
        raise BadCheckpoint(f"{file}: its weight_map is empty; {AGAIN}")
    return found


def _check_index(
    folder: Path, index: Mapping[str, str], found: Mapping[str, Mapping[str, Entry]]
) -> None:
    absent = [(name, file) for name, file in index.items() if name not in found[file]]
    if absent:
        name, file = absent[0]
        raise BadCheckpoint(
            f"{folder}: {len(absent)} tensors are not in the shard that the index names for them"
            f" ({name} is not in {file}): they are of two checkpoints; download both again"
        )


def _unfinished(folder: Path) -> str:
    parts = sorted(path.name for path in folder.rglob("*.incomplete"))
    return f"a download was interrupted ({parts[0]}); " if parts else ""


def _why_none(folder: Path, stem: str) -> str:
    names = [p.name for pattern in ("*", "*/*") for p in folder.glob(pattern) if p.is_file()]
    wanted = f"{folder}: holds no {stem}.safetensors and no {stem}.safetensors.index.json"
    if sat := [n for n in names if n.startswith("split_part_") or n.endswith("model_states.pt")]:
        return f"{wanted} but a SwissArmyTransformer checkpoint ({sat[0]}); run `vqa convert`"
    if unfinished := _unfinished(folder):
        return f"{wanted}; {unfinished}start it again"
    if pickles := [n for n in names if n.endswith((".bin", ".pt", ".pth", ".ckpt"))]:
        return (
            f"{wanted} but pickles ({pickles[0]}), which are not loaded because they can run code;"
            " take the safetensors of that model"
        )
    if others := [n for n in names if n.endswith(".safetensors")]:
        return f"{wanted} but {others[0]}; give the folder with the weights of the whole model"
    return f"{wanted}{'' if names else ' (it is empty)'}; give the folder of a whole checkpoint"

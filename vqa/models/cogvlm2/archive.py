"""Finds the weights of VisionReward-Image as published: one file, in a tar, split into parts.

Nothing is unpacked. A file is a `Span` of bytes across the parts and is read where it lies, so 39
or 78 GB need no room of their own and no name in the tar ever becomes a path on disk.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from vqa.errors import BadCheckpoint, MissingCheckpoint
from vqa.models.cogvlm2.span import Span

STATES = "model_states.pt"  # SwissArmyTransformer writes <latest>/mp_rank_00_model_states.pt
_PART = re.compile(r"split_part_[a-z]{2,}")  # `split` names its parts aa, ab, ...
_PICKLES = (b"PK\x03\x04", b"\x80")  # torch.save since 1.6, and before
_TEXT_BYTES = 1_000_000  # model_config.json has 1100


@dataclass(frozen=True, slots=True)
class Released:
    """VisionReward-Image as published: the pickle with the weights, and model_config.json."""

    states: Span
    model_config: Mapping[str, Any]


def find(source: Path) -> Released:
    """Find the weights in a folder, a tar (whole, or any of its parts) or the .pt itself.

    Raises MissingCheckpoint if there are none, BadCheckpoint for parts that are missing or cut off,
    for a tar with names or links that lead out of it, and without a model_config.json.
    """
    if not source.exists():
        raise MissingCheckpoint(f"{source}: there is nothing at that path")
    if source.is_dir():
        files, folder = _in_folder(source)
    elif _PART.fullmatch(source.name):
        files, folder = _in_parts(source.parent), source.parent
    elif _starts_like_a_pickle(source):
        files, folder = {STATES: Span.of([source], name=str(source))}, source.parent
    else:
        files, folder = _in_tar(Span.of([source], name=str(source))), source.parent
    text = _text("model_config.json", files, folder)
    latest = (_text("latest", files, folder) or "").strip()
    return Released(_states(files, latest, source), _parsed(text, source))


def _in_folder(source: Path) -> tuple[dict[str, Span], Path]:
    """Files by name, and the folder that holds them: unpacked, in parts, or in one tar."""
    found = sorted(p for depth in ("", "*/", "*/*/") for p in source.glob(f"{depth}*{STATES}"))
    if found:
        return {str(file): Span.of([file], name=str(file)) for file in found}, found[0].parent
    for folder in (source / "ckpts", source):
        if files := _in_parts(folder):
            return files, folder
    tars = [file for folder in (source, source / "ckpts") for file in sorted(folder.glob("*.tar"))]
    if len(tars) == 1:
        return _in_tar(Span.of(tars, name=str(tars[0]))), tars[0].parent
    raise MissingCheckpoint(
        f"{source}: holds {'several tars' if tars else 'no weights to convert'}; give the folder"
        f" of VisionReward-Image with ckpts/split_part_aa and so on, one .tar or *{STATES}"
    )


def _in_parts(folder: Path) -> dict[str, Span]:
    parts = [file for file in folder.glob("split_part_*") if _PART.fullmatch(file.name)]
    if not parts:
        return {}
    parts.sort(key=lambda file: (len(file.name), file.name))
    for expected, file in zip(_part_names(parts[0]), parts, strict=False):
        if file.name != expected:
            raise BadCheckpoint(
                f"{folder}: {expected} is missing ({len(parts)} parts are there, up to"
                f" {parts[-1].name}); fetch it into the same folder"
            )
    return _in_tar(Span.of(parts, name=str(folder / "split_part_*")))


def _part_names(first: Path) -> Iterator[str]:
    letters = len(first.name) - len("split_part_")
    for number in range(26**letters):
        digits = (chr(ord("a") + number // 26**place % 26) for place in reversed(range(letters)))
        yield "split_part_" + "".join(digits)


def _in_tar(span: Span) -> dict[str, Span]:
    """The files in a tar. Raises BadCheckpoint: not a tar, cut off, or something unsafe in it."""
    found = {}
    try:
        with span.open() as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                _refuse_unsafe(member, span)
                if member.isfile():
                    _refuse_cut_off(member, span)
                    name = f"{span.name}: {member.name}"
                    found[member.name] = span.cut(member.offset_data, member.size, name=name)
    except tarfile.TarError as error:
        raise BadCheckpoint(
            f"{span.name}: cannot be read as a tar ({error}); {_why(span)}"
        ) from None
    return found


def _why(span: Span) -> str:
    with span.open() as stream:
        start = stream.read(20)
    if start == b"version https://git-":
        return "it is a pointer of Git LFS, `git lfs pull` fetches the file itself"
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")):
        return "it is compressed, unpack it first"
    return span.doubt()


def _refuse_unsafe(member: tarfile.TarInfo, span: Span) -> None:
    # Windows' rules know the separators and the roots of both worlds.
    path = PureWindowsPath(member.name)
    if path.anchor or ".." in path.parts:
        raise BadCheckpoint(
            f"{span.name}: holds {member.name!r}, a name that leads out of the archive; nothing was"
            " read from it. Fetch it again from where it was published"
        )
    if not (member.isdir() or member.isfile()) or member.issparse():
        kind = f"a link to {member.linkname!r}" if member.linkname else "no plain file"
        raise BadCheckpoint(
            f"{span.name}: holds {member.name!r}, which is {kind}; only plain files and folders"
            " are read. Fetch it again from where it was published"
        )


def _refuse_cut_off(member: tarfile.TarInfo, span: Span) -> None:
    end = member.offset_data + member.size
    if end > span.size:
        raise BadCheckpoint(
            f"{span.name}: ends after {span.size} bytes, but {member.name} in it reaches to byte"
            f" {end}; {span.doubt()}"
        )


def _starts_like_a_pickle(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(4).startswith(_PICKLES)


def _states(files: Mapping[str, Span], latest: str, source: Path) -> Span:
    """The one file with weights; `latest` names its folder where there are several."""
    found = [name for name in files if name.endswith(STATES)]
    newest = [name for name in found if PurePosixPath(name).parent.name == latest]
    chosen = newest if len(found) > 1 and newest else found
    if len(chosen) == 1:
        return files[chosen[0]]
    if chosen:
        raise BadCheckpoint(
            f"{source}: holds {len(chosen)} files *{STATES} ({', '.join(chosen[:10])}); weights"
            " split for several GPUs are not supported, else give the one file to convert"
        )
    raise BadCheckpoint(
        f"{source}: the tar holds no *{STATES} ({len(files)} files: {', '.join([*files][:10])});"
        " is it VisionReward-Image?"
    )


def _text(name: str, files: Mapping[str, Span], folder: Path) -> str | None:
    """A small file from the tar, else from the folder of the weights or the two above it."""
    inside = sorted((f for f in files if PurePosixPath(f).name == name), key=len)
    if inside:
        span = files[inside[0]].cut(0, _TEXT_BYTES, name=name)
        with span.open() as stream:
            return stream.read().decode("utf-8", "replace")
    here = folder.resolve()
    for place in (here, *here.parents[:2]):
        if (place / name).is_file():
            with (place / name).open("rb") as stream:
                return stream.read(_TEXT_BYTES).decode("utf-8", "replace")
    return None


def _parsed(text: str | None, source: Path) -> Mapping[str, Any]:
    if text is None:
        raise BadCheckpoint(
            f"{source}: model_config.json is missing; it is published with the weights and tells"
            " their sizes: put it beside them"
        )
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{source}: model_config.json is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise BadCheckpoint(f"{source}: model_config.json must be an object")
    return found

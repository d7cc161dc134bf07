"""What the user typed becomes a list of clips and a prompt for each."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from vqa.errors import BadArgument

_FILMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts")
_OTHERS = (".wmv", ".flv", ".ogv", ".3gp", ".y4m", ".gif", ".apng")
VIDEO_SUFFIXES = frozenset({*_FILMS, *_OTHERS})
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})


def expand(paths: Sequence[str]) -> list[str]:
    """Give the clips that files, folders and patterns stand for, in the order they were given.

    A folder gives every video below it, in natural order (2.mp4 before 10.mp4), or itself when it
    holds images only: they are the frames of one clip. A path to nothing stays: its row says so.
    Raises BadArgument for a folder or a pattern that gives nothing.
    """
    return [clip for path in paths for clip in _expand(path)]


def _expand(path: str) -> list[str]:
    if os.path.isdir(path):
        return _folder(path)
    if not os.path.lexists(path) and glob.has_magic(path):
        found = sorted(glob.glob(path, recursive=True), key=natural)
        if not found:
            raise BadArgument(f"{path}: the pattern matches no file")
        return [clip for match in found for clip in _expand(match)]
    return [path]


def _folder(path: str) -> list[str]:
    files = [p for p in Path(path).rglob("*") if not p.name.startswith(".") and p.is_file()]
    videos = [str(p) for p in files if p.suffix.lower() in VIDEO_SUFFIXES]
    if videos:
        return sorted(videos, key=natural)
    if any(p.suffix.lower() in IMAGE_SUFFIXES and p.parent == Path(path) for p in files):
        return [path]
    raise BadArgument(f"{path}: the folder holds no videos and no images")


def natural(path: str) -> list[tuple[int, int, str]]:
    """Key that sorts numbers in names by their value."""
    parts = re.split(r"([0-9]+)", path)
    return [(1, int(p), "") if i % 2 else (0, 0, p) for i, p in enumerate(parts)]


def prompts_for(
    clips: Sequence[str], *, prompt: str | None, prompts: str | None
) -> list[str | None]:
    """Give the prompt of each clip, from --prompt (one for all) or from the file of --prompts.

    Raises BadArgument when both are given, or the file does not fit the clips.
    """
    if prompts is None:
        return [prompt] * len(clips)
    if prompt is not None:
        raise BadArgument("--prompt and --prompts: give one of them")
    text = _read(prompts)
    suffix = Path(prompts).suffix.lower()
    if suffix == ".csv":
        return _match(prompts, _csv(prompts, text), clips)
    if suffix in (".jsonl", ".ndjson", ".json"):
        return _match(prompts, _jsonl(prompts, text), clips)
    return _lines(prompts, text, clips)


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadArgument(f"--prompts {file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BadArgument(f"--prompts {file}: is not text in UTF-8") from error


def _lines(file: str, text: str, clips: Sequence[str]) -> list[str | None]:
    lines: list[str] = text.split("\n")  # not splitlines: prompts may hold form feeds and the like
    while len(lines) > len(clips) and not lines[-1].strip():
        lines.pop()
    if len(lines) != len(clips):
        raise BadArgument(
            f"--prompts {file}: {len(lines)} lines for {len(clips)} clips; give one prompt per line"
            " in the order of the clips, or CSV or JSON Lines with path and prompt"
        )
    return [line.rstrip("\r") or None for line in lines]


def _csv(file: str, text: str) -> list[tuple[str, str]]:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if not {"path", "prompt"} <= set(reader.fieldnames or ()):
            raise BadArgument(f"--prompts {file}: the first line must name columns path and prompt")
        return [(row["path"], row["prompt"] or "") for row in reader]
    except csv.Error as error:
        raise BadArgument(f"--prompts {file}: is not CSV ({error})") from error


def _jsonl(file: str, text: str) -> list[tuple[str, str]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            raise BadArgument(f"--prompts {file}: line {number} is not JSON ({error})") from error
        path = item.get("path") if isinstance(item, dict) else None
        prompt = (item.get("prompt") if isinstance(item, dict) else None) or ""
        if not isinstance(path, str) or not isinstance(prompt, str):
            raise BadArgument(
                f'--prompts {file}: line {number} must be {{"path": "...", "prompt": "..."}}'
            )
        rows.append((path, prompt))
    return rows


def _match(file: str, rows: Sequence[tuple[str, str]], clips: Sequence[str]) -> list[str | None]:
    """Find each clip's prompt by its path: as written, from here, or from beside the file."""
    table: dict[str, str] = {}
    for path, prompt in rows:
        for key in {path, os.path.abspath(path), os.path.abspath(Path(file).parent / path)}:
            if table.setdefault(key, prompt) != prompt:
                raise BadArgument(f"--prompts {file}: two prompts for {path}")
    found = [table.get(clip, table.get(os.path.abspath(clip))) for clip in clips]
    for clip, said in zip(clips, found, strict=True):
        if said is None:
            raise BadArgument(f"--prompts {file}: no row for {clip}; its path column must name it")
    return [said or None for said in found]

"""VisionReward-Image as published, made into a folder that the engine loads. Done once.

A tensor goes from the parts of the tar to its place in a shard four megabytes at a time: neither
memory nor disk ever holds a second copy. A shard gets its name when it is complete, the index is
written last, and a folder without an index is no checkpoint.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import IO, Any

import torch

from vqa.errors import BadArgument, BadCheckpoint, NoSpace, VqaError
from vqa.models.cogvlm2.archive import find
from vqa.models.cogvlm2.config import Config
from vqa.models.cogvlm2.pickled import Stored, stored
from vqa.models.cogvlm2.sat import hf_config, hf_names
from vqa.models.cogvlm2.span import Span

INDEX = "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000  # what published checkpoints have
OnShard = Callable[[str, int, int], None]

_UNFINISHED = "conversion-unfinished"  # our mark: what lies beside it may be deleted
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_DTYPES = {name: getattr(torch, name) for name in ("bfloat16", "float16", "float32")}
_NAMES = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32", torch.float64: "F64"}
_EXTRA = 20_000_000  # bytes for headers, index and tokenizer
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One tensor of the result: its name and dtype there, and where it comes from."""

    name: str
    dtype: torch.dtype
    stored: Stored

    @property
    def size(self) -> int:
        return prod(self.stored.shape) * self.dtype.itemsize


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    tokenizer: str | os.PathLike[str] | None = None,
    dtype: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    on_shard: OnShard | None = None,
) -> Path:
    """Convert VisionReward-Image into safetensors with the names of CogVLM2-19B; returns `out`.

    source -- the published folder (model_config.json, ckpts/split_part_aa and so on), the joined
    tar, the unpacked folder, or the .pt itself with model_config.json beside or above it.
    tokenizer -- a folder with Llama-3's tokenizer.json, or that file; copied to `out`.
    dtype -- "bfloat16", "float16" or "float32"; None keeps what is stored.
    shard_bytes -- the most that one file holds, unless a single tensor is larger.
    on_shard -- called after each shard with its name, the bytes written so far and those in all.

    Pickles are read with weights_only; nothing in the source is run. Interrupted, it can be run
    again. Raises MissingCheckpoint (nothing there), BadCheckpoint (what is there is incomplete,
    damaged, unsafe or another model), NoSpace (before anything is written), BadArgument (dtype,
    tokenizer, or `out` holds weights already), NotAvailable (torch before 2.7).
    """
    source, out = Path(source), Path(out)
    to = _dtype(dtype)
    files = _tokenizer_files(tokenizer)
    with _disk_errors(BadCheckpoint, source):
        released = find(source)
        config = hf_config(released.model_config)
        tensors = _renamed(released.states, config, to)
    shards = _shards(tensors, shard_bytes)
    config["torch_dtype"] = str(max(tensors, key=lambda tensor: tensor.size).dtype)[len("torch.") :]
    with _disk_errors(BadArgument, out):
        _prepare(out, sum(tensor.size for tensor in tensors))
        _write(out, shards, released.states, on_shard)
        for file in files:
            shutil.copyfile(file, out / file.name)
        _write_json(out / "config.json", config)
        _write_json(out / INDEX, _index(shards))
        (out / _UNFINISHED).unlink()
    return out


@contextmanager
def _disk_errors(kind: type[VqaError], path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = NoSpace if error.errno in _FULL else kind
        raise kind(f"{error.filename or path}: {error.strerror or error}") from None


def _dtype(name: str | None) -> torch.dtype | None:
    if name is not None and name not in _DTYPES:
        raise BadArgument(f"dtype={name!r}: must be one of {', '.join(_DTYPES)}, or None")
    return None if name is None else _DTYPES[name]


def _tokenizer_files(given: str | os.PathLike[str] | None) -> list[Path]:
    """The files to copy; raises BadArgument if tokenizer.json is not there or not one."""
    if given is None:
        return []
    folder = Path(given) if Path(given).is_dir() else Path(given).parent
    files = [folder / name for name in _TOKENIZER if (folder / name).is_file()]
    try:
        found = json.loads((folder / _TOKENIZER[0]).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadArgument(
            f"{given}: must be a tokenizer.json of Llama-3, or a folder with one ({error})"
        ) from None
    if not isinstance(found, dict) or "model" not in found:
        raise BadArgument(f"{given}: tokenizer.json must be of the `tokenizers` library")
    return files


def _renamed(span: Span, config: dict[str, Any], to: torch.dtype | None) -> list[_Tensor]:
    """All tensors of the result in the order of the source; raises BadCheckpoint with a list."""
    shapes = Config.from_dict(config).shapes()
    tensors, unknown, misshapen = [], [], []
    for key, value in stored(span).items():
        names = hf_names(key, layers=config["num_hidden_layers"])
        if not names or any(name not in shapes for name in names):
            unknown.append(key)
            continue
        if any(value.shape != shapes[name] for name in names):
            misshapen.append(f"{key} {value.shape}, not {shapes[names[0]]}")
        if value.dtype not in _NAMES:
            misshapen.append(f"{key} of {value.dtype}, not floating point")
        tensors += [_Tensor(name, to or value.dtype, value) for name in names]
    missing = sorted(shapes.keys() - {tensor.name for tensor in tensors})
    problems = {"missing": missing, "unknown": unknown, "misshapen": misshapen}
    if any(problems.values()):
        raise BadCheckpoint(
            f"{span.name}: is not the model that model_config.json describes;"
            f" {'; '.join(_listed(what, names) for what, names in problems.items() if names)}"
        )
    return tensors


def _listed(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"{len(names)} {what}: {', '.join(names[:10])}{more}"


def _shards(tensors: Sequence[_Tensor], most: int) -> dict[str, list[_Tensor]]:
    """Deal the tensors into files of at most `most` bytes, by file name."""
    if most < 1:
        raise BadArgument(f"shard_bytes={most}: must be at least 1")
    shards: list[list[_Tensor]] = []
    size = most
    for tensor in tensors:
        if not shards or size + tensor.size > most:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.size
    count = len(shards)
    return {f"model-{i + 1:05d}-of-{count:05d}.safetensors": s for i, s in enumerate(shards)}


def _prepare(out: Path, size: int) -> None:
    """Make the folder and clear away an interrupted conversion; raises NoSpace, BadArgument."""
    weights = sorted(file.name for file in out.glob("*.safetensors*"))
    ours = (out / _UNFINISHED).exists() and INDEX not in weights
    if weights and not ours:
        raise BadArgument(f"{out}: holds {weights[0]} already; choose an empty or a new folder")
    above = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    leftover = sum((out / name).stat().st_size for name in weights)
    size, free = size + _EXTRA, shutil.disk_usage(above).free + leftover
    if size > free:
        raise NoSpace(
            f"{out}: needs {size / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; free some, choose"
            " another disk, or halve float32 with dtype='bfloat16'"
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / _UNFINISHED).write_text("vqa convert was interrupted here, or is still running.\n")
    for name in weights:
        (out / name).unlink()


def _write(
    out: Path, shards: Mapping[str, Sequence[_Tensor]], span: Span, on_shard: OnShard | None
) -> None:
    done, total = 0, sum(tensor.size for shard in shards.values() for tensor in shard)
    with span.open() as source:
        for name, shard in shards.items():
            temporary = out / f"{name}.part"
            try:
                with temporary.open("wb") as file:
                    _write_shard(file, shard, source, span)
                temporary.replace(out / name)
            finally:
                temporary.unlink(missing_ok=True)
            done += sum(tensor.size for tensor in shard)
            if on_shard is not None:
                on_shard(name, done, total)


def _write_shard(
    file: IO[bytes], shard: Sequence[_Tensor], source: BufferedReader, span: Span
) -> None:
    """Write one safetensors file: length of the header, header, then the tensors in its order."""
    header = json.dumps(_header(shard), separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    file.write(len(header).to_bytes(8, "little") + header)
    for tensor in shard:
        try:
            for chunk in tensor.stored.chunks(source):
                file.write(_bytes(chunk, tensor))
        except (EOFError, ValueError) as error:
            raise BadCheckpoint(f"{span.name}: {tensor.name}: {error}; {span.doubt()}") from None
    file.flush()
    os.fsync(file.fileno())  # the name must not outlive the content in a power cut


def _header(shard: Sequence[_Tensor]) -> dict[str, Any]:
    found: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in shard:
        found[tensor.name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": tensor.stored.shape,
            "data_offsets": [at, at + tensor.size],
        }
        at += tensor.size
    return found


def _bytes(chunk: torch.Tensor, tensor: _Tensor) -> memoryview:
    cast = chunk.to(tensor.dtype)
    if tensor.dtype is torch.float16 and not torch.equal(cast.isfinite(), chunk.isfinite()):
        raise BadArgument(
            f"dtype='float16': {tensor.name} holds numbers beyond 65504, which are infinite there;"
            " take 'bfloat16'"
        )
    return cast.view(torch.uint8).numpy().data


def _index(shards: Mapping[str, Sequence[_Tensor]]) -> dict[str, Any]:
    files = {tensor.name: file for file, shard in shards.items() for tensor in shard}
    total = sum(tensor.size for shard in shards.values() for tensor in shard)
    return {"metadata": {"total_size": total}, "weight_map": dict(sorted(files.items()))}


def _write_json(file: Path, content: dict[str, Any]) -> None:
    temporary = file.with_name(f"{file.name}.part")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    temporary.replace(file)

"""The tensors in a file of torch.save, without loading them: where the bytes are, and a reader.

torch.load runs with weights_only and makes fake tensors that know their place in the file; the
bytes are then read four megabytes at a time. Rejected: loading from the stream (all 78 GB are in
memory before the first is written) and mmap (needs the .pt as one file: a second copy on disk).
"""

from __future__ import annotations

import io
import pickle  # for the name of an error; torch.load does the reading
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from vqa.errors import BadCheckpoint, NotAvailable
from vqa.models.cogvlm2.span import Span

_CHUNK = 4_000_000  # bytes, a multiple of every item size
_PICKLE_BYTES = 64_000_000  # the names and shapes of 1190 tensors take 0.2 MB
_UNCHECKED = 0  # what torch.save writes if it is told to compute no checksums
_HARMLESS = (  # what training scripts leave beside the weights
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)


class _Ignored:
    """Stands in for a harmless class, so that not even that one is run."""

    def __new__(cls, *_: Any) -> _Ignored:
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor that lies in a file: its first byte there, and how its numbers follow."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None  # in items; None: in order, without gaps
    start: int
    crc: int | None = None  # of all its bytes, where the file tells

    def chunks(self, stream: io.BufferedReader) -> Iterator[torch.Tensor]:
        """Its numbers in order, as flat tensors of at most 4 MB; each is good until the next.

        One that does not lie in order (a transposed view) comes whole. Raises EOFError if the file
        ends inside of it, ValueError if its bytes are not those that were saved.
        """
        stream.seek(self.start)
        if self.strides is None:
            yield from self._read(stream)
        else:
            items = torch.cat([chunk.clone() for chunk in self._read(stream)])
            yield items.as_strided(self.shape, self.strides).contiguous().view(-1)

    @property
    def extent(self) -> int:
        """Items from its first to its last in the file."""
        if self.strides is None:
            return prod(self.shape)
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))

    def _read(self, stream: io.BufferedReader) -> Iterator[torch.Tensor]:
        left, crc = self.extent * self.dtype.itemsize, 0
        buffer = bytearray(min(left, _CHUNK))
        while left:
            view = memoryview(buffer)[: min(left, _CHUNK)]
            if stream.readinto(view) < len(view):
                raise EOFError("the file ends inside of it")
            crc = zlib.crc32(view, crc)
            left -= len(view)
            yield torch.frombuffer(view, dtype=self.dtype)
        if self.crc is not None and crc != self.crc:
            raise ValueError(f"its checksum is {crc:08x} where the file says {self.crc:08x}")


def stored(span: Span) -> dict[str, Stored]:
    """Find the tensors under the key `module` of a file of torch.save, by name.

    Raises BadCheckpoint for a file that is none, was cut off, or names a class that weights do not
    need (nothing in it is run); NotAvailable with torch before 2.7.
    """
    _need_torch()
    with span.open() as stream:
        _refuse_other_formats(stream, span)
        try:
            records = _records(stream)
            module = _module(_loaded(stream))
            return {name: _placed(value, records, name) for name, value in module.items()}
        except OSError:
            raise  # the disk
        except Exception as error:  # a damaged or forged pickle can raise anything
            raise BadCheckpoint(f"{span.name}: {_reason(error, span)}") from None


def _loaded(stream: io.BufferedReader) -> Any:
    names: list[Any] = [(_Ignored, name) for name in _HARMLESS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about other pickle protocols; they fail
        with FakeTensorMode(), torch.serialization.safe_globals(names):
            return torch.load(stream, weights_only=True, map_location="cpu")


def _need_torch() -> None:
    # Until 2.6 weights_only could be tricked into running code (CVE-2025-32434), and until 2.7
    # torch.load did not say where in the file a tensor lies.
    version = tuple(int(number) for number in re.findall(r"\d+", torch.__version__)[:2])
    if version < (2, 7):
        raise NotAvailable(
            f"converting needs torch 2.7 or later, this is {torch.__version__}; convert elsewhere"
            " (the result can be read with any) or `pip install -U torch`"
        )


def _refuse_other_formats(stream: io.BufferedReader, span: Span) -> None:
    start = stream.read(4)
    if start.startswith(b"\x80"):
        raise BadCheckpoint(
            f"{span.name}: was saved in the format of torch before 1.6, which cannot be read in"
            " pieces; save it again: torch.save(torch.load(FILE, weights_only=True), NEW)"
        )
    if start != b"PK\x03\x04":
        raise BadCheckpoint(f"{span.name}: is no file of torch.save ({span.size} bytes)")


def _records(stream: io.BufferedReader) -> dict[int, zipfile.ZipInfo]:
    """Everything in the zip by the place of its first byte; torch computes places, this reads."""
    with zipfile.ZipFile(stream) as archive:
        infos = archive.infolist()
    found = {_place(stream, info): info for info in infos}
    for place, info in found.items():
        stream.seek(place)
        _check_record(stream, info)
    stream.seek(0)
    return found


def _place(stream: io.BufferedReader, info: zipfile.ZipInfo) -> int:
    stream.seek(info.header_offset + 26)
    name, extra = (int.from_bytes(stream.read(2), "little") for _ in range(2))
    return info.header_offset + 30 + name + extra


def _check_record(stream: io.BufferedReader, info: zipfile.ZipInfo) -> None:
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise BadCheckpoint("its zip is compressed or locked, which torch.save never does")
    if info.filename.endswith("/byteorder") and stream.read(6) != b"little":
        raise BadCheckpoint("was saved on a big-endian machine")
    if info.filename.endswith("/data.pkl"):
        if info.file_size > _PICKLE_BYTES:
            raise BadCheckpoint(f"data.pkl in it has {info.file_size} bytes, too many to trust")
        if info.CRC not in (_UNCHECKED, zlib.crc32(stream.read(info.file_size))):
            raise zipfile.BadZipFile("data.pkl does not have the checksum that the file says")


def _module(found: Any) -> dict[str, Any]:
    module = found.get("module") if isinstance(found, dict) else None
    if isinstance(module, dict) and all(isinstance(name, str) for name in module):
        return module
    keys = ", ".join(map(repr, [*found][:10])) if isinstance(found, dict) else ""
    raise BadCheckpoint(f"must have the weights under the key 'module'; has {keys or 'no keys'}")


def _placed(value: Any, records: Mapping[int, zipfile.ZipInfo], name: str) -> Stored:
    if not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
        raise BadCheckpoint(f"{name} must be a tensor, it is {type(value).__name__}")
    place: int = getattr(value.untyped_storage(), "_checkpoint_offset", -1)
    strides = None if value.is_contiguous() else tuple(value.stride())
    start = place + int(value.storage_offset()) * value.dtype.itemsize
    found = Stored(value.dtype, tuple(value.shape), strides, start)
    record, size = records.get(place), found.extent * value.dtype.itemsize
    if record is None or start + size > place + record.file_size:
        raise BadCheckpoint(f"{name} reaches beyond the bytes that are stored for it")
    whole = size == record.file_size and record.CRC != _UNCHECKED
    return replace(found, crc=record.CRC) if whole else found


def _reason(error: Exception, span: Span) -> str:
    text = str(error)
    if isinstance(error, BadCheckpoint):
        return text
    if refused := re.search(r"GLOBAL (\S+)", text):
        return (
            f"the pickle asks for {refused[1]}, which weights do not need; nothing was run. Save"
            " {'module': model.state_dict()} alone"
        )
    if isinstance(error, pickle.UnpicklingError):
        why = text.partition("WeightsUnpickler error:")[2] or text
        return f"torch.load with weights_only refuses it ({_first_line(why)}); nothing was run"
    why = _first_line(text) or type(error).__name__
    return f"cannot be read as a file of torch.save ({why}); {span.doubt()}"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]

"""Safetensors headers: what they say, and every way in which a checkpoint folder is broken."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from vqa.errors import BadCheckpoint, MissingCheckpoint
from vqa.models.headers import header, read

INDEX = "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
TENSORS: dict[str, npt.NDArray[Any]] = {
    "a.weight": np.ones((2, 3), np.float32),
    "b": np.zeros(5, np.float16),
}


@pytest.fixture
def single(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    for file, name in ((FIRST, "a.weight"), (SECOND, "b")):
        save_file({name: TENSORS[name]}, tmp_path / file)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a.weight": FIRST, "b": SECOND}}))
    return tmp_path


def refusal(folder: Path) -> str:
    with pytest.raises(BadCheckpoint) as refused:
        read(folder)
    assert str(folder) in str(refused.value)
    return str(refused.value)


def test_shapes_types_and_sizes_are_those_written(single: Path) -> None:
    found = read(single)
    assert {name: (e.dtype, e.shape) for name, e in found.entries.items()} == {
        "a.weight": ("F32", (2, 3)),
        "b": ("F16", (5,)),
    }
    assert found.bytes == 2 * 3 * 4 + 5 * 2


def test_shards_are_read_together_and_listed_in_the_order_of_their_bytes(sharded: Path) -> None:
    assert list(read(sharded).shards()) == [
        (sharded / FIRST, ["a.weight"]),
        (sharded / SECOND, ["b"]),
    ]


def test_numbered_shards_do_without_their_index(sharded: Path) -> None:
    (sharded / INDEX).unlink()
    assert set(read(sharded).entries) == {"a.weight", "b"}
    (sharded / FIRST).unlink()
    assert f"1 of 2 shards missing ({FIRST})" in refusal(sharded)


def test_truncated_shard_is_named_with_both_sizes(sharded: Path) -> None:
    whole = (sharded / SECOND).read_bytes()
    (sharded / SECOND).write_bytes(whole[:-1])
    assert (
        f"{SECOND}: cut off: {len(whole) - 1} bytes where its header tells {len(whole)}"
        in refusal(sharded)
    )


def test_bytes_after_the_last_tensor_are_refused(sharded: Path) -> None:
    with (sharded / FIRST).open("ab") as file:
        file.write(b"more")
    assert "too long" in refusal(sharded)


def test_missing_shard_is_named_and_an_unfinished_download_pointed_out(sharded: Path) -> None:
    (sharded / SECOND).rename(sharded / f"{SECOND}.incomplete")
    told = refusal(sharded)
    assert f"1 of 2 shards missing ({SECOND}); a download was interrupted ({SECOND}.inc" in told


def test_index_and_shards_of_two_checkpoints_are_told(sharded: Path) -> None:
    (sharded / INDEX).write_text(json.dumps({"weight_map": {"a.weight": FIRST, "c": SECOND}}))
    told = refusal(sharded)
    assert "1 tensors are not in the shard that the index names for them" in told
    assert f"(c is not in {SECOND})" in told


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "sub/x.safetensors", "a\\b", 7, None])
def test_index_cannot_point_out_of_its_folder(sharded: Path, name: object) -> None:
    (sharded / INDEX).write_text(json.dumps({"weight_map": {"a.weight": name}}))
    assert f"names {name!r}, which is no file beside it" in refusal(sharded)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": 3}', "\xff", "[" * 10**5])
def test_broken_index_is_named(sharded: Path, text: str) -> None:
    (sharded / INDEX).write_text(text, encoding="latin-1")
    assert f"{INDEX}: not an index with a weight_map" in refusal(sharded)


def test_index_without_entries_is_refused(sharded: Path) -> None:
    (sharded / INDEX).write_text('{"weight_map": {}}')
    assert "its weight_map is empty" in refusal(sharded)


def test_tensor_in_two_shards_needs_an_index_to_say_which(sharded: Path) -> None:
    save_file(TENSORS, sharded / SECOND)
    assert read(sharded).entries["a.weight"].file.name == FIRST
    (sharded / INDEX).unlink()
    assert "a.weight is in two files" in refusal(sharded)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4976698672\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cut off inside its header (0 bytes of over 8)"),
        (b"\x10\0\0", "cut off inside its header (3 bytes of over 16)"),
        (struct.pack("<Q", 5000) + b'{"a":', "cut off inside its header (13 bytes of over 5000)"),
        (b"PK\x03\x04" + b"\xff" * 60, "not a safetensors file (its header would be "),
        (struct.pack("<Q", 4) + b"nope", "its header is no valid table of tensors"),
        (struct.pack("<Q", 2) + b"[]", "its header is no valid table of tensors"),
        (struct.pack("<Q", 9) + b'{"a": {}}', "its header is no valid table of tensors"),
        (POINTER, "a git-lfs pointer, not the file itself; run `git lfs pull`"),
        (b"<!DOCTYPE html><html>", "a web page saved in its place"),
    ],
)
def test_file_that_is_no_safetensors_is_called_what_it_is(
    single: Path, content: bytes, words: str
) -> None:
    (single / "model.safetensors").write_bytes(content)
    told = refusal(single)
    assert "model.safetensors: " in told
    assert words in told


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F32", "shape": None, "data_offsets": [0, 4]},
    ],
)
def test_table_that_contradicts_itself_is_refused(tmp_path: Path, entry: object) -> None:
    text = json.dumps({"a": entry}).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(BadCheckpoint, match="not a safetensors file"):
        header(file)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "(it is empty); give the folder of a whole checkpoint"),
        (["pytorch_model.bin"], "but pickles (pytorch_model.bin), which are not loaded because"),
        (
            ["ckpts/split_part_aa"],
            "a SwissArmyTransformer checkpoint (split_part_aa); run `vqa con",
        ),
        (["1/mp_rank_00_model_states.pt", "latest"], "run `vqa convert`"),
        ([".cache/model.safetensors.incomplete"], "a download was interrupted"),
        (["adapter_model.safetensors"], "but adapter_model.safetensors; give the folder with the"),
    ],
)
def test_folder_without_weights_says_what_it_holds(
    tmp_path: Path, files: list[str], words: str
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("content")
    assert words in refusal(tmp_path)


def test_missing_folder_is_missing_and_not_bad(tmp_path: Path) -> None:
    with pytest.raises(MissingCheckpoint, match="no such folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(MissingCheckpoint, match="no such folder"):
        read("x" * 5000)


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], Path]:
    file = tmp_path_factory.mktemp("headers") / "model.safetensors"

    def write(content: bytes) -> Path:
        file.write_bytes(content)
        return file

    return write


WHOLE = save(TENSORS)


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_anywhere_is_refused(rewritten: Callable[[bytes], Path], length: int) -> None:
    with pytest.raises(BadCheckpoint, match="cut off"):
        header(rewritten(WHOLE[:length]))


@given(st.binary(max_size=64), st.binary(max_size=64))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_raise_anything_but_bad_checkpoint(
    rewritten: Callable[[bytes], Path], text: bytes, tail: bytes
) -> None:
    for content in (text + tail, struct.pack("<Q", len(text)) + text + tail):
        try:
            found = header(rewritten(content))
        except BadCheckpoint:
            continue
        assert found == {}  # only an empty table, "{}", can come about by chance


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.lists(st.integers(0, 4), max_size=3),
        max_size=5,
    )
)
@settings(max_examples=40)
def test_every_table_that_the_library_writes_is_read(
    rewritten: Callable[[bytes], Path], shapes: dict[str, list[int]]
) -> None:
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    found = header(rewritten(save(tensors)))
    assert {name: list(entry.shape) for name, entry in found.items()} == shapes

"""VisionReward-Image as published, made from the golden recipe, converted, and compared."""

from __future__ import annotations

import argparse
import io
import itertools
import json
import math
import os
import pickle
import resource
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch.utils.serialization import config as saving

from tests.golden import DATA, IMAGE, tensors
from vqa.cli import convert as command
from vqa.errors import BadArgument, BadCheckpoint, MissingCheckpoint, NoSpace, NotAvailable
from vqa.models.cogvlm2.config import Config
from vqa.models.cogvlm2.convert import INDEX, convert
from vqa.models.cogvlm2.sat import hf_config, hf_names
from vqa.models.cogvlm2.span import Span

STATES = "1/mp_rank_00_model_states.pt"
SAT: dict[str, Any] = json.loads((DATA / IMAGE / "sat/model_config.json").read_text())
KEYS: dict[str, list[str]] = {
    key: entry["hf"]
    for key, entry in json.loads((DATA / IMAGE / "sat/tensors.json").read_text())["tensors"].items()
}
SMALL = SAT | {"vocab_size": 64}
HEAD = "mixins.lm.lm_head.weight"
State = dict[str, torch.Tensor]


def small_state() -> State:
    """A SAT checkpoint of 0.2 MB: the tiny model with 64 words."""
    shapes = Config.from_dict(hf_config(SMALL)).shapes()
    numbers = torch.Generator().manual_seed(0)
    return {key: torch.randn(shapes[names[0]], generator=numbers) for key, names in KEYS.items()}


def saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def rezipped(pt: bytes, edit: Callable[[str, bytes], bytes], compression: int = 0) -> bytes:
    """A file of torch.save with records changed; torch then takes places from the zip alone."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(pt)) as old, zipfile.ZipFile(made, "w", compression) as new:
        for name in old.namelist():
            if not name.endswith((".format_version", ".storage_alignment")):
                new.writestr(name, edit(name, old.read(name)))
    return made.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def split(content: bytes, folder: Path, parts: int) -> list[Path]:
    """What `split -b` makes: parts of one size, the last one smaller."""
    folder.mkdir(parents=True, exist_ok=True)
    size = math.ceil(Fraction(len(content), parts))
    files = [folder / f"split_part_a{chr(ord('a') + number)}" for number in range(parts)]
    for number, file in enumerate(files):
        file.write_bytes(content[number * size : (number + 1) * size])
    return files


def publish(folder: Path, pt: bytes, *, config: Any = SMALL, parts: int = 4) -> Path:
    """The published layout: model_config.json, latest and ckpts/split_part_aa and so on."""
    split(tarred({STATES: pt}), folder / "ckpts", parts)
    (folder / "model_config.json").write_text(json.dumps(config))
    (folder / "latest").write_text("1")
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return publish(tmp_path / "small", saved({"module": small_state()}))


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden image model as published, in 5 parts, 67 MB."""
    state = {key: tensors(IMAGE)[names[0]] for key, names in KEYS.items()}
    folder = tmp_path_factory.mktemp("release")
    return publish(folder, saved({"module": state}), config=SAT, parts=5)


def read(folder: Path) -> State:
    """All tensors, by the index and nothing else."""
    files: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
    found: State = {}
    for file in set(files.values()):
        with safe_open(folder / file, "pt") as shard:
            found |= {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
    assert found.keys() == files.keys()
    return found


def same(found: State, expected: State) -> bool:
    """Equal names, dtypes, shapes and bits."""
    return found.keys() == expected.keys() and all(
        tensor.dtype == expected[name].dtype and torch.equal(tensor, expected[name])
        for name, tensor in found.items()
    )


def renamed(state: State) -> State:
    return {name: state[key] for key, names in KEYS.items() for name in names}


# What comes out


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_every_tensor_of_the_recipe_arrives_bit_for_bit(
    release: Path, tmp_path: Path, dtype: str | None
) -> None:
    out = convert(release, tmp_path / "out", dtype=dtype, shard_bytes=20_000_000)
    kind = torch.bfloat16 if dtype else torch.float32
    assert same(read(out), {name: tensor.to(kind) for name, tensor in tensors(IMAGE).items()})
    assert Config.read(out) == Config.read(DATA / IMAGE)


def test_the_rule_renames_all_1190_tensors_of_the_real_checkpoint(shared: Path) -> None:
    listed = json.loads((shared / "reference/sat_image_to_hf_names.json").read_text())["map"]
    assert len(listed) == 1190
    assert {key: list(hf_names(key, layers=32)) for key in listed} == listed


def test_the_config_of_the_real_checkpoint_is_that_of_cogvlm2_19b(shared: Path) -> None:
    listed = json.loads((shared / "reference/cogvlm2_configs.json").read_text())
    found = Config.from_dict(hf_config(listed["visionreward_image_sat_model_config_json"]))
    assert found == Config.from_dict(listed["cogvlm2_llama3_chat_19b_config_json"])
    # What the published index of the bf16 model says, to the byte.
    assert sum(2 * math.prod(shape) for shape in found.shapes().values()) == 39_006_214_656


def test_the_rule_renames_every_tensor_of_the_small_model() -> None:
    assert {key: list(hf_names(key, layers=2)) for key in KEYS} == KEYS


@pytest.mark.parametrize("key", ["", "lm_head.weight", "transformer.layers.x.mlp.up.weight"])
def test_other_names_have_no_translation(key: str) -> None:
    assert hf_names(key, layers=2) == ()


def test_one_rotary_buffer_fills_every_layer_in_the_wanted_dtype(
    small: Path, tmp_path: Path
) -> None:
    found = read(convert(small, tmp_path / "out", dtype="bfloat16"))
    buffers = [tensor for name, tensor in found.items() if name.endswith("inv_freq")]
    expected = small_state()["mixins.rotary.rotary_emb.inv_freq"].bfloat16()
    assert len(buffers) == 2
    assert all(torch.equal(buffer, expected) for buffer in buffers)


def test_mixed_dtypes_are_kept(tmp_path: Path) -> None:
    state = {key: tensor.bfloat16() for key, tensor in small_state().items()}
    for key in ("mixins.rotary.rotary_emb.inv_freq", "mixins.eva.conv.bias"):
        state[key] = small_state()[key]
    out = convert(publish(tmp_path, saved({"module": state})), tmp_path / "out")
    assert same(read(out), renamed(state))
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_shards_hold_at_most_what_was_asked_and_a_larger_tensor_alone(
    small: Path, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    out = convert(
        small, tmp_path / "out", shard_bytes=30_000, on_shard=lambda *args: told.append(args)
    )
    index = json.loads((out / INDEX).read_text())
    sizes = {name: tensor.nbytes for name, tensor in read(out).items()}
    shards: dict[str, list[int]] = {}
    for name, file in index["weight_map"].items():
        shards.setdefault(file, []).append(sizes[name])
    assert all(sum(shard) <= 30_000 or len(shard) == 1 for shard in shards.values())
    assert max(len(shard) for shard in shards.values()) > 1
    assert index["metadata"]["total_size"] == sum(sizes.values())
    assert [name for name, _, _ in told] == sorted(shards)
    assert told[-1][1:] == (sum(sizes.values()),) * 2
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})


def test_the_folder_holds_nothing_but_the_checkpoint(small: Path, tmp_path: Path) -> None:
    out = convert(small, tmp_path / "out", tokenizer=DATA / IMAGE)
    assert {file.name for file in out.iterdir()} == {
        "config.json",
        "model-00001-of-00001.safetensors",
        INDEX,
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert (out / "tokenizer.json").read_bytes() == (DATA / IMAGE / "tokenizer.json").read_bytes()


def test_views_parameters_and_shared_storage_come_out_as_what_they_show(tmp_path: Path) -> None:
    state = small_state()
    state[HEAD] = state["transformer.word_embeddings.weight"]
    flat = torch.cat([state["mixins.eva.boi"].flatten(), state["mixins.eva.eoi"].flatten()])
    state["mixins.eva.boi"], state["mixins.eva.eoi"] = flat.view(2, 1, 1, 64)
    turned = "transformer.layers.0.attention.dense.weight"
    state[turned] = state[turned].t()
    wide = "mixins.eva.conv.bias"
    state[wide] = torch.stack([state[wide], state[wide]], 1)[:, 1]
    norm = "transformer.final_layernorm.weight"
    source = publish(tmp_path, saved({"module": state | {norm: torch.nn.Parameter(state[norm])}}))
    assert same(read(convert(source, tmp_path / "out")), renamed(state))


def _status(key: str) -> int:
    """A line of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux")
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_a_conversion_holds_less_in_memory_than_its_largest_tensor(
    release: Path, small: Path, tmp_path: Path, dtype: str | None
) -> None:
    convert(small, tmp_path / "first")  # what libraries set up once is not counted
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _status("VmRSS")
    convert(release, tmp_path / "out", dtype=dtype)
    largest = 128256 * 64 * 4  # bytes of the embedding; all tensors have twice as many
    assert _status("VmHWM") - before < largest * 3 // 4


# What goes in


def _parts_beside(small: Path) -> Path:
    for part in (small / "ckpts").iterdir():
        part.rename(small / part.name)
    return small


def _joined(small: Path) -> Path:
    tar = small / "VisionReward-Image.tar"
    tar.write_bytes(b"".join(p.read_bytes() for p in sorted((small / "ckpts").iterdir())))
    return tar


def _joined_alone(small: Path) -> Path:
    _joined(small)
    for part in (small / "ckpts").iterdir():
        part.unlink()
    return small


def _unpacked(small: Path) -> Path:
    with tarfile.open(_joined(small)) as tar:
        tar.extract(STATES, small, filter="data")
    return _joined_alone(small)


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "as published": lambda small: small,
    "the folder of the parts": lambda small: small / "ckpts",
    "one of the parts": lambda small: small / "ckpts/split_part_ab",
    "parts beside the config": _parts_beside,
    "the joined tar": _joined,
    "a folder with the joined tar": _joined_alone,
    "an unpacked folder": _unpacked,
    "the pickle itself": lambda small: _unpacked(small) / STATES,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_of_the_release_gives_the_same(small: Path, tmp_path: Path, layout: str) -> None:
    out = convert(LAYOUTS[layout](small), tmp_path / "out")
    assert same(read(out), renamed(small_state()))


def test_the_config_may_lie_in_the_tar(tmp_path: Path) -> None:
    files = {
        "image/model_config.json": json.dumps(SMALL).encode(),
        f"image/{STATES}": saved({"module": small_state()}),
    }
    tar = tmp_path / "image.tar"
    tar.write_bytes(tarred(files))
    assert same(read(convert(tar, tmp_path / "out")), renamed(small_state()))


def test_latest_decides_between_several_steps(tmp_path: Path) -> None:
    files = {"latest": b"2\n", STATES: b"old", "2/mp_rank_00_model_states.pt": b""}
    files["2/mp_rank_00_model_states.pt"] = saved({"module": small_state()})
    split(tarred(files), tmp_path, 3)
    (tmp_path / "model_config.json").write_text(json.dumps(SMALL))
    assert same(read(convert(tmp_path, tmp_path / "out")), renamed(small_state()))
    (tmp_path / "3").mkdir()
    split(tarred(files | {"latest": b"7"}), tmp_path, 3)
    with pytest.raises(BadCheckpoint, match=r"holds 2 files .*1/mp_rank_00_model_states.pt, 2/"):
        convert(tmp_path, tmp_path / "other")


def test_what_deepspeed_saves_beside_the_weights_is_passed_over(tmp_path: Path) -> None:
    content = {
        "args": argparse.Namespace(lr=1e-5),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(5)}}},
        "np_rng_state": np.random.RandomState(0).get_state(),
        "loss": np.float64(0.5),
        "sparse_tensor_module_names": {"a"},
        "module": small_state(),
    }
    out = convert(publish(tmp_path, saved(content)), tmp_path / "out")
    assert same(read(out), renamed(small_state()))


@given(st.binary(max_size=40), st.lists(st.integers(0, 40)), st.data())
def test_a_span_reads_like_the_joined_bytes(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, cuts: list[int], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("span")
    edges = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    files = []
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        files.append(folder / str(number))
        files[-1].write_bytes(content[low:high])
    start, size, at = (data.draw(st.integers(0, 45)) for _ in range(3))
    span = Span.of(files, name="joined").cut(start, size, name="cut")
    expected = content[start : start + size]
    assert span.size == len(expected)
    with span.open() as stream:
        stream.seek(at)
        assert stream.read() == expected[at:]
        assert stream.seek(-span.size, io.SEEK_END) == 0
        assert stream.read(at) == expected[:at]


# Nothing in a source is run, nothing leaves the folder


class Runs:
    """Pickles into a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._call = (function, args)

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize("place", ["module", "beside", "inside", "top"])
@pytest.mark.parametrize(
    ("protocol", "message"),
    [(2, r"asks for \w+\.system, which weights do not need"), (4, "weights_only refuses it")],
)
def test_code_in_a_pickle_is_refused_and_not_run(
    tmp_path: Path, place: str, protocol: int, message: str
) -> None:
    trap = tmp_path / "was-run"
    evil = Runs(os.system, f"touch {trap}")
    content: Any = {"module": small_state()}
    content |= {"module": {"module": evil}, "beside": {"args": evil}}.get(place, {})
    if place == "inside":
        content["module"][HEAD] = evil
    file = io.BytesIO()
    torch.save(evil if place == "top" else content, file, pickle_protocol=protocol)
    source = publish(tmp_path, file.getvalue())
    with pytest.raises(BadCheckpoint, match=message):
        convert(source, tmp_path / "out")
    assert not trap.exists()
    assert not (tmp_path / "out").exists()
    torch.load(io.BytesIO(file.getvalue()), weights_only=False)  # the trap is a real one
    assert trap.exists()


@pytest.mark.parametrize(
    ("name", "evil"),
    [
        ("eval", Runs(eval, "1")),
        ("getattr", Runs(getattr, "a", "b")),
        ("fractions.Fraction", Fraction(1, 2)),
        ("pickle.loads", Runs(pickle.loads, b"N.")),
        ("torch.hub.load", Runs(torch.hub.load, "a/b", "c")),
    ],
)
def test_an_unexpected_class_is_named(tmp_path: Path, name: str, evil: Any) -> None:
    source = publish(tmp_path, saved({"module": small_state(), "extra": evil}))
    with pytest.raises(BadCheckpoint, match=f"asks for {name}, "):
        convert(source, tmp_path / "out")


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (_member("/etc/passwd"), "leads out of"),
        (_member("../outside.pt"), "leads out of"),
        (_member("a/../../outside.pt"), "leads out of"),
        (_member("..\\outside.pt"), "leads out of"),
        (_member("C:\\outside.pt"), "leads out of"),
        (_member("../folder", tarfile.DIRTYPE), "leads out of"),
        (_member("1/link", tarfile.SYMTYPE, "/etc/passwd"), "a link to '/etc/passwd'"),
        (_member("1/link", tarfile.LNKTYPE, "../outside"), "a link to '../outside'"),
        (_member("1/pipe", tarfile.FIFOTYPE), "no plain file"),
        (_member("1/disk", tarfile.BLKTYPE), "no plain file"),
        (_member("1/holes", tarfile.GNUTYPE_SPARSE), "no plain file"),
    ],
    ids=lambda value: f"{value.name} {value.type!r}" if isinstance(value, tarfile.TarInfo) else "",
)
@pytest.mark.parametrize("first", [True, False])
def test_a_tar_that_could_reach_outside_is_refused(
    tmp_path: Path, member: tarfile.TarInfo, message: str, first: bool
) -> None:
    content = saved({"module": small_state()})
    file = tmp_path / "image.tar"
    with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as tar:
        if first:
            tar.addfile(member)
        good = _member(STATES)
        good.size = len(content)
        tar.addfile(good, io.BytesIO(content))
        if not first:
            tar.addfile(member)
    (tmp_path / "model_config.json").write_text(json.dumps(SMALL))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadCheckpoint, match=f"image.tar: holds .*{message}"):
        convert(file, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


# What is missing or damaged


@pytest.mark.parametrize("gone", ["aa", "ab", "ac"])
def test_a_gap_in_the_parts_is_named(small: Path, tmp_path: Path, gone: str) -> None:
    (small / f"ckpts/split_part_{gone}").unlink()
    with pytest.raises(BadCheckpoint, match=rf"split_part_{gone} is missing \(3 parts are there"):
        convert(small, tmp_path / "out")


def test_a_missing_last_part_is_told_with_both_sizes(small: Path, tmp_path: Path) -> None:
    (small / "ckpts/split_part_ad").unlink()
    message = r"ends after \d+ bytes, but 1/mp_.* reaches to byte \d+; split_part_ac was cut off"
    with pytest.raises(BadCheckpoint, match=message + " or damaged, or parts after it are missing"):
        convert(small, tmp_path / "out")


@pytest.mark.parametrize("cut", [1, 20_000])
@pytest.mark.parametrize("part", ["aa", "ac"])
def test_a_truncated_part_is_named(small: Path, tmp_path: Path, part: str, cut: int) -> None:
    file = small / f"ckpts/split_part_{part}"
    size = file.stat().st_size
    os.truncate(file, size - cut)
    message = rf"split_part_{part} has {size - cut} bytes where split_part_a\w has {size}: fetch"
    with pytest.raises(BadCheckpoint, match=message):
        convert(small, tmp_path / "out")


def test_a_truncated_last_part_is_named(small: Path, tmp_path: Path) -> None:
    file = small / "ckpts/split_part_ad"
    os.truncate(file, file.stat().st_size - 20_000)
    with pytest.raises(BadCheckpoint, match=r"reaches to byte .*; split_part_ad was cut off"):
        convert(small, tmp_path / "out")


def test_a_flipped_bit_is_found_and_the_tensor_named(small: Path, tmp_path: Path) -> None:
    pt = bytearray(saved({"module": small_state()}))
    place = bytes(pt).index(small_state()["mixins.eva.conv.weight"].numpy().tobytes())
    pt[place + 100] ^= 1
    source = publish(small, bytes(pt))
    with pytest.raises(BadCheckpoint, match=r"model.vision.conv.weight: its checksum is \w{8} wh"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out" / INDEX).exists()


@settings(max_examples=40, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@example(where=0.0, bit=0)
def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, where: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    content = bytearray(tarred({STATES: saved({"module": small_state()})}))
    content[int(where * len(content))] ^= 1 << bit
    (folder / "image.tar").write_bytes(content)
    (folder / "model_config.json").write_text(json.dumps(SMALL))
    try:
        out = convert(folder, folder / "out")
    except BadCheckpoint:
        assert not (folder / "out" / INDEX).exists()
    else:
        assert same(read(out), renamed(small_state()))
    shutil.rmtree(folder)


def test_other_tensors_are_listed_in_one_message(tmp_path: Path) -> None:
    state = small_state()
    del state[HEAD]
    state["mixins.eva.boi"] = torch.zeros(2, 3)
    state["mixins.eva.eoi"] = state["mixins.eva.eoi"].long()
    state |= {f"mixins.ptuning.{number}": torch.zeros(1) for number in range(12)}
    state["transformer.layers.2.input_layernorm.weight"] = torch.zeros(64)
    with pytest.raises(BadCheckpoint) as found:
        convert(publish(tmp_path, saved({"module": state})), tmp_path / "out")
    message = str(found.value)
    assert "1 missing: lm_head.weight;" in message
    assert "13 unknown: mixins.ptuning.0, " in message
    assert "mixins.ptuning.9 and 3 more;" in message
    assert "mixins.ptuning.10" not in message
    assert "2 misshapen: mixins.eva.boi (2, 3), not (1, 1, 64), mixins.eva.eoi of torch.int64" in (
        message
    )


def _edited(edit: Callable[[str, bytes], bytes], compression: int = 0) -> bytes:
    return rezipped(saved({"module": small_state()}), edit, compression)


def _legacy() -> bytes:
    file = io.BytesIO()
    torch.save({"module": small_state()}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def _scripted() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/constants.pkl", b"\x80\x02N.")
        archive.writestr("archive/data.pkl", b"\x80\x02N.")
    return file.getvalue()


UNREADABLE: dict[str, tuple[Callable[[], bytes], str]] = {
    "legacy": (_legacy, "format of torch before 1.6"),
    "cut off": (lambda: saved({"module": small_state()})[:-5000], "split_part_ad was cut off"),
    "text": (lambda: b"hello", r"no file of torch.save \(5 bytes\)"),
    "empty": (lambda: b"", r"no file of torch.save \(0 bytes\)"),
    "torchscript": (_scripted, "cannot be read as a file of torch.save"),
    "no module": (lambda: saved({"model": 1, "step": 2}), "'module'; has 'model', 'step'"),
    "a tensor": (lambda: saved(torch.ones(2)), "'module'; has no keys"),
    "no tensors": (lambda: saved({"module": {HEAD: 3}}), f"{HEAD} must be a tensor, it is int"),
    "sparse": (lambda: saved({"module": {HEAD: torch.eye(3).to_sparse()}}), "must be a tensor"),
    "compressed": (lambda: _edited(lambda _, data: data, zipfile.ZIP_DEFLATED), "compressed"),
    "big-endian": (
        lambda: _edited(lambda name, data: b"big" if name.endswith("byteorder") else data),
        "big-endian",
    ),
    "too short a record": (
        lambda: _edited(lambda name, data: data[:-4] if name.endswith("data/3") else data),
        "reaches beyond the bytes",
    ),
    "a damaged pickle": (
        lambda: _edited(lambda name, data: data[:-900] if name.endswith("data.pkl") else data),
        "cannot be read as a file of torch.save",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_an_unreadable_pickle_says_why(tmp_path: Path, case: str) -> None:
    made, message = UNREADABLE[case]
    source = publish(tmp_path, made())
    with pytest.raises(BadCheckpoint, match=message):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_rezipped_pickle_is_read_where_its_zip_says(tmp_path: Path) -> None:
    source = publish(tmp_path, _edited(lambda _, data: data))
    assert same(read(convert(source, tmp_path / "out")), renamed(small_state()))


def test_weights_saved_on_a_gpu_need_none(tmp_path: Path) -> None:
    def on_gpu(name: str, data: bytes) -> bytes:
        there = data.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:1")
        assert (there != data) == name.endswith("data.pkl")
        return there

    source = publish(tmp_path, _edited(on_gpu))
    assert same(read(convert(source, tmp_path / "out")), renamed(small_state()))


def test_a_file_saved_without_checksums_is_read(tmp_path: Path) -> None:
    with saving.patch({"save.compute_crc32": False}):  # type: ignore[attr-defined]
        content = saved({"module": small_state()})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {record.CRC for record in archive.infolist()} == {0}
    source = publish(tmp_path, content)
    assert same(read(convert(source, tmp_path / "out")), renamed(small_state()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS"),
        (b"\x1f\x8b" + bytes(600), "compressed, unpack it first"),
        (bytes(1024), "the tar holds no .*model_states.pt"),
        (b"x" * 2000, "cannot be read as a tar"),
        (tarred({"readme.txt": b"hi"}), r"holds no .*model_states.pt \(1 files: readme.txt\)"),
    ],
    ids=["lfs", "gzip", "zeros", "text", "other tar"],
)
def test_what_is_no_tar_of_weights_says_so(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "image.tar").write_bytes(content)
    (tmp_path / "model_config.json").write_text(json.dumps(SMALL))
    with pytest.raises(BadCheckpoint, match=message):
        convert(tmp_path, tmp_path / "out")


def test_nothing_to_convert_is_told_apart_from_damage(tmp_path: Path) -> None:
    with pytest.raises(MissingCheckpoint, match="nothing at that path"):
        convert(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(MissingCheckpoint, match="holds no weights to convert; give the folder"):
        convert(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "model_config.json is missing"),
        ([], "must be an object"),
        ({}, "model_config.json: lacks 'hidden_size'"),
        (SMALL | {"model_parallel_size": 2}, "model_parallel_size must be 1, not 2"),
        (SMALL | {"vocab_size": "64"}, "vocab_size must be a number of type int, not '64'"),
        (SMALL | {"num_attention_heads": 0}, "model_config.json: "),
        (SMALL | {"eva_args": SMALL["eva_args"] | {"image_size": 112}}, "two equal numbers"),
        (SMALL | {"num_attention_heads": 7}, "must be a multiple of"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    small: Path, tmp_path: Path, config: Any, message: str
) -> None:
    (small / "model_config.json").write_text(json.dumps(config))
    if config is None:
        (small / "model_config.json").unlink()
    with pytest.raises(BadCheckpoint, match=message):
        convert(small, tmp_path / "out")


# Disk space and interruptions


def test_no_space_is_told_with_both_numbers_before_anything_is_written(tmp_path: Path) -> None:
    words = 10**12  # tensors that repeat one row: 512 TB from a small file
    state = small_state()
    for key in (HEAD, "transformer.word_embeddings.weight"):
        state[key] = state[key][:1].expand(words, 64)
    source = publish(tmp_path, saved({"module": state}), config=SMALL | {"vocab_size": words})
    with pytest.raises(NoSpace, match=r"needs 512000\.\d\d GB, \d+\.\d\d GB are free"):
        convert(source, tmp_path / "out/deep")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_leaves_nothing_that_looks_finished(
    small: Path, tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(NoSpace, match="File too large"):
            convert(small, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["conversion-unfinished"]
    assert same(read(convert(small, tmp_path / "out")), renamed(small_state()))


def test_an_interrupted_conversion_looks_unfinished_and_can_be_run_again(
    small: Path, tmp_path: Path
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        convert(small, out, shard_bytes=30_000, on_shard=interrupt)
    (out / "model-00002-of-00009.safetensors.part").write_bytes(b"killed while writing")
    assert len(list(out.glob("*.safetensors"))) == 1
    assert not (out / INDEX).exists()
    assert same(read(convert(small, out)), renamed(small_state()))
    assert len(list(out.iterdir())) == 3


@pytest.mark.parametrize("name", [INDEX, "model.safetensors", "model-00001-of-00006.safetensors"])
def test_weights_that_are_there_already_are_never_touched(
    small: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(BadArgument, match=f"holds {name} already; choose an empty or a new folder"):
        convert(small, tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_an_output_that_is_a_file_is_refused(small: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(BadArgument, match="out: File exists"):
        convert(small, tmp_path / "out")


# Arguments


def test_bad_arguments_say_what_is_allowed(small: Path, tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="dtype='int8': must be one of bfloat16, float16, float3"):
        convert(small, tmp_path / "out", dtype="int8")
    with pytest.raises(BadArgument, match="shard_bytes=0: must be at least 1"):
        convert(small, tmp_path / "out", shard_bytes=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [None, "version https://git-lfs", "[]"])
def test_a_tokenizer_that_is_none_is_refused_first(
    small: Path, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "tokenizer.json"
    if content is not None:
        file.write_text(content)
    for tokenizer in (file, tmp_path):
        with pytest.raises(BadArgument, match=r"tokenizer.json"):
            convert(small, tmp_path / "out", tokenizer=tokenizer)
    assert not (tmp_path / "out").exists()


def test_numbers_that_float16_cannot_hold_are_refused(tmp_path: Path) -> None:
    state = small_state()
    state[HEAD][3, 4] = 70_000.0
    source = publish(tmp_path, saved({"module": state}))
    with pytest.raises(BadArgument, match=r"lm_head.weight holds numbers beyond 65504"):
        convert(source, tmp_path / "out", dtype="float16")
    assert not (tmp_path / "out" / INDEX).exists()


def test_an_old_torch_is_refused_because_its_weights_only_ran_code(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(NotAvailable, match=r"needs torch 2\.7 or later, this is 2\.5\.1"):
        convert(small, tmp_path / "out")


def test_the_command_prints_the_folder_and_tells_each_shard(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command.run(str(small), str(out), dtype="bfloat16") == 0
    shown = capsys.readouterr()
    assert shown.out == f"{out}\n"
    assert "model-00001-of-00001.safetensors: 0.00 of 0.00 GB" in shown.err
    assert "has no tokenizer yet; put tokenizer.json of Meta-Llama-3-8B-Instruct" in shown.err
    assert {tensor.dtype for tensor in read(out).values()} == {torch.bfloat16}

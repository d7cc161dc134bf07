"""A checkpoint that does not fit its network is told by name and shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from vqa.errors import BadCheckpoint
from vqa.models.fit import check, check_files
from vqa.models.headers import Entry, Headers

EXPECTED: dict[str, tuple[int, ...]] = {f"layer.{n}.weight": (4, 2) for n in range(30)}


def headers(folder: Path, shapes: dict[str, tuple[int, ...]], dtype: str = "BF16") -> Headers:
    entries = {n: Entry(folder / "x", dtype, shape, 0, 0) for n, shape in shapes.items()}
    return Headers(folder, entries)


def refusal(found: Headers) -> str:
    with pytest.raises(BadCheckpoint) as refused:
        check(found, EXPECTED)
    return str(refused.value)


def test_what_fits_passes(tmp_path: Path) -> None:
    check(headers(tmp_path, EXPECTED), EXPECTED)


def test_missing_unexpected_and_misshapen_tensors_are_listed_with_counts(tmp_path: Path) -> None:
    shapes: dict[str, tuple[int, ...]] = {**EXPECTED, "extra": (1,), "layer.2.weight": (2, 4)}
    for n in range(10, 22):
        del shapes[f"layer.{n}.weight"]
    told = refusal(headers(tmp_path, shapes))
    assert "12 missing (layer.10.weight, " in told
    assert "layer.19.weight, ...)" in told
    assert "layer.20.weight" not in told
    assert "1 unexpected (extra)" in told
    assert "1 of another shape (layer.2.weight: [2, 4] instead of [4, 2])" in told
    assert "does not fit its config.json" in told


def test_another_model_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    told = refusal(headers(tmp_path, {"layer.0.weight": (4, 2), "h.0.attn": (3,)}))
    assert "evidently another model, with 1 of 30 tensors expected" in told
    assert "its config.json says LlamaForCausalLM" in told


@pytest.mark.parametrize("config", [None, "{", "{}", '{"architectures": null}'])
def test_another_model_without_a_readable_config_is_told_too(
    tmp_path: Path, config: str | None
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    assert "evidently another model" in refusal(headers(tmp_path, {}))


def test_quantised_weights_are_refused_and_integers_are_not(tmp_path: Path) -> None:
    assert "30 quantised already" in refusal(headers(tmp_path, EXPECTED, dtype="I8"))
    check(headers(tmp_path, EXPECTED, dtype="I64"), EXPECTED)


def test_optional_tensors_may_be_there_or_not(tmp_path: Path) -> None:
    without = {name: EXPECTED[name] for name in EXPECTED if name != "layer.7.weight"}
    check(headers(tmp_path, without), EXPECTED, optional=["layer.7.weight"])
    check(headers(tmp_path, {**EXPECTED, "old": (1,)}), EXPECTED, optional=["old"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "tokenizer.json is missing; ask X"),
        (b"", r"cut off \(0 bytes\); ask X"),
        (b'{"model": {"vo', r"cut off \(14 bytes\); ask X"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a git-lfs pointer"),
    ],
)
def test_files_beside_the_weights_are_missed_by_name(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(BadCheckpoint, match=words):
        check_files(tmp_path, {"tokenizer.json": "ask X"})

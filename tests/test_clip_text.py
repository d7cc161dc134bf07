"""CLIP's two ways from a prompt to ids, against the reference's ids and against slower ways."""

from __future__ import annotations

import gzip
import html
import json
import shutil
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from unicodedata import ucd_3_2_0

import ftfy
import pytest
import regex  # type: ignore[import-untyped]
from huggingface_hub import constants, try_to_load_from_cache
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from tests.recipes import DATA, expected
from vqa.errors import BadCheckpoint, MissingCheckpoint
from vqa.models.clip_text import REPO, Prompts, cleaned, hf_prompts, openai_prompts

ICT = DATA / "ict-tiny"
CASES = expected("ict-tiny")["cases"] + expected("hpsv2-tiny")["cases"]
BEGIN, END, ROWS = 705, 706, 707
# Characters of Unicode 3.2: libraries disagree about whether one of this year is a letter.
OLD = [c for c in map(chr, range(0x10000)) if ucd_3_2_0.category(c) not in ("Cn", "Co", "Cs")]
PIECES = [
    "it's ",
    "DON'T",
    " a dog",
    "!?'",
    "&amp;lt;",
    "3.14",
    "e\u0301",
    "\n\t",
    "\U0001f600",
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(st.sampled_from(OLD), max_size=4)).map("".join)


@pytest.fixture(scope="module")
def library() -> CLIPTokenizer:
    """The tokenizer of transformers with the small vocabulary."""
    vocabulary = json.loads((ICT / "vocab.json").read_text())
    merges: Any = [tuple(merge) for merge in _merges()]
    return CLIPTokenizer(vocab=vocabulary, merges=merges)


@pytest.fixture(scope="module", params=["tokenizer.json", "vocab.json", "bpe_tiny.txt.gz"])
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, library: CLIPTokenizer
) -> Path:
    """The vocabulary as each of the three kinds of file that it is published as."""
    here: Path = tmp_path_factory.mktemp("vocabulary")
    if request.param == "tokenizer.json":
        library.backend_tokenizer.save(str(here / "tokenizer.json"))
    else:
        shutil.copy(ICT / request.param, here)
        shutil.copy(ICT / "merges.txt", here)
    return here


@lru_cache
def _merges() -> list[list[str]]:
    return [line.split() for line in (ICT / "merges.txt").read_text().splitlines()[1:] if line]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a vocabulary, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def _spoken(row: list[int]) -> list[int]:
    """Up to the end token."""
    return row[: row.index(END) + 1]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["prompt"][:12])
def test_ids_are_the_references_from_every_kind_of_file(folder: Path, case: dict[str, Any]) -> None:
    prompts = openai_prompts(folder, 77, ROWS)
    assert prompts.ids([case["prompt"]]).tolist() == [case["input_ids"]]


@pytest.mark.parametrize("case", CASES[:6], ids=lambda case: case["prompt"][:12])
def test_transformers_way_differs_where_the_reference_says_so(
    folder: Path, case: dict[str, Any]
) -> None:
    (row,) = hf_prompts(folder, 77, ROWS).ids([case["prompt"]]).tolist()
    same = _spoken(row) == _spoken(case["input_ids"])
    assert same == case["hf_clip_tokenizer_gives_same_ids_up_to_eot"]
    assert set(row[row.index(END) :]) == {END}  # padding is the end token


@settings(deadline=None)
@given(text=TEXTS)
@example(text="Cafe\u0301")
@example(text="<|startoftext|> A <|ENDOFTEXT|> b<|endoftext|>c " + "x " * 90)
def test_transformers_way_gives_the_ids_of_transformers(library: CLIPTokenizer, text: str) -> None:
    found = _hf().ids([text])
    due = library([text], padding="max_length", truncation=True, max_length=77)
    assert found.tolist() == due["input_ids"]


@settings(deadline=None)
@given(text=TEXTS)
@example(text="a <END_OF_TEXT> b <start_of_text>")
@example(text="\u201cQuotes\u201d and l\u2019avenir, \u00e2\u20ac\u2122, &amp;quot;")
def test_original_way_gives_the_ids_of_its_definition(text: str) -> None:
    inner = _by_definition(text)
    kept = [BEGIN, *inner[:75], END]
    assert _openai().ids([text]).tolist() == [kept + [0] * (77 - len(kept))]


def _by_definition(text: str) -> list[int]:
    """Words by expression, then the pair of lowest rank merged until none is left."""
    vocabulary = json.loads((ICT / "vocab.json").read_text())
    vocabulary |= {"<start_of_text>": BEGIN, "<end_of_text>": END}
    ranks = {tuple(pair): rank for rank, pair in enumerate(_merges())}
    repaired = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    said = regex.sub(r"\s+", " ", repaired).strip().lower()
    words = regex.findall(
        r"<start_of_text>|<end_of_text>"
        r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
        said,
        regex.IGNORECASE,
    )
    return [vocabulary[part] for word in words for part in _merged(word, ranks)]


def _merged(word: str, ranks: dict[tuple[str, ...], int]) -> list[str]:
    if word in ("<start_of_text>", "<end_of_text>"):
        return [word]
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {byte: chr(byte) for byte in plain}
    letters |= {byte: chr(256 + place) for place, byte in enumerate(others)}
    parts = [letters[byte] for byte in word.encode()]
    parts[-1] += "</w>"
    while True:
        pairs = [(ranks.get(pair, len(ranks)), pair) for pair in pairwise(parts)]
        rank, best = min(pairs, default=(len(ranks), ("", "")))
        if rank == len(ranks):
            return parts
        place = 0
        while place < len(parts) - 1:
            if (parts[place], parts[place + 1]) == best:
                parts[place : place + 2] = ["".join(best)]
            place += 1


@settings(deadline=None, max_examples=30)
@given(text=TEXTS, length=st.integers(2, 20))
def test_every_row_has_one_begin_and_its_end_token_whatever_the_text(
    text: str, length: int
) -> None:
    for way in (openai_prompts, hf_prompts):
        (row,) = way(ICT, length, ROWS).ids([text]).tolist()
        assert len(row) == length
        assert row[0] == BEGIN
        assert END in row[1:]


def test_texts_of_a_batch_do_not_touch_each_other() -> None:
    texts = [case["prompt"] for case in CASES]
    for prompts in (_openai(), _hf()):
        singles = [prompts.ids([text])[0].tolist() for text in texts]
        assert prompts.ids(texts).tolist() == singles


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("  A\u3000dog\n", "a dog"),
        ("&amp;lt;3", "<3"),
        ("< &amp;lt;3", "< <3"),  # ftfy undoes entities too, but not where there is a "<"
        ("\u00e2\u20ac\u0153hi\u00e2\u20ac\x9d", '"hi"'),  # UTF-8 read as Windows-1252
        ("", ""),
    ],
)
def test_text_is_repaired_before_it_is_read(text: str, due: str) -> None:
    assert cleaned(text) == due


def test_public_vocabulary_gives_the_references_ids(tmp_path: Path) -> None:
    file = try_to_load_from_cache(REPO, "tokenizer.json")
    if not isinstance(file, str):
        pytest.skip(f"needs tokenizer.json of {REPO} in the hub's cache")
    shutil.copy(file, tmp_path)
    prompts = openai_prompts(tmp_path, 77, 49408)
    for case in CASES[:6]:
        (row,) = prompts.ids([case["prompt"]]).tolist()
        assert row[: row.index(49407) + 1] == case["real_vocabulary_ids"]


def test_published_list_is_cut_where_openai_cut_it(tmp_path: Path) -> None:
    # 262144 merges are published, and the first 48894 are used.
    letters = sorted(ByteLevel.alphabet())
    merges = [f"{first} {second}" for first in letters for second in letters][:50000]
    text = "\n".join(["version", *merges, ""])
    (tmp_path / "bpe_long.txt.gz").write_bytes(gzip.compress(text.encode()))
    prompts = openai_prompts(tmp_path, 77, 49408)
    assert (prompts.begin, prompts.end) == (49406, 49407)


def test_vocabulary_comes_from_the_hub_where_the_folder_has_none(
    empty: Path, library: CLIPTokenizer
) -> None:
    with pytest.raises(MissingCheckpoint, match=rf"tokenizer\.json: missing; it is .* {REPO}: "):
        openai_prompts(empty, 77, ROWS)
    snapshot = _cached(empty.parent / "cache")
    library.backend_tokenizer.save(str(snapshot / "tokenizer.json"))
    for way, own in ((openai_prompts, _openai()), (hf_prompts, _hf())):
        found = way(empty, 77, ROWS).ids(["A dog &amp; 2 cats"])
        assert found.equal(own.ids(["A dog &amp; 2 cats"]))


def _cached(cache: Path) -> Path:
    """Where the hub's library keeps a model that was fetched."""
    repo = cache / f"models--{REPO.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    (repo / "snapshots" / ("0" * 40)).mkdir(parents=True)
    return repo / "snapshots" / ("0" * 40)


@pytest.mark.parametrize("way", [openai_prompts, hf_prompts])
def test_vocabulary_that_the_network_does_not_know_is_refused(way: Any) -> None:
    with pytest.raises(BadCheckpoint, match=r"ids up to 706, the network knows 706 tokens"):
        way(ICT, 77, ROWS - 1)


def _broken() -> Iterator[tuple[str, dict[str, bytes], str]]:
    vocabulary, merges = (ICT / "vocab.json").read_bytes(), (ICT / "merges.txt").read_bytes()
    marked = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2}
    model = {"type": "BPE", "vocab": marked, "merges": [["a", "b"]]}
    yield "no marks", {"vocab.json": b'{"a": 0}', "merges.txt": b"a a"}, "lacks <|startoftext|>"
    yield "no merges", {"vocab.json": vocabulary, "merges.txt": b"#version: 0.2\n"}, "no list of"
    yield "three", {"vocab.json": vocabulary, "merges.txt": merges + b"a b c\n"}, "not only that"
    yield "Latin-1", {"vocab.json": vocabulary, "merges.txt": b"\xe9 a"}, "no text in UTF-8"
    yield "cut off", {"vocab.json": vocabulary[:-9], "merges.txt": merges}, "cut off"
    yield "strange", {"vocab.json": vocabulary, "merges.txt": b"qq zz"}, "merges disagree"
    yield "no gzip", {"bpe_x.txt.gz": b"version\na b"}, "cannot be unpacked"
    yield "half", {"bpe_x.txt.gz": (ICT / "bpe_tiny.txt.gz").read_bytes()[:99]}, "be unpacked"
    yield "no model", {"tokenizer.json": b"{}"}, "no byte pairs"
    yield "words", {"tokenizer.json": json.dumps({"model": {"vocab": []}}).encode()}, "byte pairs"
    yield "unknown", {"tokenizer.json": json.dumps({"model": model}).encode()}, "merges disagree"


@pytest.mark.parametrize(
    ("files", "words"), [pytest.param(*case[1:], id=case[0]) for case in _broken()]
)
def test_broken_vocabulary_is_told(files: dict[str, bytes], words: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadCheckpoint) as refused:
        openai_prompts(tmp_path, 77, ROWS)
    assert words in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_tokenizer_that_the_library_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BPE"}}')
    with pytest.raises(BadCheckpoint, match="is no tokenizer"):
        hf_prompts(tmp_path, 77, ROWS)


@lru_cache
def _openai() -> Prompts:
    return openai_prompts(ICT, 77, ROWS)


@lru_cache
def _hf() -> Prompts:
    return hf_prompts(ICT, 77, ROWS)

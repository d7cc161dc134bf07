"""Prompts to token ids, as CLIP's networks were trained to read them.

All CLIPs share one vocabulary of byte pairs and two ways to it, which differ in what is done to the
text before: `openai_prompts` is the original (Radford et al., arXiv 2103.00020), which open_clip,
HPSv2 and through it ICT took over; `hf_prompts` is that of transformers, which PickScore was
trained with. "cats &amp; dogs" is "cats & dogs" to the first only.
"""

from __future__ import annotations

import gzip
import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ftfy
import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from torch import Tensor

from vqa.errors import BadCheckpoint
from vqa.models.fit import read_json
from vqa.models.hub import companion

REPO = "openai/clip-vit-large-patch14"  # all CLIPs on its 49408 tokens can take its vocabulary
SOURCE = f"take that of {REPO}"
MARKS = ("<|startoftext|>", "<|endoftext|>")
# open_clip spells them otherwise, which matters only to a prompt that contains them.
OPEN_CLIP_MARKS = ("<start_of_text>", "<end_of_text>")
# The published list goes on to 262144 merges; the vocabulary was cut at 49152 + 256 tokens.
MERGES = 49152 - 256 - 2
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Prompts:
    """Makes rows of token ids: begin, text, end, padding.

    length -- of every row; a text that is too long is cut so that the end token stays.
    """

    tokenizer: Tokenizer
    clean: Callable[[str], str]
    begin: int
    end: int
    padding: int
    length: int

    def ids(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (N, length) int64."""
        rows = torch.full((len(texts), self.length), self.padding)
        for row, text in zip(rows, texts, strict=True):
            inner = self.tokenizer.encode(self.clean(text), add_special_tokens=False).ids
            kept = [self.begin, *inner[: self.length - 2], self.end]
            row[: len(kept)] = torch.tensor(kept)
        return rows


# Makes the Prompts of a checkpoint folder, for rows of a length and a number of embeddings.
Way = Callable[[Path, int, int], Prompts]


def openai_prompts(folder: Path, length: int, rows: int) -> Prompts:
    """The original tokenisation: repaired text, entities undone, lower case; padded with zeros.

    The vocabulary is tokenizer.json, vocab.json with merges.txt, or bpe_*.txt.gz (the merges as
    OpenAI published them) of the folder, else that of OpenAI's model on the hub. length -- of a row
    of ids. rows -- how many tokens the network knows. Raises MissingCheckpoint, BadCheckpoint.
    """
    origin, vocabulary, merges = _vocabulary(folder)
    begin, end = _marks(origin, vocabulary, rows)
    renamed = dict(zip(MARKS, OPEN_CLIP_MARKS, strict=True))
    spelled = {renamed.get(token, token): number for token, number in vocabulary.items()}
    tokenizer = _tokenizer(origin, spelled, merges, OPEN_CLIP_MARKS)
    return Prompts(tokenizer, cleaned, begin, end, 0, length)


def hf_prompts(folder: Path, length: int, rows: int) -> Prompts:
    """The tokenisation of transformers, by tokenizer.json itself where the folder has one.

    Vocabulary, length, rows and errors as in `openai_prompts`; padded with the end token.
    """
    file = folder / "tokenizer.json"
    if file.exists():
        origin, tokenizer = file, _from_file(file)
    else:
        origin, vocabulary, merges = _vocabulary(folder)
        tokenizer = _tokenizer(origin, vocabulary, merges, MARKS)
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
    begin, end = _marks(origin, tokenizer.get_vocab(), rows)
    return Prompts(tokenizer, str, begin, end, end, length)


def cleaned(text: str) -> str:
    """Repair broken Unicode, undo HTML entities twice, collapse white space, lower the case."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()


def _tokenizer(
    origin: Path, vocabulary: Mapping[str, int], merges: Pairs, marks: tuple[str, str]
) -> Tokenizer:
    """Words, then bytes, then pairs; marks in a text are tokens of their own."""
    try:
        model = BPE(
            vocab=dict(vocabulary), merges=merges, end_of_word_suffix="</w>", unk_token=marks[1]
        )
    except Exception as error:  # the library raises bare exceptions
        raise BadCheckpoint(f"{origin}: vocabulary and merges disagree ({error})") from None
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens(list(marks))
    return tokenizer


def _from_file(file: Path) -> Tokenizer:
    read_json(file.parent, file.name, SOURCE)
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare exceptions
        raise BadCheckpoint(f"{file}: is no tokenizer ({error}); {SOURCE}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _marks(origin: Path, vocabulary: Mapping[str, int], rows: int) -> tuple[int, int]:
    """Ids of begin and end, once it is certain that the network knows every token."""
    if any(mark not in vocabulary for mark in MARKS):
        raise BadCheckpoint(f"{origin}: lacks {' or '.join(MARKS)}, so it is not CLIP's; {SOURCE}")
    highest = max(vocabulary.values())
    if highest >= rows:
        raise BadCheckpoint(
            f"{origin}: has ids up to {highest}, the network knows {rows} tokens; take the"
            " vocabulary published with the weights"
        )
    return vocabulary[MARKS[0]], vocabulary[MARKS[1]]


def _vocabulary(folder: Path) -> tuple[Path, dict[str, int], Pairs]:
    """Find the vocabulary: where it was, token -> id, merges in the order of their rank."""
    lists = sorted(folder.glob("bpe_*.txt.gz"))
    if (folder / "tokenizer.json").exists():
        return _of_tokenizer(folder / "tokenizer.json")
    if (folder / "vocab.json").exists():
        return _of_two_files(folder)
    if lists:
        return _of_list(lists[0])
    return _of_tokenizer(companion(folder, "tokenizer.json", repo=REPO))


def _of_tokenizer(file: Path) -> tuple[Path, dict[str, int], Pairs]:
    model = read_json(file.parent, file.name, SOURCE).get("model") or {}
    try:
        merges = (m.split(" ") if isinstance(m, str) else m for m in model["merges"])
        return file, dict(model["vocab"]), _pairs(file, merges)
    except (TypeError, KeyError, ValueError):
        raise BadCheckpoint(f"{file}: holds no byte pairs; {SOURCE}") from None


def _of_two_files(folder: Path) -> tuple[Path, dict[str, int], Pairs]:
    vocabulary = read_json(folder, "vocab.json", SOURCE)
    file = companion(folder, "merges.txt", repo=REPO)
    lines = _lines(file, file.read_bytes())
    if lines and lines[0].startswith("#version"):
        lines = lines[1:]
    return folder / "vocab.json", vocabulary, _pairs(file, map(str.split, filter(None, lines)))


def _of_list(file: Path) -> tuple[Path, dict[str, int], Pairs]:
    """Number the tokens as OpenAI does: bytes, bytes at the end of a word, merges, marks."""
    try:
        lines = _lines(file, gzip.decompress(file.read_bytes()))
    except (OSError, EOFError) as error:
        raise BadCheckpoint(f"{file}: cannot be unpacked ({error}); copy it again") from None
    merges = _pairs(file, map(str.split, filter(None, lines[1 : MERGES + 1])))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ends = [f"{letter}</w>" for letter in letters]
    tokens = [*letters, *ends, *(first + second for first, second in merges), *MARKS]
    return file, {token: number for number, token in enumerate(tokens)}, merges


def _lines(file: Path, raw: bytes) -> list[str]:
    try:
        return raw.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise BadCheckpoint(f"{file}: is no text in UTF-8; {SOURCE}") from None


def _pairs(file: Path, merges: Iterable[Sequence[str]]) -> Pairs:
    found = [tuple(merge) for merge in merges]
    pairs = [(merge[0], merge[1]) for merge in found if len(merge) == 2]
    if not pairs or len(pairs) < len(found):  # one left out would give all later ones another id
        raise BadCheckpoint(f"{file}: holds no list of byte pairs, or not only that; {SOURCE}")
    return pairs

"""Cases of a self-test: read from YAML, and the files they are about found.

selftest.yaml holds what was published. A file of one's own has the same form:

    inputs: {clip.mp4: {}}
    cases:
    - {scorer: videoscore, name: mine, inputs: [clip.mp4], prompts: [a fox], tolerance: 0.01,
       aspects: {visual_quality: 2.5}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from vqa.errors import BadArgument
from vqa.selftest import Case, Input, Kind

KINDS: tuple[Kind, ...] = ("aspects", "values", "softmax")


@dataclass(frozen=True)
class Catalogue:
    """All cases of a file."""

    path: str
    text: str

    @classmethod
    def published(cls) -> Catalogue:
        """What comes with the package."""
        source = files("vqa").joinpath("selftest.yaml")
        return cls("selftest.yaml", source.read_text(encoding="utf-8"))

    @classmethod
    def of(cls, path: str) -> Catalogue:
        """Read a file of one's own. Raises BadArgument."""
        try:
            return cls(path, Path(path).read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise BadArgument(f"{path}: cannot be read as cases ({error})") from None

    def cases(self, scorer: str) -> list[Case]:
        """Give the cases of a scorer. Raises BadArgument, also where it has none."""
        found = [case for case in self._all if case.scorer == scorer]
        if not found:
            names = ", ".join(dict.fromkeys(case.scorer for case in self._all))
            why = self._tree.get("unpublished", {}).get(scorer, f"{self.path} has no case of it")
            raise BadArgument(f"{scorer}: nothing to compare with: {why}; there is for {names}")
        return found

    @cached_property
    def _all(self) -> list[Case]:
        inputs, listed = self._tree.get("inputs") or {}, self._tree.get("cases") or []
        return [self._case(number, one, inputs) for number, one in enumerate(listed, start=1)]

    @cached_property
    def _tree(self) -> Mapping[str, Any]:
        try:
            tree = yaml.safe_load(self.text)
        except yaml.YAMLError as error:
            raise BadArgument(f"{self.path}: is not YAML ({error})") from None
        if not isinstance(tree, dict) or not isinstance(tree.get("cases"), list):
            raise BadArgument(f"{self.path}: must hold a list `cases`, and `inputs` by name")
        return tree

    def _case(self, number: int, data: Mapping[str, Any], inputs: Mapping[str, Any]) -> Case:
        try:
            return _case(data, inputs)
        except KeyError as error:
            raise BadArgument(f"{self.path}: case {number}: lacks {error}") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise BadArgument(f"{self.path}: case {number}: {error}") from None


def find(wanted: Sequence[Input], places: Sequence[str]) -> dict[str, Path]:
    """Find every input among files and in folders, by its name, and check its digest.

    A file that is given itself may have any name if its digest is known. Raises BadArgument that
    lists what is missing and where it comes from, or says that a file is another one.
    """
    named = {one.name: one for one in wanted}
    found = {name: _find(one, places) for name, one in named.items()}
    if missing := [str(named[name]) for name, path in found.items() if path is None]:
        raise BadArgument(
            f"selftest: needs {', '.join(missing)}; give the file, or the folder it lies in, as"
            " --input"
        )
    return {name: path for name, path in found.items() if path is not None}


def _find(wanted: Input, places: Sequence[str]) -> Path | None:
    other = None
    for path in (path for place in places for path in _candidates(wanted, Path(place))):
        digest = _digest(path) if wanted.sha256 else None
        if digest == wanted.sha256:
            return path
        if path.name == Path(wanted.name).name:
            other = other or f"{path}: is not {wanted}: its sha256 is {digest}; fetch it again"
    if other is not None:
        raise BadArgument(other)
    return None


def _candidates(wanted: Input, place: Path) -> list[Path]:
    if place.is_dir():
        direct, name = place / wanted.name, Path(wanted.name).name
        return [direct] if direct.is_file() else sorted(place.rglob(name))
    if not place.is_file():
        raise BadArgument(f"--input {place}: no such file or folder")
    return [place] if wanted.sha256 or place.name == Path(wanted.name).name else []


def _digest(path: Path) -> str:
    from features.sources import digest_of

    return digest_of(str(path))


def _case(data: Mapping[str, Any], inputs: Mapping[str, Any]) -> Case:
    """Read one case; ValueError says which rule it breaks."""
    kinds = [kind for kind in KINDS if kind in data]
    if len(kinds) != 1:
        raise ValueError(f"needs one of {', '.join(KINDS)}")
    kind = kinds[0]
    if unknown := [name for name in data["inputs"] if name not in inputs]:
        raise ValueError(f"{unknown[0]!r} does not stand in `inputs`")
    rest = {key: value for key, value in data.items() if key not in (kind, "inputs")}
    return Case(
        **rest,
        inputs=[Input(name=name, **(inputs[name] or {})) for name in data["inputs"]],
        kind=kind,
        expected=_expected(kind, data),
    )


def _expected(kind: Kind, data: Mapping[str, Any]) -> dict[str, float]:
    """Name the expected numbers: by aspect, by input or by prompt."""
    single = {"aspects": ("inputs", "prompts"), "values": ("prompts",), "softmax": ("inputs",)}
    for name in single[kind]:
        if len(data[name]) != 1:
            raise ValueError(f"{kind} are of one of the {name}, not of {len(data[name])}")
    numbers = data[kind]
    if kind == "aspects":
        return {name: float(number) for name, number in numbers.items()}
    names = data["inputs"] if kind == "values" else data["prompts"]
    if len(names) != len(numbers):
        raise ValueError(f"{len(numbers)} numbers for {len(names)} {kind}")
    return dict(zip(names, map(float, numbers), strict=True))

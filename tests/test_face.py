"""The public surface, and what it costs to import it."""

import subprocess
import sys
from pathlib import Path

import pytest

import vqa
from features import errors as feature_errors
from vqa import errors

ROOT = Path(__file__).parent.parent
HEAVY = [
    "torch",
    "transformers",
    "av",
    "decord",
    "cv2",
    "scipy",
    "numpy",
    "yaml",
    "rich",
    "typer",
    "PIL",
    "pydantic",
]


def test_all_is_the_namespace() -> None:
    assert dir(vqa) == sorted(vqa.__all__)
    for name in vqa.__all__:
        assert getattr(vqa, name) is not None


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'vqa' has no attribute 'lode'"):
        vqa.lode  # noqa: B018


def test_every_public_name_has_a_docstring() -> None:
    for name in set(vqa.__all__) - {"__version__"}:
        assert (getattr(vqa, name).__doc__ or "").strip(), name


def test_every_error_is_listed_with_a_kind_of_its_own() -> None:
    for name, value in vars(feature_errors).items():
        if isinstance(value, type) and issubclass(value, errors.VqaError):
            assert getattr(errors, name) is value
    listed = [getattr(errors, name) for name in errors.__all__]
    kinds = [error.kind for error in listed]
    assert len(set(kinds)) == len(kinds)
    assert all(kind == kind.lower() and " " not in kind for kind in kinds)


def _modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def test_importing_vqa_loads_nothing_heavy() -> None:
    assert not set(HEAVY) & _modules_after("import vqa")


def test_help_loads_no_numbers_and_no_tables() -> None:
    help_ = "from vqa.cli import main\nimport contextlib, io\n"
    help_ += "with contextlib.redirect_stdout(io.StringIO()): main(['--help'])"
    loaded = _modules_after(help_)
    assert "typer" in loaded and not (set(HEAVY) - {"typer"}) & loaded


def test_loading_a_scorer_opens_no_decoder() -> None:
    loaded = _modules_after("import vqa; vqa.load('visionreward-video', judge=vqa.Scripted({}))")
    assert not {"torch", "transformers", "av", "cv2", "rich", "typer"} & loaded

"""Makes the processor of a checkpoint: chat template, tokenizer, pictures to tensors.

`AutoProcessor` would do, but it makes the processor of films as well, and that needs torchvision;
its pictures also differ a little with torchvision from those without. Here pictures are always
prepared with Pillow, and the rest is made only where films are wanted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import transformers
from transformers.models.auto import processing_auto

from vqa.errors import BadCheckpoint, NotAvailable
from vqa.models.quiet import quiet

Media = Literal["images", "video"]

_library: Any = transformers  # half of it has types, and those differ from release to release
_by_model: Any = processing_auto.PROCESSOR_MAPPING
_NAMED_IN = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
# For pictures the same strings and tensors, without a package for writing numbers in words.
_FOR_PICTURES = {"SmolVLMProcessor": "Idefics3Processor"}


def load_processor(folder: Path, config: Any, *, media: Media = "images") -> Any:
    """Make the processor of a model with this config.

    Raises BadCheckpoint where files are missing or broken, and NotAvailable where a package is that
    the processor cannot do without: torchvision for films, and for pictures in a few models.
    """
    base, films = _class_of(folder, config, media), _library.AutoVideoProcessor
    try:
        with quiet("transformers"):
            parts = {
                "tokenizer": _library.AutoTokenizer.from_pretrained(folder, local_files_only=True),
                "image_processor": _library.AutoImageProcessor.from_pretrained(
                    folder, backend="pil", local_files_only=True
                ),
                "video_processor": films.from_pretrained(folder, local_files_only=True)
                if media == "video"
                else None,
            }
            settings, _ = base.get_processor_dict(folder, local_files_only=True)
            given = [parts.get(name) for name in base.get_attributes()]
            return _lenient(base).from_args_and_dict(given, settings)
    except ImportError as error:
        raise _lacking(folder, base, error) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if "torchvision" in str(error).lower():
            raise _lacking(folder, base, error) from None
        said = str(error).strip().partition("\n")[0]
        raise BadCheckpoint(f"{folder}: no {base.__name__} can be made of it ({said})") from None


def _class_of(folder: Path, config: Any, media: Media) -> Any:
    """The class that the files name, or else the one that goes with the model."""
    for name in _NAMED_IN:
        named = _settings(folder / name).get("processor_class")
        if media == "images":
            named = _FOR_PICTURES.get(str(named), named)
        found = getattr(_library, named, None) if named else None
        if found is not None:
            return found
    found = _by_model.get(type(config), None)
    if found is None:
        raise NotAvailable(f"{folder}: transformers has no processor for {config.model_type!r}")
    if media == "images" and found.__name__ in _FOR_PICTURES:
        return getattr(_library, _FOR_PICTURES[found.__name__])
    return found


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BadCheckpoint(f"{path}: is no JSON ({error})") from None
    return found if isinstance(found, dict) else {}


def _lenient(base: Any) -> Any:
    """The same processor, which does without the parts that are not there."""

    def check(self: Any, name: str, argument: Any) -> Any:
        if argument is None:
            return type(None)
        return base.check_argument_for_proper_class(self, name, argument)

    return type(base.__name__, (base,), {"check_argument_for_proper_class": check})


def _lacking(folder: Path, base: Any, error: Exception) -> NotAvailable:
    text = str(error).strip()
    package = next((name for name in ("num2words", "torchvision") if name in text.lower()), None)
    if package is None:
        said = text.partition("\n")[0]
        return NotAvailable(f"{folder}: its {base.__name__} cannot be used here ({said})")
    way_out = "; or take media='images'" if "video" in text.lower() else ""
    return NotAvailable(
        f"{folder}: its {base.__name__} needs {package}, which is not installed:"
        f" pip install {package}{way_out}"
    )

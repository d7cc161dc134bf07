"""Where a checkpoint lies: a folder, or a model on the Hugging Face hub that is fetched once.

Only weights as safetensors, JSON and tokenizer files are fetched: never code, and pickles only of
the names that a caller can read without running them.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from functools import partialmethod
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa.errors import BadCheckpoint, MissingCheckpoint, NoSpace, VqaError
from vqa.models.headers import layout

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

PATTERNS = ["*.safetensors", "*.json", "*.model", "*.jinja", "vocab.txt", "merges.txt"]
PICKLES = (".bin", ".pt", ".pth")
HUB_ID = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?")
TIMEOUT_S = 10.0
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows has no quota error
ABSENT = "not, or not as a whole, in the cache of the hub"


def resolve(
    checkpoint: str | PathLike[str],
    *,
    download: bool = True,
    needs: Sequence[str] = ("config.json",),
    pickles: Sequence[str] = (),
    cache: str | PathLike[str] | None = None,
    endpoint: str | None = None,
) -> Path:
    """Give the folder of a checkpoint: a path, or a hub id "org/name" or "org/name@revision".

    A model that the hub's cache holds as a whole, `needs` included, is taken from there without
    asking the network; so a branch stays as it was when it was fetched. Otherwise it is fetched, if
    the disk has room.
    pickles -- patterns of pickled weights that will do as well, "pytorch_model.bin". cache,
    endpoint -- instead of the hub's own (HF_HOME, HF_ENDPOINT).

    Raises MissingCheckpoint where there is nothing to load, with what to do about it; NoSpace;
    BadCheckpoint for a model without safetensors.
    """
    text = os.fspath(checkpoint)
    path = os.path.expanduser(text)
    if os.path.isdir(path):
        return Path(path)
    if os.path.exists(path):
        raise MissingCheckpoint(f"{text}: is a file; give the folder it lies in")
    match = HUB_ID.fullmatch(text)
    if match is None or ".." in text:
        raise MissingCheckpoint(
            f"{text!r}: no such folder; give the folder of a checkpoint, or a hub id such as"
            " zai-org/VisionReward-Video"
        )
    repo, revision = match["repo"], match["revision"] or "main"
    place = None if cache is None else os.fspath(cache)
    patterns = [*PATTERNS, *pickles]
    found = _cached(repo, revision, place, needs, patterns)
    if found is None and not download:
        raise MissingCheckpoint(f"{text}: {ABSENT}; fetch it first: `hf download {repo}`")
    return found or _fetch(repo, revision, place, endpoint, patterns)


def companion(
    folder: str | PathLike[str],
    name: str,
    *,
    repo: str,
    file: str | None = None,
    cache: str | PathLike[str] | None = None,
    endpoint: str | None = None,
) -> Path:
    """Give a small file that a checkpoint needs and its authors left in another repository.

    Looks for `name` in the folder, then in the hub's cache of `repo`, and else fetches this one
    file; there it may be called `file`. Raises MissingCheckpoint.
    """
    here, wanted = Path(folder) / name, file or name
    place = None if cache is None else os.fspath(cache)
    if here.exists():
        return here
    found = _one_file(repo, wanted, place, endpoint, local=True)
    if not isinstance(found, Path):
        found = _one_file(repo, wanted, place, endpoint, local=False)
    if isinstance(found, Path):
        return found
    raise MissingCheckpoint(f"{here}: missing; it is {wanted} of {found}; or put it there")


def _one_file(
    repo: str, name: str, cache: str | None, endpoint: str | None, *, local: bool
) -> Path | VqaError:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    failures: tuple[type[BaseException], ...] = (OSError, *HfHubHTTPError.__bases__)
    try:
        folder = snapshot_download(
            repo,
            cache_dir=cache,
            endpoint=endpoint,
            allow_patterns=[name],
            local_files_only=local,
            tqdm_class=_bar(),
        )
    except failures as error:
        return _explained(error.__cause__ or error, repo, "main")  # the library hides why
    found = Path(folder, name)
    return found if found.is_file() else MissingCheckpoint(f"{repo}, which no longer has it")


def _cached(
    repo: str, revision: str, cache: str | None, needs: Iterable[str], patterns: list[str]
) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                repo,
                revision=revision,
                cache_dir=cache,
                allow_patterns=patterns,
                local_files_only=True,
            )
        )
        files = _pickled(folder, patterns) or layout(folder)[0]
    except (LocalEntryNotFoundError, BadCheckpoint):
        return None
    except HFValidationError as error:
        raise MissingCheckpoint(f"{repo}: no folder here, and no hub id: {error}") from None
    # Older releases of the hub library give a folder that is only partly there.
    return folder if all(f.exists() for f in (*files, *map(folder.joinpath, needs))) else None


def _pickled(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """The pickled weights in a folder of the cache that has no others."""
    if any(folder.rglob("*.safetensors*")):
        return []
    files = [p for p in folder.rglob("*") if p.suffix in PICKLES]
    return [p for p in files if _is_wanted(p.relative_to(folder).as_posix(), patterns)]


def _is_wanted(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _fetch(
    repo: str, revision: str, cache: str | None, endpoint: str | None, patterns: list[str]
) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    # The hub library has changed its HTTP client; the base of all errors of the client is in there.
    failures: tuple[type[BaseException], ...] = (OSError, *HfHubHTTPError.__bases__)
    try:
        info = HfApi(endpoint=endpoint).model_info(
            repo, revision=revision, files_metadata=True, timeout=TIMEOUT_S
        )
        wanted = _wanted(repo, info.siblings or (), patterns)
        new = _uncached(repo, str(info.sha), wanted, cache)
        _check_space(repo, Path(cache or constants.HF_HUB_CACHE).absolute(), need=new)
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                cache_dir=cache,
                endpoint=endpoint,
                allow_patterns=patterns,
                tqdm_class=_bar(),
            )
        )
    except failures as error:
        raise _explained(error, repo, revision) from None


def _bar() -> type[Any]:
    """Give a progress bar that, unlike the library's own, is silent where there is no terminal."""
    from huggingface_hub.utils.tqdm import tqdm

    return type("Bar", (tqdm,), {"__init__": partialmethod(tqdm.__init__, disable=None)})


def _wanted(repo: str, files: Iterable[RepoSibling], patterns: Sequence[str]) -> list[RepoSibling]:
    wanted = [file for file in files if _is_wanted(file.rfilename, patterns)]
    if not any(file.rfilename.endswith((".safetensors", *PICKLES)) for file in wanted):
        raise BadCheckpoint(
            f"{repo}: has no safetensors on the hub, nothing was fetched; pickles are not loaded."
            " The image model as released (split parts of a tar) is fetched by"
            f" `hf download {repo} --local-dir DIR` and made loadable by `vqa convert`"
        )
    return wanted


def _uncached(repo: str, commit: str, files: Iterable[RepoSibling], cache: str | None) -> int:
    """Give the bytes still to be fetched."""
    from huggingface_hub import try_to_load_from_cache

    return sum(
        file.size or 0
        for file in files
        if not isinstance(
            try_to_load_from_cache(repo, file.rfilename, cache_dir=cache, revision=commit), str
        )
    )


def _check_space(repo: str, place: Path, *, need: int) -> None:
    free = shutil.disk_usage(next(p for p in (place, *place.parents) if p.exists())).free
    if need > free:
        raise NoSpace(
            f"{repo}: needs {need / 1e9:.1f} GB, and {place} has {free / 1e9:.1f} GB free; make"
            " room, or set HF_HOME to a larger disk, or give a folder that holds the files"
        )


def _explained(error: BaseException, repo: str, revision: str) -> VqaError:
    """Turn what the hub or the network answers into what to do about it."""
    from huggingface_hub import errors

    if getattr(error, "errno", None) in DISK_FULL:
        return NoSpace(f"{repo}: the disk filled up while it was fetched; make room, start again")
    log_in = "say who you are (`hf auth login`, or HF_TOKEN)"
    status = _status(error)
    answers: dict[type[BaseException], str] = {
        errors.GatedRepoError: (
            f"is gated; accept its terms at https://huggingface.co/{repo} and {log_in}"
        ),
        errors.RevisionNotFoundError: (
            f"has no revision {revision!r} on the hub; leave it out for the newest"
        ),
        errors.RepositoryNotFoundError: (
            "neither a folder here nor a model that the hub shows you; check the spelling, or, if"
            f" it is private, {log_in}"
        ),
        errors.OfflineModeIsEnabled: (
            f"{ABSENT}, and HF_HUB_OFFLINE is set; unset it where there is a network, or give a"
            " folder"
        ),
        errors.HfHubHTTPError: (
            f"the hub refuses it ({status}); {log_in}"
            if status in (401, 403)
            else f"the hub answered {status}; try later, or give a folder"
        ),
        BaseException: (
            f"{ABSENT}, and the hub cannot be reached ({type(error).__name__}); check the network"
            " and start again (finished files are kept), or give a folder"
        ),
    }
    why = next(text for kind, text in answers.items() if isinstance(error, kind))
    return MissingCheckpoint(f"{repo}: {why}")


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)

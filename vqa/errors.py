"""Every error this package raises on purpose, in one place; each has a `kind` for the row.

The errors of reading a video live beside the reader (`features.errors`) and are listed here again.
A message says the rule, the value and the way out.
"""

from __future__ import annotations

from features.errors import (
    BadFrames,
    BrokenContainer,
    EmptyFile,
    MissingDecoder,
    MissingFile,
    NoDecodableFrame,
    NoImages,
    NotAFile,
    NotAVideo,
    NoVideoStream,
    OverLimit,
    PermissionDenied,
    StoppedEarly,
    UnreadableVideo,
    VqaError,
)

__all__ = [
    "BadArgument",
    "BadChecklist",
    "BadFrames",
    "BrokenContainer",
    "EmptyFile",
    "MissingCheckpoint",
    "MissingDecoder",
    "MissingFile",
    "NoDecodableFrame",
    "NoImages",
    "NoVideoStream",
    "NotAFile",
    "NotAVideo",
    "NotAvailable",
    "OverLimit",
    "PermissionDenied",
    "StoppedEarly",
    "UnreadableVideo",
    "VqaError",
]


class BadArgument(VqaError):
    """A value handed in by the caller breaks a rule; raised before any video is opened."""

    kind = "bad_argument"


class BadChecklist(VqaError):
    """A checklist file breaks a rule; the message names the file, the question and the rule."""

    kind = "bad_checklist"


class MissingCheckpoint(VqaError):
    """The scorer asked for is a network and no weights for it were given."""

    kind = "missing_checkpoint"


class NotAvailable(VqaError):
    """What was asked for exists by name and is not part of this release or this machine."""

    kind = "not_available"

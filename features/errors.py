"""Errors that say the rule, the value and the way out.

Every error of the project is a `VqaError`; `kind` is the word that programs read (it stands in the
row), `str(error)` the sentence that people read. Errors about videos live here because `features`
is the lowest package; `vqa.errors` lists them together with its own.
"""


class VqaError(Exception):
    """Anything this project refuses to do, with a message that says what to do instead."""

    kind: str = "error"


class UnreadableVideo(VqaError):
    """The source cannot be turned into frames."""

    kind = "unreadable_video"


class MissingFile(UnreadableVideo):
    """There is nothing at that path."""

    kind = "missing_file"


class PermissionDenied(UnreadableVideo):
    """The file is there, and this user may not read it."""

    kind = "permission_denied"


class NotAFile(UnreadableVideo):
    """A device, pipe or socket: reading it could block forever, so it is never opened."""

    kind = "not_a_file"


class EmptyFile(UnreadableVideo):
    """Zero bytes, or zero frames in memory."""

    kind = "empty_file"


class NotAVideo(UnreadableVideo):
    """The bytes are in no video or image format that we know (text, an archive, noise)."""

    kind = "not_a_video"


class NoImages(UnreadableVideo):
    """A folder without a single image in it."""

    kind = "no_images"


class NoVideoStream(UnreadableVideo):
    """A media file without pictures, such as a sound file."""

    kind = "no_video_stream"


class BrokenContainer(UnreadableVideo):
    """The format is recognised, its index or header is damaged or missing."""

    kind = "broken_container"


class NoDecodableFrame(UnreadableVideo):
    """The container is fine and not one picture could be decoded."""

    kind = "no_decodable_frame"


class BadFrames(UnreadableVideo):
    """Frames in memory, or images in a folder, that do not make a clip."""

    kind = "bad_frames"


class MissingDecoder(UnreadableVideo):
    """The decoder asked for is not installed, or cannot read this kind of source."""

    kind = "missing_decoder"


class StoppedEarly(UnreadableVideo):
    """Part of the clip could not be decoded. Raised only with `strict=True`."""

    kind = "stopped_early"


class OverLimit(UnreadableVideo):
    """More pixels, seconds, frames or bytes than the caller allows."""

    kind = "over_limit"

"""Answers that were paid for once, kept in one SQLite file that several processes may use."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from vqa.errors import BadArgument
from vqa.judges.reply import Reading

_TABLE = """create table if not exists answers (
    key text primary key, p_yes real, log_yes real, log_no real, reply text, share real,
    model text, question text, kept_at text default current_timestamp
)"""
# A process that waits for another one's write waits this long.
_PATIENCE_S = 60.0


def user_cache() -> Path:
    """Give the file in the user's cache folder: XDG_CACHE_HOME, or what the system has for it."""
    if sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "vqa" / "answers.sqlite"


def key_of(facts: Mapping[str, Any]) -> str:
    """Give the digest of all that an answer depends on; the order of `facts` does not matter."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Cache:
    """A file of answers, open while it is used as a context.

    Raises BadArgument for a path where there is no room for it, or something else. A file that
    fails later (a full disk, a lock that is never given back) loses no answer: it is left alone
    from then on, and `broken` says why.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.broken: str | None = None
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = sqlite3.connect(self.path, timeout=_PATIENCE_S, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self._refused(error) from None
        try:
            self._file.execute(_TABLE)
        except sqlite3.Error as error:
            self._file.close()
            raise self._refused(error) from None

    def get(self, key: str) -> Reading | None:
        """Give the answer with this key, if it was kept."""
        rows = self._run(
            "select p_yes, log_yes, log_no, reply, share from answers where key = ?", key
        )
        return Reading(*rows[0]) if rows else None

    def keep(self, key: str, reading: Reading, *, model: str, question: str) -> None:
        """Keep an answer at once; model and question are there for people who look into the file.

        What is neither yes nor no is not kept: it is asked again.
        """
        if reading.p_yes is None:
            return
        self._run(
            "insert or replace into answers"
            " (key, p_yes, log_yes, log_no, reply, share, model, question)"
            " values (?, ?, ?, ?, ?, ?, ?, ?)",
            *(key, reading.p_yes, reading.log_yes, reading.log_no, reading.reply, reading.share),
            *(model, question),
        )

    def _run(self, query: str, *values: str | float | None) -> list[Any]:
        if self.broken is not None:
            return []
        try:
            return self._file.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self.broken = str(error)
            return []

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def _refused(self, error: Exception) -> BadArgument:
        return BadArgument(
            f"cache {self.path}: cannot be used as a file of answers ({error}); give another path,"
            " or cache=None to keep none"
        )

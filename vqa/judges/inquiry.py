"""Questions about several clips put to a server: who asks what when, and what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from vqa.errors import BadEndpoint
from vqa.judges.base import Answers
from vqa.judges.cache import Cache, key_of
from vqa.judges.crew import done_by
from vqa.judges.reply import Reading, read
from vqa.judges.request import Body, body
from vqa.judges.server import Connection, Refused, Unreachable
from vqa.judges.wording import pictures, worded
from vqa.scorer import attempt

if TYPE_CHECKING:
    from vqa.judges.base import Ask
    from vqa.judges.endpoint import Endpoint
    from vqa.score import Answer

# A wrong key, model or address: what is true of one question is true of all.
FOR_ALL = {401, 403, 404, 405, *range(300, 400)}
# Below this share of yes and no together the model was about to say something else.
LEAST_SHARE = 0.001


@dataclass(eq=False)
class Sheet:
    """One clip's questions, as they are sent, and what has come back.

    facts -- what all its answers depend on, besides the question and how the answer is read.
    """

    ask: Ask
    texts: list[str] = field(default_factory=list)
    facts: Mapping[str, Any] = field(default_factory=dict)
    body: Body | None = None
    readings: dict[int, Reading] = field(default_factory=dict)
    failures: dict[int, BadEndpoint] = field(default_factory=dict)
    error: Exception | None = None

    @property
    def open(self) -> list[int]:
        """Questions that have neither an answer nor a failure."""
        if self.error is not None:
            return []
        numbers = range(len(self.texts))
        return [n for n in numbers if n not in self.readings and n not in self.failures]

    def key(self, number: int, *, plain: bool) -> str:
        """Under which the answer to a question is kept."""
        how = "reply" if plain else "logprobs"
        return key_of({**self.facts, "text": self.texts[number], "read": how})

    def answers(self) -> Answers:
        """Answers in the order of the questions; None where there was none."""
        found = [_answer(self, number) for number in range(len(self.texts))]
        return Answers(found, warnings=self._warnings())

    def _warnings(self) -> list[str]:
        notes = []
        if self.failures:
            reason = next(iter(self.failures.values()))
            count = f"{len(self.failures)} of {len(self.texts)}"
            notes.append(f"{count} questions left unanswered: {reason}")
        if any(reading.reply is not None for reading in self.readings.values()):
            notes.append("P(yes) is 1 or 0, read from replies: the server gives no probabilities")
        return notes


@dataclass(eq=False)
class Inquiry:
    """One call of `Endpoint.ask_many`."""

    judge: Endpoint
    connection: Connection
    model: str
    cache: Cache | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, asks: Sequence[Ask]) -> list[list[Answer] | Exception]:
        """Ask all that is not known yet; the first question about each clip goes ahead."""
        sheets = [self._sheet(ask) for ask in asks]
        self._recall(sheets)
        for sheet in sheets:
            if sheet.open:
                self._show(sheet)
        failed = self._send([(sheet, sheet.open[0]) for sheet in sheets if sheet.open])
        if failed is None:
            self._recall(sheets)  # the first answers may have told how the others were read
            failed = self._send([(sheet, number) for sheet in sheets for number in sheet.open])
        self._tell(sheets)
        return [self._result(sheet, failed) for sheet in sheets]

    def _sheet(self, ask: Ask) -> Sheet:
        found = attempt(lambda: self._written(ask))
        return Sheet(ask, error=found) if isinstance(found, Exception) else found

    def _written(self, ask: Ask) -> Sheet:
        judge, clip = self.judge, ask.clip
        chosen = range(len(clip.times_s)) if clip.indices is None else clip.indices
        frames = 1 if judge.media == "video" else len(chosen)
        texts = [
            worded(question.render(ask.prompt), frames=frames, template=judge.template)
            for question in ask.questions
        ]
        facts = {
            "address": judge.url,
            "model": self.model,
            "media": clip.sha256,
            "frames": list(chosen),
            "shown": [judge.media, judge.coding, judge.max_pixels],
            "parameters": judge.sent(plain=False),
        }
        return Sheet(ask, texts, facts)

    def _recall(self, sheets: Sequence[Sheet]) -> None:
        """Take what was answered before; a bare yes or no only where there is no more to be had."""
        if self.cache is None:
            return
        for plain in (False, True) if self.judge.plain else (False,):
            for sheet in sheets:
                for number in sheet.open:
                    found = self.cache.get(sheet.key(number, plain=plain))
                    if found is not None:
                        sheet.readings[number] = found

    def _show(self, sheet: Sheet) -> None:
        judge = self.judge
        try:
            shown = pictures(sheet.ask.clip, max_pixels=judge.max_pixels)
            sheet.body = body(shown, model=self.model, media=judge.media, coding=judge.coding)
        except Exception as error:  # a file that cannot be decoded; the other clips go on
            sheet.error = error

    def _send(self, todo: Sequence[tuple[Sheet, int]]) -> BadEndpoint | None:
        """Ask; give the error that ends it for all, if there is one."""
        jobs: list[Callable[[], Reading]] = [partial(self._one, *pair) for pair in todo]
        for place, found in done_by(jobs, workers=self.judge.concurrency):
            sheet, number = todo[place]
            if isinstance(found, Reading):
                self._keep(sheet, number, found)
            elif isinstance(found, BadEndpoint):
                sheet.failures[number] = found
                if _is_for_all(found):
                    self.connection.stop()
                    return found
            else:
                raise found
        return None

    def _one(self, sheet: Sheet, number: int) -> Reading:
        if self.over.is_set():  # what ended it for all may not have been collected yet
            raise BadEndpoint(f"{self.judge.url}: not asked, an earlier question ended it for all")
        try:
            return self._ask_one(sheet, number)
        except BadEndpoint as error:
            if _is_for_all(error):
                self.over.set()
            raise

    def _ask_one(self, sheet: Sheet, number: int) -> Reading:
        assert sheet.body is not None  # _show came first
        plain = self.judge.plain
        try:
            return self._asked(sheet.body, sheet.texts[number], plain=plain)
        except Refused as error:
            if plain or error.status not in (400, 422) or "logprob" not in error.said.lower():
                raise
        self.judge.plain = True
        return self._asked(sheet.body, sheet.texts[number], plain=True)

    def _asked(self, body: Body, text: str, *, plain: bool) -> Reading:
        sent = body.asking(text, self.judge.sent(plain=plain))
        return self.connection.post("/chat/completions", sent, read)

    def _keep(self, sheet: Sheet, number: int, reading: Reading) -> None:
        sheet.readings[number] = reading
        plain = reading.reply is not None
        self.judge.plain = self.judge.plain or plain
        if self.cache is not None:
            question = sheet.ask.questions[number].text
            key = sheet.key(number, plain=plain)
            self.cache.keep(key, reading, model=self.model, question=question)

    def _result(self, sheet: Sheet, failed: BadEndpoint | None) -> list[Answer] | Exception:
        if sheet.error is not None:
            return sheet.error
        if failed is not None and len(sheet.readings) < len(sheet.texts):
            return failed
        if sheet.failures and not sheet.readings:
            return next(iter(sheet.failures.values()))
        return sheet.answers()

    def _tell(self, sheets: Sequence[Sheet]) -> None:
        """Say once per judge what concerns all answers."""
        judge = self.judge
        if judge.plain:
            judge.tell(
                "the server gives no probabilities; its replies are read as they are, P(yes) is 1"
                " or 0. vLLM and SGLang give them, some servers with a smaller top_logprobs"
            )
        if self.cache is not None and self.cache.broken:
            judge.tell(f"cache {self.cache.path}: {self.cache.broken}; answers are not kept")
        shares = [r.share for s in sheets for r in s.readings.values() if r.share is not None]
        if shares and 2 * sum(share < LEAST_SHARE for share in shares) > len(shares):
            judge.tell(
                "the model mostly begins with something other than yes or no; give a template that"
                " demands it, or parameters that switch off its thinking"
            )


def _answer(sheet: Sheet, number: int) -> Answer:
    question, reading = sheet.ask.questions[number], sheet.readings.get(number)
    if reading is None:
        return question.answer(None)
    return question.answer(
        reading.p_yes, logit_yes=reading.log_yes, logit_no=reading.log_no, reply=reading.reply
    )


def _is_for_all(error: BadEndpoint) -> bool:
    return isinstance(error, Unreachable) or (
        isinstance(error, Refused) and error.status in FOR_ALL
    )

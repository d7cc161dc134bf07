"""Any OpenAI-compatible server as a judge: vLLM, SGLang, or one you pay for.

    judge = Endpoint("http://localhost:8000/v1", model="Qwen/Qwen2.5-VL-7B-Instruct")
    vqa.load("visionreward-video", judge=judge)

Each question is one request for one token, with the probabilities of the 20 likeliest
(`vqa.judges.reply` says how they are read). The first question about a clip goes ahead and the
others follow together, when the server has the pictures in its prefix cache.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from vqa.errors import BadArgument, BadEndpoint, NotAvailable
from vqa.judges.base import Ask
from vqa.judges.wording import MAX_PIXELS, checked

if TYPE_CHECKING:
    from features.clip import Clip
    from features.measure import Measurement
    from vqa.checklist import Question
    from vqa.judges.cache import Cache
    from vqa.judges.server import Connection
    from vqa.score import Answer


@dataclass(eq=False)
class Endpoint:
    """Asks a server; P(yes) is the probability of all spellings of yes over that of yes and no.

    A question that keeps failing stays unanswered, with a warning in the row. An error of kind
    "endpoint" is a server that cannot be reached or refuses, and a clip of whose questions none
    could be answered.

    url -- up to and including /v1. model -- None takes the one that the server serves. api_key --
    None takes OPENAI_API_KEY; sent in the header and shown nowhere. concurrency -- requests at a
    time. tries, timeout_s, connect_timeout_s, backoff_s -- see `vqa.judges.server`.
    cache -- a file of answers; "auto" is answers.sqlite in the user's cache folder, None keeps
    none. The same answer is not paid for twice: the key is the clip's digest, its frames, the exact
    text that is sent, the address, the model and all parameters.
    media, coding, max_pixels -- how frames are sent: see `vqa.judges.request` and
    `vqa.judges.wording`.
    template -- text with {question} in it, sent after the frames. parameters -- further fields of
    the request, such as {"chat_template_kwargs": {"enable_thinking": False}}.
    at_once -- how many clips `score_many` hands over together.
    """

    url: str
    _: KW_ONLY
    model: str | None = None
    api_key: str | None = field(default=None, repr=False)
    concurrency: int = 16
    tries: int = 8
    timeout_s: float = 120.0
    connect_timeout_s: float = 10.0
    backoff_s: float = 0.5
    cache: str | os.PathLike[str] | None = "auto"
    media: Literal["images", "video"] = "images"
    coding: Literal["jpeg", "png"] = "jpeg"
    max_pixels: int | None = MAX_PIXELS
    template: str | None = None
    top_logprobs: int = 20
    parameters: Mapping[str, Any] = field(default_factory=dict)
    at_once: int = 8
    name: str = "endpoint"
    sees: Literal["frames", "measurement"] = "frames"
    plain: bool = field(default=False, init=False)  # found out: the server has no probabilities
    _served: str | None = field(default=None, init=False, repr=False)
    _told: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.username or parts.password:  # not shown: it may hold a password
            raise BadArgument("url: must hold no user and password; give api_key instead")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
            raise BadArgument(f"url must look like http://host:port/v1, not {self.url!r}")
        for name in ("concurrency", "tries", "timeout_s", "connect_timeout_s", "at_once"):
            if not getattr(self, name) > 0:
                raise BadArgument(f"{name} must be positive, not {getattr(self, name)!r}")
        checked(self.template)
        _checked_key(self.api_key)

    def ask(
        self,
        clip: Clip,
        questions: Sequence[Question],
        *,
        prompt: str | None = None,
        measurement: Measurement | None = None,
    ) -> list[Answer]:
        """Answer every question about the frames of a clip, in order.

        Raises BadEndpoint, NotAvailable (no httpx), BadArgument, and what decoding raises.
        """
        found = self.ask_many([Ask(clip, questions, prompt)])[0]
        if isinstance(found, Exception):
            raise found
        return found

    def ask_many(self, asks: Sequence[Ask]) -> list[list[Answer] | Exception]:
        """Answer questions about several clips; what fails costs its own clip only."""
        try:
            from vqa.judges.inquiry import Inquiry
            from vqa.judges.server import Server
        except ModuleNotFoundError as error:
            if error.name != "httpx":
                raise
            raise NotAvailable(
                "a judge on a server needs httpx; pip install 'vqa-visionreward[endpoint]'"
            ) from None
        server = Server(
            url=self.url,
            key=_checked_key(self.api_key or os.environ.get("OPENAI_API_KEY")),
            timeout_s=self.timeout_s,
            connect_timeout_s=self.connect_timeout_s,
            tries=self.tries,
            backoff_s=self.backoff_s,
            connections=self.concurrency,
        )
        with server.open() as connection, self._open_cache() as cache:
            try:
                model = self._model(connection)
            except BadEndpoint as error:
                return [error] * len(asks)
            return Inquiry(self, connection, model, cache).run(asks)

    def sent(self, *, plain: bool) -> dict[str, Any]:
        """Give the fields of a request besides model and messages.

        plain -- without probabilities, for a server that has none.
        """
        wanted = {} if plain else {"logprobs": True, "top_logprobs": self.top_logprobs}
        return {"max_tokens": 1, "temperature": 0, **wanted, **self.parameters}

    def tell(self, message: str) -> None:
        """Say something once: a line on standard error, unless logging is set up otherwise."""
        if message not in self._told:
            self._told.add(message)
            logging.getLogger("vqa").warning("%s: %s", self.url, message)

    def _model(self, connection: Connection) -> str:
        """Give the name to ask for: the one given, or the only one that is served."""
        if self.model is not None:
            return self.model
        if self._served is None:
            served = connection.get("/models", _names)
            if len(served) != 1:
                listed = ", ".join(served[:10]) or "none"
                raise BadEndpoint(
                    f"{self.url}: serves {len(served)} models ({listed}); say which: model=..., or"
                    " the address with #NAME at its end"
                )
            self._served = served[0]
        return self._served

    def _open_cache(self) -> AbstractContextManager[Cache | None]:
        from vqa.judges.cache import Cache, user_cache

        if self.cache is None:
            return nullcontext()
        if self.cache != "auto":
            return Cache(self.cache)
        try:
            return Cache(user_cache())
        except BadArgument as error:  # a home that cannot be written costs money and no answers
            self.tell(str(error))
            return nullcontext()


def _names(answer: Any) -> list[str]:
    return [str(model["id"]) for model in answer["data"]]


def _checked_key(key: str | None) -> str | None:
    """Take white space off a key; what no header can carry is refused without showing it."""
    key = key.strip() if key else None
    if key and not (key.isascii() and key.isprintable()):
        raise BadArgument("api_key: holds characters that no header can carry; is it a key?")
    return key

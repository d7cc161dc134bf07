"""An OpenAI-compatible server on localhost, with the faults of real ones.

Its answers are computed from the request: the probability of yes is a number drawn from the digest
of pictures and text, spread over several spellings.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

MODEL = "made/judge"
# Token -> share of its side. "Yes," and "Y" are on no side.
YES = {"Yes": 0.7, " yes": 0.2, "YES": 0.1}
NO = {"No": 0.6, "no": 0.3, "\u2581no": 0.1}
OTHERS = {"Yes,": 0.6, "Y": 0.4}
SAID = 0.9  # probability of yes and no together

Plan = Callable[[str, int], str]


def p_of(text: str, urls: list[str]) -> float:
    """P(yes), as the server sees it."""
    digest = hashlib.sha256("|".join([text, *urls]).encode()).digest()
    return (int.from_bytes(digest[:4], "big") + 0.5) / 2**32


def pictures_of(url: str) -> list[Image.Image]:
    """Decode a data URL: one picture, or frames after each other."""
    _, _, data = url.partition(";base64,")
    return [Image.open(io.BytesIO(base64.b64decode(part))) for part in data.split(",")]


@dataclass(frozen=True)
class Asked:
    """One request."""

    at_s: float
    raw: bytes
    body: dict[str, Any]
    key: str | None

    @property
    def parts(self) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = self.body["messages"][0]["content"]
        return content

    @property
    def text(self) -> str:
        return str(self.parts[-1]["text"])

    @property
    def urls(self) -> list[str]:
        return [part[part["type"]]["url"] for part in self.parts[:-1]]


@dataclass
class Chat:
    """What the server does, and what it was asked.

    plan -- text and number of the try, from 1, to what is done. logprobs -- "yes"; "ignored", the
    answer has none; "refused", a request for them is a 400.
    """

    plan: Plan = lambda text, attempt: "answer"
    logprobs: str = "yes"
    models: list[str] = field(default_factory=lambda: [MODEL])
    reply: Callable[[float], str] = lambda p: "Yes." if p > 0.5 else "No"
    tokens: Callable[[float], dict[str, float]] | None = None
    asked: list[Asked] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    together: int = 0
    most_together: int = 0
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tries(self, text: str) -> int:
        return sum(one.text == text for one in self.asked)

    def completion(self, asked: Asked) -> dict[str, Any]:
        p = p_of(asked.text, asked.urls)
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": self.reply(p)},
            "finish_reason": "length",
        }
        if asked.body.get("logprobs") and self.logprobs == "yes":
            choice["logprobs"] = {"content": [self._logprobs(p, asked.body["top_logprobs"])]}
        return {"id": "1", "object": "chat.completion", "choices": [choice]}

    def _logprobs(self, p: float, top: int) -> dict[str, Any]:
        shares = {
            **{token: SAID * p * share for token, share in YES.items()},
            **{token: SAID * (1 - p) * share for token, share in NO.items()},
            **{token: (1 - SAID) * share for token, share in OTHERS.items()},
        }
        shares = self.tokens(p) if self.tokens else shares
        listed = sorted(shares.items(), key=lambda pair: -pair[1])[:top]
        entries = [{"token": t, "logprob": math.log(s), "bytes": None} for t, s in listed]
        return {**entries[0], "top_logprobs": entries}


class _Handler(BaseHTTPRequestHandler):
    chat: Chat
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        if not self.path.endswith("/models"):
            return self._json(404, {"error": {"message": "no such path"}})
        self._json(200, {"data": [{"id": name, "object": "model"} for name in self.chat.models]})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        asked = Asked(time.monotonic(), raw, json.loads(raw), self.headers.get("Authorization"))
        chat = self.chat
        with chat.lock:
            chat.asked.append(asked)
            attempt = chat.tries(asked.text)
            chat.together += 1
            chat.most_together = max(chat.most_together, chat.together)
        try:
            self._do(chat.plan(asked.text, attempt), asked)
        finally:
            with chat.lock:
                chat.together -= 1

    def _do(self, what: str, asked: Asked) -> None:
        if what == "hang":
            self.chat.released.wait(30)
            return self._hang_up()
        if what == "slow":
            time.sleep(0.05)
        elif what == "reset":
            return self._hang_up()
        elif what.isdigit() or ":" in what:
            status, _, after = what.partition(":")
            key = (asked.key or "").removeprefix("Bearer ")
            headers = {"Retry-After": after} if after else {}
            message = f"told {status}, and your key is {key}"
            return self._json(int(status), {"error": {"message": message}}, headers)
        elif what == "malformed":
            return self._send(200, b'{"choices": [{"mess', {})
        elif what == "empty":
            return self._json(200, {"choices": []})
        if asked.body.get("logprobs") and self.chat.logprobs == "refused":
            return self._json(400, {"error": {"message": "logprobs are not supported"}})
        body = json.dumps(self.chat.completion(asked)).encode()
        if what == "cut":
            self._send(200, body[: len(body) // 2], {}, length=len(body))
            return self._hang_up()
        with self.chat.lock:
            self.chat.answered[asked.text] += 1
        self._send(200, body, {"Content-Type": "application/json"})

    def _json(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), headers or {})

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], *, length: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(length or len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A client that went away is no news."""


@contextmanager
def chatting(chat: Chat | None = None) -> Iterator[Chat]:
    """Serve for as long as the block lasts."""
    chat = chat or Chat()
    handler = type("Handler", (_Handler,), {"chat": chat})
    with _Server(("127.0.0.1", 0), handler) as server:
        chat.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield chat
        finally:
            chat.released.set()
            server.shutdown()
            thread.join()

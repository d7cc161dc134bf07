"""Requests to an OpenAI-compatible server, tried again when the fault may pass.

What may pass: a connection that fails or is cut, no answer in time, 408, 425, 429 and 5xx, and a
body that is no proper answer. The wait doubles each time, up to 30 s, and is drawn at random from
its upper half, so that clients which failed together do not come back together; a server that says
Retry-After is not asked earlier. Anything else (a wrong key, an unknown model) is final.
"""

from __future__ import annotations

import email.utils
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, TypeVar

import httpx

from vqa.errors import BadEndpoint

T = TypeVar("T")

PASSING = {408, 425, 429, *range(500, 600)}
LONGEST_WAIT_S = 30.0
# A server that wants us to come back later than this has closed for today.
LONGEST_RETRY_AFTER_S = 600.0
# Tries at an address that has never answered: a typing error should not take a minute.
FIRST_TRIES = 3
MOST_BYTES = 16_000_000
_QUOTED = 300  # characters of what a server says that go into a message


class Unreachable(BadEndpoint):
    """Nobody answers at this address: no other question will be answered either."""


class Refused(BadEndpoint):
    """The server has answered, and asking again would not help."""

    def __init__(self, message: str, *, status: int, said: str) -> None:
        super().__init__(message)
        self.status, self.said = status, said


class Stopped(Exception):
    """The others have given up; this request is not needed any more."""


class Fault(Exception):
    """One try that failed in a way that may pass.

    wait_s -- what the server asked for. connected -- whether anybody was there at all.
    """

    def __init__(self, reason: str, *, wait_s: float = 0.0, connected: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.wait_s, self.connected = reason, wait_s, connected


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where a server is and how patiently it is asked.

    timeout_s is for a whole answer, and so also ends one that trickles in.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    timeout_s: float = 120.0
    connect_timeout_s: float = 10.0
    tries: int = 8
    backoff_s: float = 0.5
    connections: int = 16

    def open(self) -> Connection:
        """Open a pool of connections, to be used as a context; nothing is sent yet."""
        return Connection(self)


class Connection:
    """Connections to a server; threads may share it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.heard = False  # whether anybody has ever answered there
        self._stop = threading.Event()
        # Reading certificates takes longer than an answer from the next machine.
        secure = server.url.startswith("https")
        # Through a proxy meant for the internet nobody reaches a server on this machine.
        here = {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}
        self._client = httpx.Client(
            timeout=httpx.Timeout(server.timeout_s, connect=server.connect_timeout_s, pool=None),
            limits=httpx.Limits(
                max_connections=server.connections, max_keepalive_connections=server.connections
            ),
            headers={"Authorization": f"Bearer {server.key}"} if server.key else None,
            mounts=here,
            verify=secure,
        )

    def get(self, path: str, understand: Callable[[Any], T]) -> T:
        """Fetch JSON; raises like `post`."""
        return self._patiently(lambda: self._once("GET", path, None, understand))

    def post(self, path: str, body: bytes, understand: Callable[[Any], T]) -> T:
        """Send JSON and give what `understand` makes of the JSON that comes back.

        What `understand` raises ValueError, TypeError, KeyError or IndexError for is a fault like a
        cut connection. Raises Refused, Unreachable, BadEndpoint when all tries failed, and Stopped.
        """
        return self._patiently(lambda: self._once("POST", path, body, understand))

    def stop(self) -> None:
        """End the waits and requests of all threads."""
        self._stop.set()
        self._client.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def _patiently(self, once: Callable[[], T]) -> T:
        for tried in range(1, self.server.tries + 1):
            if self._stop.is_set():
                raise Stopped
            try:
                return once()
            except Fault as found:
                fault = found
            if self._hopeless(fault, tried):
                break
            if self._stop.wait(self._wait_s(fault, tried)):
                raise Stopped
        raise self._given_up(fault, tried)

    def _hopeless(self, fault: Fault, tried: int) -> bool:
        if tried == self.server.tries or fault.wait_s > LONGEST_RETRY_AFTER_S:
            return True
        return not fault.connected and not self.heard and tried >= FIRST_TRIES

    def _wait_s(self, fault: Fault, tried: int) -> float:
        most = min(LONGEST_WAIT_S, self.server.backoff_s * 2.0 ** (tried - 1))
        drawn = random.uniform(most / 2, most)
        return fault.wait_s + drawn if fault.wait_s >= drawn else drawn

    def _given_up(self, fault: Fault, tried: int) -> BadEndpoint:
        times = "once" if tried == 1 else f"{tried} times"
        if not fault.connected:
            return Unreachable(
                f"{self.server.url}: nobody answers ({fault.reason}), tried {times}; check the"
                " address and that the server runs, it usually ends in /v1"
            )
        return BadEndpoint(f"{self.server.url}: {fault.reason}, tried {times}; try later")

    def _once(
        self, method: str, path: str, body: bytes | None, understand: Callable[[Any], T]
    ) -> T:
        deadline = time.monotonic() + self.server.timeout_s
        try:
            status, headers, content = self._exchange(method, path, body, deadline)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Fault(self._clean(_kind(error)), connected=False) from None
        except (httpx.RequestError, httpx.StreamError) as error:
            raise Fault(self._clean(_kind(error))) from None
        except RuntimeError:  # what httpx says of a client that `stop` has closed
            if not self._stop.is_set():
                raise
            raise Stopped from None
        self.heard = True
        if status in PASSING:
            reason = f"it answers {status}{self._quoted(content)}"
            raise Fault(reason, wait_s=_retry_after(headers.get("retry-after")))
        if status != 200:
            raise self._refusal(status, content)
        try:
            return understand(json.loads(content))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise Fault(f"its answer is none ({type(error).__name__}: {error})") from None

    def _exchange(
        self, method: str, path: str, body: bytes | None, deadline: float
    ) -> tuple[int, httpx.Headers, bytes]:
        headers = None if body is None else {"Content-Type": "application/json"}
        url = self.server.url + path
        with self._client.stream(method, url, content=body, headers=headers) as response:
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout(f"no whole answer in {self.server.timeout_s:g} s")
                if len(content) > MOST_BYTES:
                    raise httpx.ReadError(f"more than {MOST_BYTES} bytes of answer")
        return response.status_code, response.headers, bytes(content)

    def _refusal(self, status: int, content: bytes) -> Refused:
        way_out = {
            401: "; give api_key, or set OPENAI_API_KEY",
            403: "; give api_key, or set OPENAI_API_KEY",
            404: "; check the address, which usually ends in /v1, and the name of the model",
            413: "; give fewer frames, or a smaller max_pixels",
        }.get(status, "")
        said = self._quoted(content)
        message = f"{self.server.url}: the server refuses, {status}{said}{way_out}"
        return Refused(message, status=status, said=said)

    def _quoted(self, content: bytes) -> str:
        """What a server says, short and on one line."""
        text = " ".join(self._clean(content.decode("utf-8", "replace")).split())
        shown = text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."
        return f": {shown}" if shown else ""

    def _clean(self, text: str) -> str:
        """Take out the key, which servers and libraries like to repeat."""
        return text.replace(self.server.key, "***") if self.server.key else text


def _kind(error: Exception) -> str:
    words = str(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _retry_after(value: str | None) -> float:
    """Seconds, from the number or the date that HTTP allows; 0 for neither."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return max(0.0, (when - datetime.now(timezone.utc)).total_seconds())

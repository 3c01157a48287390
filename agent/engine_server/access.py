"""Who may ask, and how much at a time: API keys, requests per key, and none any more once the process drains."""

import asyncio
import hmac
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from aiohttp import web

from agent.settings.engine_server import EngineServerConfig
from webrtc.http.errors import RequestRefused
from webrtc.http.origins import Origins
from webrtc.http.proxies import TrustedProxies
from webrtc.http.tokens import bearer_token

_RETRY_AFTER_S = 1.0
_ANYONE = -1


class Access:
    """Admits the requests of one server."""

    def __init__(self, config: EngineServerConfig) -> None:
        self._keys = [key.get_secret_value().encode() for key in config.api_keys]
        self._requests_per_key = config.requests_per_key
        self._origins = Origins((), TrustedProxies(()), are_names_checked=False, advice="set api_keys")
        self._active: Counter[int] = Counter()  # by the key's index
        self._is_idle = asyncio.Event()
        self.is_draining = False

    @property
    def active(self) -> int:
        """Requests in progress."""
        return self._active.total()

    def check_key(self, request: web.Request) -> int:
        """The index of the request's key.

        Raises:
            RequestRefused: 401, no key or an unknown one; 403, a web page of another origin where no key is needed.
        """
        if not self._keys:
            # Any page that somebody on this machine has open could use the engines in their name.
            self._origins.check(request)
            return _ANYONE
        key = bearer_token(request)
        if key is None:
            raise RequestRefused(401, "an API key is needed: Authorization: Bearer KEY", code="invalid_api_key")
        found = key.encode()
        matches = [hmac.compare_digest(found, known) for known in self._keys]  # all, in the same time for any key
        if not any(matches):
            raise RequestRefused(401, "the API key is not known here: ask for one", code="invalid_api_key")
        return matches.index(True)

    @contextmanager
    def admit(self, request: web.Request) -> Generator[None, None, None]:
        """Count a request for as long as it lasts.

        Raises:
            RequestRefused: 401 or 403, as of `check_key`; 429, too many requests with it; 503, the process drains.
        """
        key = self.check_key(request)
        if self.is_draining:
            raise RequestRefused(
                503, "the server is shutting down: ask another", code="draining", retry_after_s=_RETRY_AFTER_S
            )
        if self._active[key] >= self._requests_per_key:
            raise RequestRefused(
                429,
                f"all {self._requests_per_key} requests of this key are in progress: end one, or try again later",
                code="rate_limit_exceeded",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._active[key] += 1
        try:
            yield
        finally:
            self._active[key] -= 1
            if not self.active:
                self._is_idle.set()

    async def drain(self, limit_s: float) -> None:
        """Admit nothing more, and wait for what is in progress, at most until the limit."""
        self.is_draining = True
        if not self.active:
            return
        self._is_idle.clear()
        try:
            async with asyncio.timeout(limit_s):
                await self._is_idle.wait()
        except TimeoutError:
            return

    def stop_waiting(self) -> None:
        """End a drain now."""
        self._is_idle.set()

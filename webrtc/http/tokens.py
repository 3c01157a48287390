"""Bearer tokens: signed, short-lived permissions, for a page that some other server has let somebody into."""

import secrets

from aiohttp import web
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from webrtc.http.errors import TokenRejected

_SALT = "call token"  # keeps these tokens apart from whatever else is signed with the same secret


class CallTokens:
    """Issues and checks tokens with one secret; nothing is stored, so every process with the secret can do both."""

    def __init__(self, secret: str, *, lifetime_s: int) -> None:
        self._serializer = URLSafeTimedSerializer(secret, salt=_SALT)
        self._lifetime_s = lifetime_s

    def issue(self) -> str:
        """A token that opens calls from now on for as long as the lifetime says."""
        return self._serializer.dumps(secrets.token_hex(8))

    def check(self, token: str) -> None:
        """Accept a token.

        Raises:
            TokenRejected: not one of ours, or too old.
        """
        try:
            self._serializer.loads(token, max_age=self._lifetime_s)
        except SignatureExpired:
            raise TokenRejected(f"the call token is older than {self._lifetime_s} s; ask for a new one") from None
        except (BadSignature, UnicodeEncodeError):  # a header's bytes need not be text
            raise TokenRejected("the call token was not issued for this server") from None


def bearer_token(request: web.Request) -> str | None:
    """What the request shows as `Authorization: Bearer TOKEN` (RFC 6750, section 2.1); None if it shows nothing."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None

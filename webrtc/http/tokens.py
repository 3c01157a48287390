"""Call tokens: a signed, short-lived permission to call, for a page that some other server has let somebody into."""

import secrets

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

_SALT = "call token"  # keeps these tokens apart from whatever else is signed with the same secret


class TokenRejected(Exception):
    """The token does not permit a call; the message says why."""


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

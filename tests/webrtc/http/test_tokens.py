"""Call tokens: good for a while, for one secret."""

import pytest
from itsdangerous import TimestampSigner

from webrtc.http.errors import TokenRejected
from webrtc.http.tokens import CallTokens


@pytest.fixture
def tokens() -> CallTokens:
    return CallTokens("secret", lifetime_s=60)


def test_an_issued_token_is_accepted_by_any_process_with_the_secret(tokens: CallTokens) -> None:
    CallTokens("secret", lifetime_s=60).check(tokens.issue())
    assert tokens.issue() != tokens.issue()


def test_nonsense_is_rejected(tokens: CallTokens) -> None:
    for token in ["", "x", "a.b.c", "ä", "\udcff"]:
        with pytest.raises(TokenRejected, match="not issued for this server"):
            tokens.check(token)


def test_another_secret_is_rejected(tokens: CallTokens) -> None:
    with pytest.raises(TokenRejected, match="not issued"):
        tokens.check(CallTokens("other", lifetime_s=60).issue())


def test_a_changed_token_is_rejected(tokens: CallTokens) -> None:
    token = tokens.issue()
    with pytest.raises(TokenRejected):
        tokens.check(("B" if token[0] != "B" else "C") + token[1:])


def test_an_old_token_is_rejected(tokens: CallTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tokens.issue()
    now = TimestampSigner("x").get_timestamp()
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: now + 61)
    with pytest.raises(TokenRejected, match="older than 60 s"):
        tokens.check(token)

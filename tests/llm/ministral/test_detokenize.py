"""Replies taken apart: characters over several tokens, tool calls, thoughts, replies that are cut."""

from collections.abc import Sequence

import pytest

from llm.interface import TextDelta, ToolCall
from llm.ministral.chat_format import ChatSpecialTokens
from llm.ministral.detokenize import Piece, ReplyPieces

MARKERS = ChatSpecialTokens(end=2, tool_call=9, arguments=32, think=34, end_think=35)
TEXT = 1000  # id of the byte 0


def bytes_of(token: int) -> bytes:
    return bytes([token - TEXT]) if token >= TEXT else b""


def tokens(text: str) -> list[int]:
    return [TEXT + byte for byte in text.encode()]


def pieces_of(ids: Sequence[int], first_call: int = 0) -> list[Piece]:
    pieces = ReplyPieces(MARKERS, bytes_of, first_call)
    return [*(piece for token in ids for piece in pieces.add(token)), *pieces.end()]


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, TextDelta))


@pytest.mark.parametrize("text", ["plain", "naïve 日本 🎉", ""])
def test_every_piece_is_whole_characters(text: str) -> None:
    pieces = pieces_of(tokens(text))
    assert pieces == [TextDelta(character) for character in text]


def test_half_a_character_at_the_end_is_dropped() -> None:
    assert text_of(pieces_of(tokens("né")[:-1])) == "n"


def test_bytes_that_are_no_character_are_replaced() -> None:
    assert text_of(pieces_of([TEXT + 0xFF, *tokens("a")])) == "�a"


def test_tool_calls_are_whole_numbered_and_come_last() -> None:
    ids = [
        *tokens("Wait."), 9, *tokens("clock"), 32, *tokens('{"zone": "日"}'), 9, *tokens("hang_up"), 32,
    ]  # fmt: skip
    pieces = pieces_of(ids, first_call=7)
    assert text_of(pieces) == "Wait."
    assert pieces[-2:] == [
        ToolCall("call00007", "clock", '{"zone": "日"}'),
        ToolCall("call00008", "hang_up", "{}"),
    ]


def test_a_call_without_a_name_is_none() -> None:
    assert pieces_of([9, 32, *tokens("{}")]) == []


def test_a_call_is_open_until_its_end() -> None:
    pieces = ReplyPieces(MARKERS, bytes_of)
    assert not pieces.is_in_call
    pieces.add(9)
    assert pieces.is_in_call
    pieces.end()
    assert not pieces.is_in_call


def test_thoughts_are_not_spoken() -> None:
    assert text_of(pieces_of([34, *tokens("Hm."), 35, *tokens("Yes.")])) == "Yes."


def test_markers_out_of_place_are_nothing() -> None:
    assert text_of(pieces_of([32, 35, 3, *tokens("Yes.")])) == "Yes."

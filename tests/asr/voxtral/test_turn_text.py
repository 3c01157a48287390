from asr.interface import Word
from asr.voxtral.timing import STEP_SAMPLES
from asr.voxtral.turn_text import TurnText


def write(text: TurnText, *pieces: bytes | None, first: int = 20) -> list[bool]:
    """One piece a step from step `first`; None begins a word."""
    grown = []
    for step, piece in enumerate(pieces, first):
        if piece is None:
            text.separate()
        grown.append(text.add(piece or b"", step * STEP_SAMPLES))
    return grown


def test_words_end_where_their_first_token_says() -> None:
    text = TurnText(0)
    write(text, None, b" Hel", b"lo", b"", None, b" world", b"!")
    transcript = text.transcript(40 * STEP_SAMPLES, is_final=True)
    assert transcript.text == "Hello world!"
    assert [word.text for word in transcript.words] == ["Hello", "world!"]
    assert [word.end_samples for word in transcript.words] == [21 * STEP_SAMPLES, 25 * STEP_SAMPLES]
    assert transcript.words[0].start_samples < transcript.words[0].end_samples <= transcript.words[1].start_samples


def test_characters_may_be_split_between_tokens() -> None:
    text = TurnText(0)
    encoded = "é你🙂".encode()
    grown = write(text, *[bytes([byte]) for byte in encoded])
    assert grown == [False, True, False, False, True, False, False, False, True]
    assert text.transcript(0, is_final=True).text == "é你🙂"


def test_half_a_character_at_the_end_is_left_out_and_nonsense_is_marked() -> None:
    text = TurnText(0)
    write(text, b"a\xff", b"b", "é".encode()[:1])
    assert text.transcript(0, is_final=True).text == "a\N{REPLACEMENT CHARACTER}b"


def test_scripts_without_spaces_have_words_too() -> None:
    text = TurnText(0)
    write(text, None, "你好".encode(), None, "世界".encode(), "。".encode())
    transcript = text.transcript(99 * STEP_SAMPLES, is_final=True)
    assert transcript.text == "你好世界。"
    assert [word.text for word in transcript.words] == ["你好", "世界。"]


def test_punctuation_after_a_marker_stays_with_its_word() -> None:
    text = TurnText(0)
    write(text, b" yes", None, b",", b" no")
    assert [word.text for word in text.transcript(0, is_final=True).words] == ["yes,", "no"]


def test_partials_only_grow_and_the_final_begins_with_the_last() -> None:
    text = TurnText(500)
    texts, words = [], []
    for step, piece in enumerate([b" one", b" two", b"fold", b" three"], 10):
        text.add(piece, step * STEP_SAMPLES)
        partial = text.transcript((step + 1) * STEP_SAMPLES, is_final=False)
        assert (partial.is_final, partial.start_samples) == (False, 500)
        texts.append(partial.text)
        words.append(partial.words)
    assert texts == ["one", "one two", "one twofold", "one twofold three"]
    final = text.transcript(14 * STEP_SAMPLES, is_final=True)
    assert final.is_final
    assert final.text == texts[-1]
    assert final.words[:2] == words[-1][:2]


def test_words_neither_overlap_nor_begin_before_the_turn() -> None:
    text = TurnText(1000)
    text.add(b"immediately", 900)
    text.add(b" late", 30_000)
    text.add(b" later", 30_000)
    assert text.transcript(30_000, is_final=True).words == (
        Word("immediately", 1000, 1000),
        Word("late", 30_000 - 4 * 16_000 // 15, 30_000),
        Word("later", 30_000, 30_000),
    )


def test_nothing_said() -> None:
    transcript = TurnText(7).transcript(9, is_final=True)
    assert (transcript.text, transcript.words, transcript.start_samples, transcript.end_samples) == ("", (), 7, 9)

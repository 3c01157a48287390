"""The heard ledger: which words a playout position stands for."""

from pipelines.speaking.heard import HeardLedger


def test_words_are_heard_once_half_played() -> None:
    ledger = HeardLedger()
    ledger.add("one ", 0, 100)
    ledger.add("two ", 100, 200)
    assert ledger.take(49) == []
    assert ledger.take(50) == ["one "]
    assert ledger.take(149) == []
    assert ledger.take(150) == ["two "]
    assert ledger.take(10_000) == []
    assert not ledger.has_more


def test_a_word_in_several_chunks_counts_from_its_first() -> None:
    ledger = HeardLedger()
    ledger.add("", 1000, 1100)
    ledger.add("", 1100, 1200)
    ledger.add("long ", 1200, 1400)
    assert ledger.take(1199) == []
    assert ledger.take(1200) == ["long "]


def test_fragments_of_a_word_join() -> None:
    """An engine that only knows shares of characters cuts words anywhere."""
    ledger = HeardLedger()
    ledger.add("hel", 0, 30)
    assert ledger.take(25) == []
    ledger.add("lo wor", 30, 90)
    ledger.add("ld ", 90, 120)
    assert ledger.take(60) == ["hello "]
    assert ledger.take(120) == ["world "]


def test_several_words_in_a_chunk_share_its_time() -> None:
    ledger = HeardLedger()
    ledger.add("a bb ccc ", 0, 90)
    assert ledger.take(20) == ["a "]
    assert ledger.take(40) == ["bb "]
    assert ledger.take(90) == ["ccc "]


def test_taken_words_are_the_text() -> None:
    text = "Once upon a time,  there was a fox. "
    ledger = HeardLedger()
    for index, character in enumerate(text):
        ledger.add(character, 10 * index, 10 * index + 10)
    taken = [word for position in range(0, 10 * len(text) + 1, 7) for word in ledger.take(position)]
    taken += ledger.take(10 * len(text))
    assert "".join(taken) == text


def test_positions_go_on_after_a_cut() -> None:
    ledger = HeardLedger()
    ledger.add("never heard ", 0, 1000)
    ledger.clear()
    ledger.add("heard ", 240, 480)
    assert ledger.take(300) == []
    assert ledger.take(480) == ["heard "]

"""Clauses of a streamed reply."""

from pipelines.speaking.clauses import ClauseSplitter


def split(text: str, *, delta: int = 1, clause_chars: int = 24) -> list[str]:
    splitter = ClauseSplitter(clause_chars)
    clauses = [c for i in range(0, len(text), delta) for c in splitter.feed(text[i : i + delta])]
    return [*clauses, rest] if (rest := splitter.close()) else clauses


def test_clauses() -> None:
    for text, clauses in (
        ("Well, it is noon.", ["Well,", " it is noon."]),
        ("It is noon. Good.", ["It is noon.", " Good."]),
        (
            "So, one, two, three and so on until twenty, done.",
            ["So,", " one, two, three and so on until twenty,", " done."],
        ),
        ("Pi is 3.14 and a mile 1,609 m. Yes.", ["Pi is 3.14 and a mile 1,609 m.", " Yes."]),
        ("Dr. Who met Mr. X. today. Fine.", ["Dr. Who met Mr. X. today.", " Fine."]),
        ("Wait... what?! No.", ["Wait...", " what?!", " No."]),
        ('He said "no." Then left.', ['He said "no."', " Then left."]),
        ("one\ntwo", ["one\n", "two"]),
        ("no break at all", ["no break at all"]),
        ("", []),
    ):
        for delta in (1, 3, 1000):
            assert split(text, delta=delta) == clauses, (delta, text)


def test_the_first_clause_of_a_slow_model_is_its_opening_phrase() -> None:
    for text, clauses in (
        ("You can take the bus to the station. Fine.", ["You can take the bus", " to the station.", " Fine."]),
        ("That makes two hundred and four. Fine.", ["That makes two hundred and four.", " Fine."]),
        ("Nous partons demain pour Lyon. Bien.", ["Nous partons demain", " pour Lyon.", " Bien."]),
    ):
        assert split(text) == clauses, text


def test_a_phrase_does_not_break_what_is_there_up_to_its_punctuation() -> None:
    text = "Twelve times seventeen is two hundred and four. Good."
    assert split(text, delta=len(text)) == ["Twelve times seventeen is two hundred and four.", " Good."]


def test_clauses_join_to_the_text() -> None:
    text = "Once, upon a time; there was: a fox — red, quick, and (so they said) sly... It ran. " * 5
    assert "".join(split(text, delta=2)) == text


def test_first_clause_is_released_as_soon_as_the_break_is_certain() -> None:
    splitter = ClauseSplitter(24)
    assert splitter.feed("Sure,") == []  # could be "1,000"
    assert splitter.feed(" one") == ["Sure,"]


def test_a_new_reply_starts_with_a_short_clause_again() -> None:
    splitter = ClauseSplitter(24)
    splitter.feed("Well, and now something longer")
    splitter.close()
    assert splitter.feed("Oh, yes") == ["Oh,"]

"""Numbers, times and dates, heard and said."""

from datetime import date

from llm.demo.words import read_number, say_date, say_number, say_ordinal, say_time, words_of


def test_a_number_said_is_heard() -> None:
    for value in (*range(1200), 12_345, 100_100, 999_999, 1_000_001, 2_500_000, 987_654_321):
        words = words_of(say_number(value))
        assert read_number(words) == (value, len(words)), value


def test_a_number_ends_where_it_ends() -> None:
    found = {
        "a hundred and five": (105, 4),
        "two hundred and": (200, 2),
        "one two": (1, 1),
        "seven thirty": (7, 1),
        "twenty zero": (20, 1),
        "42 apples": (42, 1),
        "and five": None,
        "apples": None,
        "": None,
        "9999999999999": None,
    }
    assert {words: read_number(words.split()) for words in found} == found


def test_words_are_plain() -> None:
    assert words_of("What’s 1,200 + 3? It's “okay”…") == ("what's", "1200", "plus", "3", "it's", "okay")


def test_numbers_are_said() -> None:
    said = {-3: "minus three", 142: "one hundred and forty-two", 1005: "one thousand and five"}
    assert {value: say_number(value) for value in said} == said


def test_days_of_the_month_are_said() -> None:
    said = {1: "first", 12: "twelfth", 20: "twentieth", 23: "twenty-third"}
    assert {day: say_ordinal(day) for day in said} == said


def test_clock_times_are_said() -> None:
    said = {
        (0, 0): "twelve o'clock at night",
        (9, 7): "nine oh seven in the morning",
        (11, 40): "twenty to twelve in the morning",
        (12, 15): "a quarter past twelve in the afternoon",
        (14, 45): "a quarter to three in the afternoon",
        (19, 30): "half past seven in the evening",
        (23, 59): "eleven fifty-nine at night",
    }
    assert {time: say_time(*time) for time in said} == said


def test_dates_are_said() -> None:
    assert say_date(date(2026, 11, 23)) == "Monday, the twenty-third of November"

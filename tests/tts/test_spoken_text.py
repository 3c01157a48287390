"""What is spoken of a written text."""

import time

from tts.spoken_text import to_spoken_text

EXAMPLES = {
    "plain": ("Hello there, how are you?", "Hello there, how are you?"),
    "nothing": ("", ""),
    "only white space": (" \n ", ""),
    "only punctuation": ("...", ""),
    "bold": ("This is **very** important.", "This is very important."),
    "bold underscores": ("This is __very__ important.", "This is very important."),
    "italic": ("*Well*, I _think_ so.", "Well, I think so."),
    "bold italic": ("***Now***!", "Now!"),
    "struck out": ("It costs ~~ten~~ nine euros.", "It costs ten nine euros."),
    "half a bold opening": ("This is **very", "This is very"),
    "half a bold closing": ("important** indeed.", "important indeed."),
    "half an italic opening": ("an *old", "an old"),
    "half an italic closing": ("story* of mine.", "story of mine."),
    "a product stays": ("2 * 3 * 4 is 24.", "2 * 3 * 4 is 24."),
    "an escaped star": (r"five \* stars", "five * stars"),
    "a name in code": ("Call `read_file` first.", "Call read file first."),
    "snake case": ("the user_name field", "the user name field"),
    "heading": ("## Results", "Results"),
    "heading before text": ("# Results\nAll is well.", "Results. All is well."),
    "closed heading": ("## Results ##", "Results"),
    "underlined heading": ("Results\n=======\nFine.", "Results Fine."),
    "bullets": ("- milk\n- bread\n- eggs", "milk. bread. eggs"),
    "bullets with ends": ("* Milk.\n* Bread.", "Milk. Bread."),
    "task list": ("- [ ] wash\n- [x] iron", "wash. iron"),
    "numbered": ("1. first\n2. second", "1. first. 2. second"),
    "list after its opening": ("You need:\n- milk", "You need: milk"),
    "quote": ("> To be\n> or not.", "To be. or not."),
    "rule": ("One.\n\n---\n\nTwo.", "One. Two."),
    "lone rule": ("---", ""),
    "soft wrapped": ("one line\nand its end", "one line and its end"),
    "paragraphs": ("one thought\n\nanother", "one thought. another"),
    "table": ("| day | hour |\n| --- | --- |\n| Friday | seven |", "day, hour. Friday, seven"),
    "table row": ("| Friday | seven |", "Friday, seven"),
    "table divider": ("|---|:---:|", ""),
    "code block": ("Run this:\n```sh\nrm -rf build\n```\nThen rest.", "Run this: Then rest."),
    "half a fence": ("```python", ""),
    "link": ("See [the manual](https://example.com/a?b=c).", "See the manual."),
    "link with a title": ('[here](https://e.org/x "Title") it is', "here it is"),
    "link with brackets": ("[Paris](https://e.org/Paris_(city)) is big.", "Paris is big."),
    "reference link": ("See [the manual][1].\n\n[1]: https://example.com", "See the manual."),
    "image": ("![a cat](cat.png) sleeps", "a cat sleeps"),
    "address": ("Look at https://www.example.com/path/to?x=1#y now.", "Look at example.com now."),
    "address at the end": ("Look at https://example.com/path.", "Look at example.com."),
    "address with a port": ("http://localhost:8080/x is up", "localhost is up"),
    "address in angles": ("<https://example.com/a>", "example.com"),
    "bare address": ("www.example.org/a/b is it", "example.org is it"),
    "mail": ("Write to <mailto:me@example.com>.", "Write to me@example.com."),
    "footnote": ("It is so[1], they say[^2].", "It is so, they say."),
    "emoji": ("Great 🎉🎉 work 👍🏽!", "Great work!"),
    "emoji family and flag": ("We 👨‍👩‍👧 live in 🇫🇷.", "We live in."),
    "keycap": ("Press 1️⃣ now", "Press 1 now"),
    "only emoji": ("😀", ""),
    "heart": ("I ❤️ it", "I it"),
    "emoticon": ("Fine :-) thanks ;)", "Fine thanks"),
    "a clock time stays": ("At 8:30 we go.", "At 8:30 we go."),
    "tag": ("one<br>two <b>three</b>", "one two three"),
    "comment": ("one <!-- secret --> two", "one two"),
    "less than stays": ("3 < 5 and 7 > 2", "3 < 5 and 7 > 2"),
    "entity": ("Tom &amp; Jerry &lt;3", "Tom & Jerry <3"),
    "arrow": ("Paris → Rome", "Paris, Rome"),
    "shouting": ("What?!?! No!!!", "What? No!"),
    "ellipsis stays": ("Well... yes.", "Well... yes."),
    "invisible": ("a\u200bb\ufeff c\u00adoop\x07", "ab coop"),
    "money and percent stay": ("It is 5% of €10.", "It is 5% of €10."),
    "French": ("« Ça va ? » dit-il — **oui** !", "« Ça va? » dit-il — oui!"),
    "Arabic": ("مرحبا **بك**، كيف حالك؟", "مرحبا بك، كيف حالك؟"),
    "Hindi": ("नमस्ते *दुनिया*। ठीक है", "नमस्ते दुनिया। ठीक है"),
    "Hindi joiner": ("क्\u200dष", "क्\u200dष"),
    "interrupted": ("Once upon a time—", "Once upon a time—"),
}


def test_spoken() -> None:
    found = {name: to_spoken_text(written) for name, (written, _) in EXAMPLES.items()}
    assert found == {name: expected for name, (_, expected) in EXAMPLES.items()}


def test_what_is_spoken_stays_as_it_is() -> None:
    texts = [expected for _, expected in EXAMPLES.values()]
    settled = [text for text in texts if "* " not in text and "<" not in text]  # an escaped mark, once read, is a mark
    assert len(settled) > len(texts) / 2
    assert [to_spoken_text(text) for text in settled] == settled


def test_a_stream_of_clauses_is_spoken_like_the_whole() -> None:
    clauses = ("So, **here ", "it is:** the *best*, ", "and [only](https://e.org) one.")
    assert " ".join(to_spoken_text(clause) for clause in clauses) == to_spoken_text("".join(clauses))


def test_thousands_of_open_marks_are_read_in_linear_time() -> None:
    started_s = time.process_time()
    for mark in ("*", "[", "http://", "www.", "_a", "| ", "<a", "<!--", "`", "# ", "- ", "[a]("):
        to_spoken_text(mark * 3000)
    assert time.process_time() - started_s < 10.0  # a fraction of a second; minutes if one of them is quadratic

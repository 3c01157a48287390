"""The demo model: what callers may say, and what it makes of being interrupted."""

import json
from collections.abc import Sequence

from llm.demo.grammar import training_sentences
from llm.demo.model import GREETING, respond
from llm.demo.situation import INTERRUPTED
from llm.demo.stories import STORIES
from llm.demo.talk import HELP
from llm.interface import Message, ToolCall

TOOLS = frozenset({"current_time", "book_table", "end_call"})
RESULTS = {
    "current_time": {"time": "14:05", "date": "2026-11-23", "weekday": "Monday", "zone": "CET"},
    "book_table": {"status": "booked", "reference": "table 1"},
    "end_call": {"status": "ending"},
}
NOT_UNDERSTOOD = ("I'm sorry, I didn't", "I didn't quite", "That is beyond me", "Sorry, I only know")


class Talk:
    """A caller's conversation: tools answer at once, what is said is heard whole or up to a number of words."""

    def __init__(self, tools: frozenset[str] = TOOLS, results: dict[str, dict[str, str]] = RESULTS) -> None:
        self.messages: list[Message] = []
        self.calls: list[ToolCall] = []
        self._tools = tools
        self._results = results

    def say(self, words: str, *, hear_words: int | None = None) -> str:
        """What the model says to this."""
        self.messages.append(Message("user", words))
        answer = respond(self.messages, self._tools)
        while answer.calls:
            self.calls += answer.calls
            self.messages.append(Message("assistant", "", answer.calls))
            self.messages += [
                Message("tool", json.dumps(self._results[call.name]), tool_call_id=call.id) for call in answer.calls
            ]
            said = answer.text
            answer = respond(self.messages, self._tools)
            answer = type(answer)(f"{said} {answer.text}".strip(), answer.calls)
        heard = answer.text
        if hear_words is not None:
            heard = " ".join(heard.split()[:hear_words]) + INTERRUPTED
        self.messages.append(Message("assistant", heard))
        return answer.text


def last_call(talk: Talk) -> tuple[str, dict[str, object]]:
    return talk.calls[-1].name, json.loads(talk.calls[-1].arguments)


def test_opens_with_a_greeting() -> None:
    assert respond([Message("system", "Be kind.")], TOOLS).text == GREETING


def test_answers() -> None:
    for words, answer in (
        ("what is twelve times seven", "Twelve times seven is eighty-four."),
        ("What's 12 × 7?", "Twelve times seven is eighty-four."),
        ("how much is ten divided by three", "Ten divided by three is about three point three three."),
        ("one plus two times three minus four", "One plus two times three minus four is three."),
        ("three minus one hundred and five", "Three minus one hundred and five is minus one hundred and two."),
        ("what is one divided by four", "One divided by four is zero point two five."),
        ("what is five divided by zero", "Nobody can divide by zero, not even me."),
        ("spell the word elephant", "Elephant: E, L, E, P, H, A, N, T."),
        ("how do you spell parley please", "Parley: P, A, R, L, E, Y."),
        ("spell", "Gladly. Which word shall I spell?"),
        ("count to five", "One, two, three, four, five."),
        ("count down from three", "Three, two, one."),
        ("count from nine to twelve", "Nine, ten, eleven, twelve."),
        ("count", "Gladly. How far shall I count?"),
        ("count to one thousand", "That would take us until tomorrow. I count as far as one hundred."),
        ("repeat after me the sky is blue", "The sky is blue."),
        ("what time is it", "It is five past two in the afternoon."),
        ("what time is it in new york", "It is five past two in the afternoon in New York."),
        ("what's the date today", "Today is Monday, the twenty-third of November."),
        ("what can you do", HELP),
        ("say that again", "I haven't said anything yet."),
        ("go on", "That was all of it. Would you like a story?"),
    ):
        assert Talk().say(words) == answer, words


def test_a_city_asks_for_its_zone() -> None:
    talk = Talk()
    talk.say("what time is it in tokyo")
    assert last_call(talk) == ("current_time", {"zone": "Asia/Tokyo"})


def test_says_so_kindly_when_a_tool_is_not_offered() -> None:
    for words, apology in (
        ("what time is it", "nobody gave me a clock"),
        ("goodbye", "Goodbye"),
    ):
        talk = Talk(tools=frozenset())
        assert apology in talk.say(words), words
        assert not talk.calls, words


def test_a_clock_without_an_answer_is_excused() -> None:
    assert "my clock gave me no answer" in Talk(results={"current_time": {"error": "broken"}}).say("what time is it")


def test_says_goodbye_before_it_ends_the_call() -> None:
    talk = Talk()
    assert talk.say("okay thank you goodbye").startswith("Goodbye")
    assert last_call(talk) == ("end_call", {})


def test_books_a_table_in_three_turns_and_a_yes() -> None:
    talk = Talk()
    assert "For which day" in talk.say("i would like to book a table")
    assert "what time" in talk.say("on friday please")
    assert "How many" in talk.say("half past seven")
    assert talk.say("four") == "A table for four people, Friday at half past seven in the evening. Shall I book it?"
    assert "Done" in talk.say("yes please")
    assert last_call(talk) == (
        "book_table",
        {"day": "Friday", "time": "half past seven in the evening", "people": 4},
    )
    assert not any(call.name == "book_table" for call in respond([*talk.messages, Message("user", "yes")], TOOLS).calls)


def test_understands_a_booking_in_one_sentence() -> None:
    for words, read_back in (
        ("book a table for two tomorrow at eight", "A table for two people, tomorrow at eight in the evening."),
        ("a table for six on sunday at noon", "A table for six people, Sunday at noon."),
        ("book a table for one tonight at seven thirty", "A table for one person, tonight at half past seven in the"),
        (
            "table for five next friday at quarter to nine",
            "A table for five people, next Friday at a quarter to nine in the",
        ),
        ("book a table for 3 on monday at 1 o'clock", "A table for three people, Monday at one in the afternoon."),
    ):
        assert Talk().say(words).startswith(read_back), words


def test_a_booking_can_be_changed_left_for_a_moment_and_given_up() -> None:
    talk = Talk()
    talk.say("book a table for two tomorrow at eight")
    assert "what to change" in talk.say("no")
    assert "three people" in talk.say("for three people")
    assert talk.say("what is two plus two").startswith("Two plus two is four. Now, your table.")
    assert "Sunday" in talk.say("on sunday")
    assert "All right" in talk.say("cancel") or "No problem" in talk.messages[-1].content
    assert not talk.calls
    assert "booked" not in talk.say("yes")


def test_a_refused_booking_is_told() -> None:
    talk = Talk(results={"book_table": {"error": "people must be at most 12"}})
    talk.say("book a table for twelve tomorrow at eight")
    assert "could not take" in talk.say("yes")


def test_gives_way_briefly() -> None:
    for stop in ("stop", "okay stop", "please be quiet", "that's enough", "wait", "hold on please", "no"):
        talk = Talk()
        talk.say("tell me a story", hear_words=30)
        assert len(talk.say(stop).split()) <= 8, stop


def test_goes_on_with_the_clause_that_was_cut() -> None:
    talk = Talk()
    story = talk.say("tell me a story", hear_words=37)
    assert " ".join(story.split()[:37]).endswith("she climbed two hundred and twelve")
    talk.say("stop")
    assert talk.say("go on", hear_words=14).partition("Every evening")[2].startswith(" she climbed two hundred")
    talk.say("what time is it")
    rest = talk.say("please continue")
    assert rest.endswith(STORIES[0].text[-40:])
    assert "Every evening" not in rest
    assert "story?" in talk.say("go on")


def test_goes_on_counting() -> None:
    talk = Talk()
    talk.say("count to twenty", hear_words=12)
    assert "Shall I go on?" in talk.say("okay")
    assert "Thirteen, fourteen, fifteen" in talk.say("go on")


def test_a_request_of_which_nothing_was_heard_is_simply_made_again() -> None:
    talk = Talk()
    talk.say("tell me a story")
    talk.messages.pop()
    assert "On the last rock" in talk.say("tell me the story of the lighthouse")


def test_each_story_is_told_before_one_is_told_again_and_lasts_45_seconds() -> None:
    talk = Talk()
    told = [talk.say("tell me another story") for _ in STORIES]
    assert len({*told}) == len(STORIES)
    for story in STORIES:
        assert len(story.text.split()) > 45 / 60 * 165
    assert STORIES[2].text in talk.say("the story about the snail")


def test_says_its_words_again() -> None:
    talk = Talk()
    talk.say("what is two plus two")
    assert talk.say("say that again") == "I said: Two plus two is four."
    assert talk.say("once more please") == "I said: Two plus two is four."


def test_admits_kindly_and_variedly_that_it_did_not_understand() -> None:
    talk = Talk()
    answers = [talk.say("colourless green ideas") for _ in range(4)]
    assert len({*answers}) == 4
    assert all(answer.startswith(NOT_UNDERSTOOD) for answer in answers)


def test_equal_messages_get_equal_answers() -> None:
    first, second = Talk(), Talk()
    for words in ("hello", "tell me a joke", "nonsense words", "thank you"):
        assert first.say(words) == second.say(words)


CONTEXTS: Sequence[tuple[str, ...]] = (
    (),
    ("book a table",),
    ("book a table for friday",),
    ("book a table for friday at eight",),
    ("book a table for two on friday at eight",),
)


def test_understands_every_sentence_it_is_recognized_by() -> None:
    strangers = []
    for sentence in sorted({*training_sentences()}):
        for context in CONTEXTS:
            talk = Talk()
            for words in context:
                talk.say(words)
            answer = talk.say(sentence)
            if answer and not answer.startswith(NOT_UNDERSTOOD):
                break
        else:
            strangers.append(sentence)
    assert strangers == []


def test_the_sentences_are_thousands_the_same_each_time_and_plain() -> None:
    sentences = training_sentences()
    assert sentences == training_sentences()
    assert len(sentences) > 3000
    assert all(sentence == sentence.lower().strip() and sentence for sentence in sentences)
    assert {"stop", "wait", "no", "hold on", "mhm", "uh huh", "yeah", "okay", "right"} <= {*sentences}

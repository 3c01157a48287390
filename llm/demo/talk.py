"""The demo model's small talk, stories and games: each skill answers if the caller's words are meant for it."""

from llm.demo.situation import INTERRUPTED, DemoAnswer, Situation
from llm.demo.stories import STORIES
from llm.demo.words import read_number, say_number, words_of

HELP = (
    "I can tell you the time and the date, work out sums, spell words, count, tell stories and jokes, repeat what you "
    "say, and book a table. Interrupt me whenever you like."
)
_HINTS = (
    "Try: what time is it?",
    "You could ask me for a story.",
    "Try a sum, such as twelve times seven.",
    "I can book you a table, for example.",
    "Say help to hear what I can do.",
)
_JOKES = (
    "Why did the scarecrow get a prize? He was outstanding in his field.",
    "What do you call a fish without an eye? A fsh.",
    "I told my computer that I needed a break. It said: no problem, I'll go to sleep.",
    "Why do bees hum? Because they don't know the words.",
)
_LONGEST_COUNT = 100
_STORY_OPENING = "Here is one. "
_REPEAT_OPENING = "I said: "

STOPS = ("stop", "enough", "quiet", "be quiet", "silence", "shut up", "that's enough", "stop it", "please stop")
WAITS = ("wait", "hold on", "hang on", "one moment", "just a moment", "one second", "wait a minute", "wait a moment")
GOES_ON = (
    *("go on", "continue", "carry on", "keep going", "go ahead", "resume", "the rest", "finish the story"),
    *("what happened next", "what happens next", "and then", "then what"),
)
_ASKS_AGAIN = (
    *("say that again", "say it again", "say again", "repeat that", "repeat it", "repeat please", "please repeat"),
    *("once more", "once again", "pardon", "what did you say", "come again"),
)
_YES = ("yes", "yes please", "yeah", "okay", "ok", "right", "sure", "mhm", "uh huh", "hmm", "mm", "i see", "all right")
_NO = (
    "no",
    "no thanks",
    "no thank you",
    "nope",
    "not now",
    "nothing",
    "never mind",
    "cancel",
    "cancel that",
    "forget it",
)
_POLITE = {"please", "okay", "ok", "no", "now", "yes", "a", "thanks", "thank", "you", "talking", "there", "it", "sorry"}
_FAREWELLS = ("goodbye", "good bye", "bye", "bye bye", "see you", "hang up", "end the call", "that's all", "good night")


def is_about(situation: Situation, phrases: tuple[str, ...]) -> bool:
    """Whether one of the phrases was said with nothing but politeness around it."""
    for phrase in sorted(phrases, key=len, reverse=True):
        if situation.hears(phrase):
            rest = list(situation.words)
            for word in phrase.split():
                rest.remove(word)
            return not {*rest} - _POLITE - {*phrase.split()}
    return False


def stop(situation: Situation) -> DemoAnswer | None:
    """Give way, briefly: the caller wants to speak."""
    if is_about(situation, STOPS):
        first = "Okay." if situation.was_interrupted else "I'm quiet."
        return DemoAnswer(situation.vary(first, "All right.", "Sure."))
    if is_about(situation, WAITS):
        return DemoAnswer(situation.vary("I'm listening.", "Take your time.", "I'll wait."))
    if situation.was_interrupted and situation.hears_only("no", "no no", "nope"):
        return DemoAnswer(situation.vary("Okay, something else then. What would you like?", "All right. What instead?"))
    return None


def go_on(situation: Situation) -> DemoAnswer | None:
    """Say the rest of what was interrupted."""
    if not asks_to_go_on(situation):
        return None
    if not situation.unsaid:
        return DemoAnswer("That was all of it. Would you like a story?")
    opening = situation.vary("Where was I? ", "As I was saying. ", "So. ")
    return DemoAnswer(opening + situation.unsaid)


def asks_to_go_on(situation: Situation) -> bool:
    """Whether the caller wants to hear the rest."""
    is_short = len(situation.words) <= 6
    return is_short and situation.hears(*GOES_ON)


def repeat(situation: Situation) -> DemoAnswer | None:
    """Say the caller's words, or our last ones, again."""
    echo = situation.after("repeat after me", "say after me", "repeat the words", "repeat this")
    if echo is not None:
        said = " ".join(echo)
        return DemoAnswer(f"{said.capitalize()}." if said else "After you: say repeat after me, and then some words.")
    if situation.hears(*_ASKS_AGAIN):
        said = situation.last_said.removesuffix(INTERRUPTED).removeprefix(_REPEAT_OPENING)
        return DemoAnswer(_REPEAT_OPENING + said if said else "I haven't said anything yet.")
    return None


def spell(situation: Situation) -> DemoAnswer | None:
    """Spell a word, letter by letter."""
    words = situation.after("spell the word", "spell the name", "do you spell", "you spell", "spell")
    if words is None:
        return None
    word = next((word for word in words if word not in ("the", "word", "please", "for", "me", "me")), None)
    if word is None:
        return DemoAnswer("Gladly. Which word shall I spell?")
    return DemoAnswer(f"{word.capitalize()}: {', '.join(word.replace(chr(39), '').upper())}.")


def count(situation: Situation) -> DemoAnswer | None:
    """Count up or down."""
    if not situation.hears("count", "counting"):
        return None
    words, numbers, position = situation.words, list[int](), 0
    while position < len(words):
        if found := read_number(words, position):
            numbers.append(found[0])
            position = found[1]
        else:
            position += 1
    is_down = situation.hears("down", "backwards", "backward")
    if not numbers:
        return DemoAnswer("Gladly. How far shall I count?")
    if max(numbers) > _LONGEST_COUNT:
        return DemoAnswer("That would take us until tomorrow. I count as far as one hundred.")
    first, last = (numbers[0], numbers[1]) if len(numbers) > 1 else (numbers[0], 1) if is_down else (1, numbers[0])
    step = 1 if last >= first else -1
    counted = ", ".join(say_number(number) for number in range(first, last + step, step))
    return DemoAnswer(f"{counted.capitalize()}.")


def tell_story(situation: Situation) -> DemoAnswer | None:
    """Tell the story that was asked for, or one that was not told yet."""
    if not situation.hears("story", "stories", "tale", "fairy tale"):
        return None
    for story in STORIES:
        if situation.hears(*story.topics):
            return DemoAnswer(_STORY_OPENING + story.text)
    told = sum(
        message.role == "user" and bool({"story", "tale", "stories"} & {*words_of(message.content)})
        for message in situation.messages
    )
    return DemoAnswer(_STORY_OPENING + STORIES[(told - 1) % len(STORIES)].text)


def joke(situation: Situation) -> DemoAnswer | None:
    """Tell a joke."""
    return DemoAnswer(situation.vary(*_JOKES)) if situation.hears("joke", "jokes", "make me laugh", "funny") else None


def take_leave(situation: Situation) -> DemoAnswer | None:
    """Say goodbye and end the call."""
    if not (situation.hears(*_FAREWELLS) and len(situation.words) <= 6):
        return None
    farewell = situation.vary("Goodbye, and thank you for the call!", "Goodbye! It was nice talking with you.")
    ending = situation.call("end_call")
    return DemoAnswer(farewell, ending.calls if ending else ())


def chat(situation: Situation) -> DemoAnswer | None:
    """DemoAnswer what people say to be kind."""
    if situation.hears("who are you", "what are you", "your name", "are you a robot", "are you real", "are you human"):
        return DemoAnswer(
            "I am Parley's demo, a small script and no real model. I know few words, but I listen while I speak. "
            "Say help to hear what I can do."
        )
    if situation.hears("help", "help me", "what can you do", "what can i say", "what can i ask", "what do you know"):
        return DemoAnswer(HELP)
    if situation.hears("how are you", "how do you do", "how's it going", "how is it going"):
        return DemoAnswer(situation.vary("Very well, thank you. And you?", "I'm fine, thanks. What can I do for you?"))
    if situation.hears("weather", "rain", "raining", "sunny"):
        return DemoAnswer("I have no window, I'm afraid. I hope that the sun shines where you are.")
    if situation.hears("thank you", "thanks", "thank you very much"):
        return DemoAnswer(situation.vary("You're welcome.", "My pleasure.", "Any time."))
    if situation.hears("hello", "hi", "hey", "good morning", "good afternoon", "good evening"):
        return DemoAnswer(situation.vary("Hello! What can I do for you?", "Hi there. What would you like to do?"))
    if situation.hears("i'm fine", "i am fine", "very well", "great", "good", "nice", "wonderful", "i like it", "cool"):
        return DemoAnswer(situation.vary("I'm glad to hear it. What shall we do next?", "Lovely. What would you like?"))
    return nod(situation)


def nod(situation: Situation) -> DemoAnswer | None:
    """DemoAnswer a lone yes, no or okay by what it follows."""
    if situation.hears_only(*_NO):
        return DemoAnswer(situation.vary("All right. I'm here if you need me.", "No problem."))
    if situation.hears_only(*_YES):
        if situation.was_interrupted:
            return DemoAnswer("Shall I go on? Then say go on.")
        return DemoAnswer(
            situation.vary("Good. What would you like?", "I'm listening.", "Tell me what you would like.")
        )
    return None


def admit_ignorance(situation: Situation) -> DemoAnswer:
    """Say kindly that nothing was understood, with a hint."""
    apology = situation.vary(
        "I'm sorry, I didn't understand that.",
        "I didn't quite catch that.",
        "That is beyond me, I'm afraid.",
        "Sorry, I only know a few things.",
    )
    return DemoAnswer(f"{apology} {_HINTS[situation.turn % len(_HINTS)]}")

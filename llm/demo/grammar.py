"""Sentences that the demo model understands, many and varied: what a small recognizer's language model is made from.

A pattern such as "(please|) tell me {story}" has choices in brackets, an empty one where words may be left out, and
slots in braces, filled from `_SLOTS`.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence

from llm.demo.booking import DAYS
from llm.demo.clock import ZONES
from llm.demo.stories import STORIES
from llm.demo.talk import GOES_ON, STOPS, WAITS
from llm.demo.words import say_number, words_of

SPELLABLE = (
    "apple banana elephant house school computer music water friend family garden window yellow orange purple summer "
    "winter chocolate coffee mountain river beautiful tomorrow language question answer telephone weather holiday "
    "kitchen doctor teacher rhythm necessary restaurant birthday parley"
).split()
ECHOES = ("the sky is blue", "one two three", "hello world", "i like music", "all good things come to an end")

_NUMBERS = tuple(" ".join(words_of(say_number(value))) for value in (*range(101), 120, 144, 200, 250, 365, 500, 1000))
_HOURS = _NUMBERS[1:13]

_SLOTS: Mapping[str, Sequence[str]] = {
    "number": (*_NUMBERS, *_NUMBERS[1:21] * 3),  # people mostly reckon with small ones
    "small": _NUMBERS[1:21],
    "hour": _HOURS,
    "party": _NUMBERS[1:13],
    "minutes": ("thirty", "fifteen", "forty five"),
    "clock": ("{hour}", "{hour} {minutes}", "half past {hour}", "quarter past {hour}", "quarter to {hour}", "noon"),
    "when": ("{clock}", "{clock} in the evening", "{clock} in the afternoon", "{hour} o'clock"),
    "day": (*DAYS, "today", "tonight", "tomorrow", "next friday", "next monday", "next saturday"),
    "operator": ("plus", "minus", "times", "divided by", "multiplied by"),
    "city": tuple(ZONES),
    "topic": tuple(topic for story in STORIES for topic in story.topics),
    "word": SPELLABLE,
    "echo": ECHOES,
    "stop": STOPS,
    "wait": WAITS,
    "on": GOES_ON,
}

# Each with the number of sentences to draw: the weight of the pattern among the others.
_PATTERNS: tuple[tuple[int, str], ...] = (
    (150, "(hello|hi|hey|good morning|good afternoon|good evening)(| there| parley)"),
    (60, "(|please )(can you |could you |)(tell me |)what time (is it|it is)(| now| please)"),
    (60, "(what's|what is) the time(| now| please| in {city})"),
    (60, "(what time is it|what's the time|tell me the time) in {city}"),
    (80, "(what's|what is|tell me) (the|today's) date(| today| please)"),
    (60, "what (day|date) (is it|is today|is it today)"),
    (1500, "(what's|what is|how much is|calculate) {number} {operator} {number}"),
    (400, "{number} {operator} {number}"),
    (80, "(what's|what is) {small} {operator} {small} {operator} {small}"),
    (250, "(please |can you |could you |)spell (|the word ){word}(| please| for me)"),
    (250, "how do you spell (|the word ){word}"),
    (400, "(please |can you |could you |)count (|up )to {number}(| please)"),
    (300, "count (down |backwards |)from {number}(| to {number})"),
    (200, "(please |can you |could you |)tell me (a|another|one more|a short|a long) story(| please)"),
    (60, "(i would like|i'd like|i want) (to hear |)(a|another) story(| please)"),
    (80, "(tell me |)(the|a) story (about|of) (the |a |){topic}"),
    (120, "(tell me |do you know |)(a|another) (joke|funny joke)(| please)"),
    (20, "make me laugh"),
    (60, "(please |can you |could you |)(say that again|say it again|repeat that|repeat it)(| please)"),
    (40, "(once more|once again|pardon|what did you say|come again)(| please)"),
    (60, "(|please )repeat after me {echo}"),
    (80, "(i would like|i'd like|i want|can i|could i|please) (to book|book|to reserve|reserve) a table(| please)"),
    (60, "(i would like|i'd like|i want) to (book a table|make a reservation|make a booking)"),
    (60, "(please |can you |could you |)book (a|me a) table(| for {party}| for {day})(| please)"),
    (400, "(book|reserve) a table for {party}(| people) (on |for |){day} at {when}"),
    (200, "a table for {party}(| people)(| please| {day}| on {day}| {day} at {when})"),
    (150, "(on |for |){day}(| please)"),
    (200, "(on |for |){day} at {when}"),
    (400, "(at |around |){when}(| please)"),
    (200, "(for |we are |there are |there will be |)(about |){party}(| people| persons| of us)(| please)"),
    (20, "(just|only) me"),
    (60, "(yes|yeah|sure|okay|yes please|please do|that's right|perfect|correct)"),
    (30, "(yes|yes please|okay) book it"),
    (50, "(no|nope|no thanks|no thank you|not now|that's wrong)"),
    (40, "(never mind|cancel|cancel that|forget it|nothing)"),
    (60, "(yeah|okay|right|i see|all right)"),
    (300, "(mhm|mhm|uh huh|hmm|mm)"),  # said all the time over a story
    (300, "{stop}"),
    (40, "(okay |no |please |){stop}(| please| now| talking)"),
    (80, "{wait}(| please)"),
    (30, "no no"),
    (400, "(okay |yes |please |){on}(| please)"),
    (50, "(who|what) are you"),
    (30, "(what's|what is) your name"),
    (30, "are you (a robot|real|human)"),
    (60, "(help|help me|what can you do|what can i say|what can i ask|what do you know)(| please)"),
    (40, "(how are you|how are you today|how's it going|how is it going)"),
    (30, "(i'm fine|i am fine|very well|great|good|nice|that's nice|wonderful|cool)(| thank you| thanks)"),
    (30, "(how's|what's|how is) the weather(| today| like)"),
    (60, "(thank you|thanks|thank you very much|thanks a lot|okay thank you)"),
    (200, "(goodbye|bye|bye bye|okay bye|thank you goodbye|see you|see you later|good night|that's all)(| parley)"),
    (20, "(please |)(hang up|end the call)"),
)
_SEED = 7


def training_sentences() -> tuple[str, ...]:
    """Some thousands of sentences, lower case without punctuation; the same each time."""
    generator = random.Random(_SEED)
    return tuple(sentence for count, pattern in _PATTERNS for sentence in _draw(pattern, count, generator))


def _draw(pattern: str, count: int, generator: random.Random) -> Iterator[str]:
    for _ in range(count):
        text = pattern
        while choice := re.search(r"\(([^()]*)\)|\{(\w+)\}", text):
            choices = choice[1].split("|") if choice[2] is None else _SLOTS[choice[2]]
            text = text[: choice.start()] + generator.choice(choices) + text[choice.end() :]
        yield " ".join(text.split())

"""The demo model: a language model without a model. It is scripted, and works through the tools as a real one does.

Its reply is a plain function of the messages and tools: nothing is kept between replies, so calls cannot mix and what
the caller did not hear was never said.
"""

import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from llm.config import DemoConfig
from llm.demo import booking as demo_booking
from llm.demo import clock as demo_clock
from llm.demo import talk as demo_talk
from llm.demo.situation import INTERRUPTED, DemoAnswer, Situation
from llm.demo.sums import work_out
from llm.demo.words import words_of
from llm.interface import AS_SET, ContextTooLong, Ending, Message, Reply, Sampling, TextDelta, Tool, ToolCall

GREETING = "Hello! I'm Parley's demo. Ask me for the time, a sum or a story, and interrupt me whenever you like."

_SKILLS = (
    demo_talk.repeat,
    demo_talk.spell,
    demo_booking.book,
    demo_talk.take_leave,
    demo_talk.stop,
    demo_talk.go_on,
    work_out,
    demo_talk.count,
    demo_talk.tell_story,
    demo_talk.joke,
    demo_clock.tell_time,
    demo_talk.chat,
)
_WORTH_FINISHING = 4  # words


class DemoModel:
    """The scripted model, for any number of calls."""

    def __init__(self, config: DemoConfig) -> None:
        self._config = config

    def reply(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        sampling: Sampling = AS_SET,  # noqa: ARG002  # a script has no tokens, and nothing in it is drawn
    ) -> Reply:
        """The assistant's next message; see `llm.interface.LanguageModel`."""
        return DemoReply(messages, frozenset(tool.name for tool in tools), self._config.max_messages)


class DemoReply(Reply):
    """One answer, word by word, then its tool calls."""

    def __init__(self, messages: Sequence[Message], tools: frozenset[str], max_messages: int) -> None:
        self._messages = tuple(messages)
        self._tools = tools
        self._max_messages = max_messages
        self._pieces: deque[TextDelta | ToolCall] = deque()
        self._is_cancelled = False

    async def __aenter__(self) -> Self:
        """Think.

        Raises:
            ContextTooLong: more messages than the model reads.
        """
        if len(self._messages) > self._max_messages:
            raise ContextTooLong(
                f"{len(self._messages)} messages, at most {self._max_messages} are read: leave out the oldest"
            )
        if self._is_cancelled:
            return self
        answer = respond(self._messages, self._tools)
        # By the sentence: there is nothing to wait for between words, and a frame for each of 200 is 0.1 s of work.
        self._pieces.extend(TextDelta(sentence) for sentence in re.findall(r".+?(?:[.!?](?=\s)|$)", answer.text, re.S))
        self._pieces.extend(answer.calls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TextDelta | ToolCall:
        """The next sentence with the space before it, or the next tool call."""
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.popleft()

    def cancel(self) -> None:
        """End it."""
        self._is_cancelled = True
        self._pieces.clear()

    @property
    def ending(self) -> Ending:
        """Never cut, nothing counted."""
        return Ending()


def respond(messages: Sequence[Message], tools: frozenset[str]) -> DemoAnswer:
    """The model's answer to a conversation.

    Args:
        messages: the conversation; an interrupted assistant message ends with "—" where the caller stopped hearing it.
        tools: names of the tools on offer.
    """
    situation = Situation(messages, tools)
    if situation.turn and demo_talk.asks_to_go_on(situation):
        situation = Situation(messages, tools, find_unsaid(messages, tools))
    return _answer(situation)


def find_unsaid(messages: Sequence[Message], tools: frozenset[str]) -> str:
    """The rest of the last interrupted message that is worth finishing; what it would have been is thought again."""
    unsaid = ""
    for position, message in enumerate(messages):
        if message.role != "assistant" or not message.content:
            continue
        before = Situation(messages[:position], tools, unsaid)
        if message.content.endswith(INTERRUPTED):
            rest = _rest_of(_answer(before).text, message.content)
            unsaid = rest if len(rest.split()) >= _WORTH_FINISHING else unsaid
        elif demo_talk.asks_to_go_on(before):
            unsaid = ""
    return unsaid


def _answer(situation: Situation) -> DemoAnswer:
    if situation.turn == 0:
        return DemoAnswer(GREETING)
    if finished := situation.tool_result():
        return _after_tool(situation, *finished)
    for skill in _SKILLS:
        if answer := skill(situation):
            break
    else:
        answer = demo_talk.admit_ignorance(situation)
    booking = demo_booking.open_question(situation)
    if booking and answer.text and booking not in answer.text and not demo_booking.book(situation):
        return DemoAnswer(f"{answer.text} Now, your table. {booking}", answer.calls)
    return answer


def _after_tool(situation: Situation, call: ToolCall, result: Mapping[str, Any]) -> DemoAnswer:
    if call.name == demo_clock.TOOL:
        return demo_clock.say_result(situation, result, json.loads(call.arguments))
    if call.name == demo_booking.TOOL:
        return demo_booking.say_result(result)
    return DemoAnswer()  # the goodbye was said before the call was ended


def _rest_of(text: str, heard: str) -> str:
    """What of a text remains after its beginning was heard, from the start of the clause that was cut."""
    heard_words = len(words_of(heard))
    if words_of(text)[: heard_words - 1] != words_of(heard)[:-1]:  # the last may be half a word
        return ""
    clauses = re.findall(r"[^,;:.!?]+[,;:.!?]*\s*", text)
    said = 0
    for position, clause in enumerate(clauses):
        said += len(words_of(clause))
        if said > heard_words:
            rest = "".join(clauses[position:])
            return rest[0].upper() + rest[1:]
    return ""

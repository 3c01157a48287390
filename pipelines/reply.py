"""Turns the conversation into the agent's reply through the language model interface, tools included.

Not an LLMService of Pipecat's: its tool path lives in the context aggregators, and our context holds what was heard,
not what was generated. An interruption cancels the frame being processed, and so leaves the reply's context.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipecat.frames.frames import Frame, LLMFullResponseEndFrame, LLMFullResponseStartFrame, LLMRunFrame, LLMTextFrame
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.ai_service import AIService
from pipecat.services.settings import ServiceSettings

from llm.interface import LanguageModel, LanguageModelError, Message, TextDelta, Tool, ToolCall
from pipelines.conversation import Conversation
from pipelines.frames import EndCallFrame

logger = logging.getLogger(__name__)

MAX_TOOL_ROUNDS = 8  # a model that only ever calls tools is stopped here
APOLOGY = "I'm sorry, something went wrong on my side. Could you say that again?"


@dataclass(frozen=True, slots=True)
class CallTool:
    """A tool and how to run it: arguments in, JSON out; it bounds its own time and raises nothing but cancellation."""

    tool: Tool
    run: Callable[[Mapping[str, Any]], Awaitable[str]]
    ends_call: bool = False  # hang up once the reply that follows has been heard


class ReplyService(AIService):
    """The mind of one call: answers every LLMRunFrame with a streamed response."""

    def __init__(self, model: LanguageModel, conversation: Conversation, tools: Sequence[CallTool]) -> None:
        super().__init__(settings=ServiceSettings(model=None))
        self._model = model
        self._conversation = conversation
        self._tools = {tool.tool.name: tool for tool in tools}
        self._is_busy = False

    @property
    def is_busy(self) -> bool:
        """Whether a reply is being generated."""
        return self._is_busy

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Reply when asked to; pass everything else on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMRunFrame):
            await self._respond()
        else:
            await self.push_frame(frame, direction)

    async def _respond(self) -> None:
        self._is_busy = True
        ends_call = False
        try:
            messages = list(self._conversation.messages)
            for _ in range(MAX_TOOL_ROUNDS):
                spoken, calls = await self._generate(messages)
                if not calls:
                    break
                results = [await self._run(call) for call in calls]
                ends_call = ends_call or any(self._ends_call(call) for call in calls)
                self._conversation.agent_called(calls, results)
                messages.append(Message("assistant", spoken, tool_calls=tuple(calls)))
                messages += [
                    Message("tool", result, tool_call_id=call.id) for call, result in zip(calls, results, strict=True)
                ]
            if ends_call:
                await self.push_frame(EndCallFrame())
        finally:
            self._is_busy = False

    async def _generate(self, messages: Sequence[Message]) -> tuple[str, list[ToolCall]]:
        """One pass of the model: speaks the text as it comes, returns it and the tool calls."""
        text: list[str] = []
        calls: list[ToolCall] = []
        await self.push_frame(LLMFullResponseStartFrame())
        try:
            async with self._model.reply(messages, [tool.tool for tool in self._tools.values()]) as reply:
                async for part in reply:
                    if isinstance(part, TextDelta):
                        text.append(part.text)
                        await self.push_frame(LLMTextFrame(part.text))
                    else:
                        calls.append(part)
        except LanguageModelError as error:
            logger.error("reply failed: %s", error)
            await self.push_error(f"reply failed: {error}", exception=error)
            await self.push_frame(LLMTextFrame(APOLOGY))
            calls.clear()
        await self.push_frame(LLMFullResponseEndFrame())
        return "".join(text), calls

    async def _run(self, call: ToolCall) -> str:
        tool = self._tools.get(call.name)
        if tool is None:
            return json.dumps({"error": f"there is no tool {call.name!r}; there are: {', '.join(self._tools)}"})
        try:
            arguments: Any = json.loads(call.arguments or "{}")
        except json.JSONDecodeError as error:
            return json.dumps({"error": f"the arguments are not JSON: {error}"})
        if not isinstance(arguments, dict):
            return json.dumps({"error": "the arguments are not a JSON object"})
        return await tool.run(arguments)  # pyright: ignore[reportUnknownArgumentType]  # checked by the tool's schema

    def _ends_call(self, call: ToolCall) -> bool:
        tool = self._tools.get(call.name)
        return tool is not None and tool.ends_call

"""Turns the conversation into the agent's reply through the language model interface, tools included.

Not an LLMService of Pipecat's: its tool path lives in the context aggregators, and our context holds what was heard,
not what was generated. An interruption cancels the frame being processed, and so leaves the reply's context.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, cast

from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMRunFrame,
    LLMTextFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.ai_service import AIService
from pipecat.services.settings import ServiceSettings

from llm.interface import ContextTooLong, LanguageModel, LanguageModelError, Message, Reply, TextDelta, ToolCall
from pipelines.activity import AgentActivity
from pipelines.config import WaitingConfig
from pipelines.events import CallEvents, EngineFailed
from pipelines.frames import EndCallFrame
from pipelines.replying.conversation import Conversation, forget_older_half
from pipelines.replying.tool_runs import CallTool, ToolRuns

_log = logging.getLogger(__name__)

MAX_TOOL_ROUNDS = 8  # a model that only ever calls tools is stopped here
APOLOGY = "I'm sorry, something went wrong on my side. Could you say that again?"


class ReplyService(AIService):
    """The replies of one call: answers every LLMRunFrame with a streamed response."""

    def __init__(
        self,
        model: LanguageModel,
        conversation: Conversation,
        tools: Sequence[CallTool],
        config: WaitingConfig,
        *,
        activity: AgentActivity,
        events: CallEvents,
    ) -> None:
        super().__init__(settings=ServiceSettings(model=None))
        self._model = model
        self._conversation = conversation
        self._config = config
        self._activity = activity
        self._events = events
        self._tool_runs = ToolRuns(tools, conversation, events, self._spawn)
        self._may_act = asyncio.Event()  # run tools
        self._may_act.set()
        self._is_dropping = False  # until the interruption has passed: what was asked before it is not answered

    def keep_back(self) -> None:
        """The next reply is a draft: generate it, but run no tool before `release`."""
        self._may_act = asyncio.Event()

    def release(self) -> None:
        """The draft has become the reply."""
        self._may_act.set()

    def drop(self) -> None:
        """What is being generated is not wanted: until the interruption reaches it, it must still run no tool."""
        self._is_dropping = True
        self._may_act = asyncio.Event()
        self._may_act.set()

    async def cleanup(self) -> None:
        """Stop the tools that are still at work."""
        await super().cleanup()
        for task in self._tool_runs.tasks:
            await self.cancel_task(task)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Reply when asked to; pass everything else on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMRunFrame):
            if not self._is_dropping:
                await self._respond()
            return
        if isinstance(frame, InterruptionFrame):
            self._is_dropping = False
        elif isinstance(frame, LLMFullResponseStartFrame):
            self._activity.add_response()
        await self.push_frame(frame, direction)

    async def _respond(self) -> None:
        self._activity.set_replying(True)
        may_act = self._may_act
        ends_call = False
        try:
            messages = list(self._conversation.messages)
            for _ in range(MAX_TOOL_ROUNDS):
                spoken, calls = await self._generate(messages)
                if not calls:
                    break
                await may_act.wait()
                results = await self._tool_runs.run(
                    calls,
                    slow_after_s=self._config.filler_after_ms / 1000,
                    on_slow=partial(self._fill, has_spoken=bool(spoken.strip())),
                )
                ends_call = ends_call or self._tool_runs.end_call(calls)
                messages.append(Message("assistant", spoken, tool_calls=tuple(calls)))
                messages += [
                    Message("tool", result, tool_call_id=call.id) for call, result in zip(calls, results, strict=True)
                ]
            if ends_call:
                await self.push_frame(EndCallFrame())
        finally:
            self._activity.set_replying(False)

    async def _generate(self, messages: list[Message]) -> tuple[str, list[ToolCall]]:
        """One pass of the model: speaks the text as it comes, returns it and the tool calls."""
        text: list[str] = []
        calls: list[ToolCall] = []
        await self._begin_response()
        try:
            async with AsyncExitStack() as stack:
                async for part in await self._open(messages, stack):
                    if isinstance(part, TextDelta):
                        text.append(part.text)
                        await self.push_frame(LLMTextFrame(part.text))
                    else:
                        calls.append(part)
        except LanguageModelError as error:
            _log.error("reply failed: %s", error)
            self._events.emit(EngineFailed(self._events.now_ms, "llm", str(error)))
            await self.push_error(f"reply failed: {error}", exception=error)
            await self.push_frame(LLMTextFrame(f"\n{APOLOGY}"))  # apart from the words before it
            calls.clear()
        await self.push_frame(LLMFullResponseEndFrame())
        return "".join(text), calls

    async def _open(self, messages: list[Message], stack: AsyncExitStack) -> Reply:
        """Enter the model's reply; a conversation that has outgrown its context loses the older half."""
        while True:
            try:
                return await stack.enter_async_context(self._model.reply(messages, self._tool_runs.tools))
            except ContextTooLong as error:
                if not forget_older_half(messages):
                    raise
                self._conversation.forget_older_half()
                _log.warning("the older half of the conversation is left out: %s", error)

    def _spawn(self, run: Coroutine[Any, Any, str]) -> asyncio.Task[str]:
        return cast(asyncio.Task[str], self.create_task(run))

    async def _begin_response(self) -> None:
        if not self._is_dropping:
            self._activity.add_response()
        await self.push_frame(LLMFullResponseStartFrame())

    async def _fill(self, *, has_spoken: bool) -> None:
        """Say that it takes a moment, unless the model has just said so itself."""
        if has_spoken or not self._config.filler:
            return
        await self._begin_response()
        await self.push_frame(LLMTextFrame(self._config.filler))
        await self.push_frame(LLMFullResponseEndFrame())

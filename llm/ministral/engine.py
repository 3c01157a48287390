"""Our language engine: a Ministral 3 model for many calls at once on one device, behind the interface of any."""

import asyncio
import logging
import random
import time
from collections.abc import Sequence

import torch

from llm.config import MinistralConfig
from llm.interface import AS_SET, ContextTooLong, Message, Reply, Sampling, Tool
from llm.ministral.detokenize import Piece, ReplyPieces
from llm.ministral.model import Ministral
from llm.ministral.reply import ERRORS, MinistralReply, ReplyRequest
from llm.ministral.slots import ReplySlots
from llm.ministral.stepper import ReplyCounters, ReplyStepper
from llm.runtime.loop.engine import LoopEngine
from llm.runtime.loop.graphs import buckets
from llm.runtime.loop.outlet import Outlet, Outlets
from llm.runtime.loop.step_loop import StepLoop
from llm.runtime.weights.fp8 import can_multiply
from llm.runtime.weights.quantize import quantize

_log = logging.getLogger(__name__)


class MinistralLanguageModel(LoopEngine[ReplyStepper]):
    """A Ministral 3 model on a step loop, which it may share with other engines. Use as `async with`."""

    errors = ERRORS

    def __init__(self, config: MinistralConfig, loop: StepLoop, model: Ministral | None = None) -> None:
        """Nothing is loaded before the context is entered; a `model` given is used in place of the checkpoint's."""
        super().__init__(loop)
        self._config = config
        self._model = model

    @property
    def counters(self) -> ReplyCounters:
        """What the engine has done since it was started."""
        return self._running.counters

    def reply(self, messages: Sequence[Message], tools: Sequence[Tool] = (), sampling: Sampling = AS_SET) -> Reply:
        """The assistant's next message; see `llm.interface.LanguageModel`."""
        return MinistralReply(
            lambda: self._begin(tuple(messages), tuple(tools), sampling),
            wake=self._loop.wake,
            stall_s=self._config.stall_timeout_s,
        )

    async def _begin(self, messages: Sequence[Message], tools: Sequence[Tool], asked: Sampling) -> ReplyRequest:
        """Submit a request for the conversation."""
        config, model = self._config, self._running.model
        ids = await asyncio.to_thread(model.chat.prompt, messages, tools)  # a long one that is new takes a while
        max_tokens = min(asked.max_tokens or config.reply_tokens, config.reply_tokens)
        fitting = config.context_tokens - max_tokens
        if len(ids) > fitting:
            raise ContextTooLong(
                f"{len(messages)} messages are {len(ids)} tokens, at most {fitting} fit: leave out the oldest"
            )
        seed = config.seed if asked.seed is None else asked.seed
        outlet = Outlet[Piece](config.unread_pieces, on_taken=self._loop.wake)
        calls_before = sum(len(message.tool_calls) for message in messages)
        request = ReplyRequest(
            prompt_ids=ids,
            seed=random.getrandbits(63) if seed is None else seed,
            temperature=config.temperature if asked.temperature is None else asked.temperature,
            top_p=config.top_p if asked.top_p is None else asked.top_p,
            max_tokens=max_tokens,
            is_limit_asked=max_tokens == asked.max_tokens,
            pieces=ReplyPieces(model.chat.special_tokens, model.chat.bytes_of, first_call=calls_before),
            outlet=outlet,
        )
        self._running.submit(request)
        return request

    def _prepare(self, outlets: Outlets) -> ReplyStepper:
        """See LoopEngine."""
        config = self._config
        device = self._open_device(config.device)
        started_s = time.monotonic()
        model = self._model
        if model is None:
            dtype: torch.dtype = getattr(torch, config.dtype)
            keeps_fp8 = config.keeps_fp8 and can_multiply(device, dtype)
            model = Ministral.load(config.checkpoint, device=device, dtype=dtype, keeps_fp8=keeps_fp8)
            quantize(model.decoder.layers, config.quantization)
        slots = ReplySlots(
            model, count=config.slots, cache_tokens=config.cache_tokens, max_tokens=config.context_tokens
        )
        stepper = ReplyStepper(
            slots,
            outlets,
            model.chat.special_tokens,
            batches=buckets(config.slots),
            prefill_tokens=config.prefill_tokens,
        )
        _log.info("%s ready on %s after %.1f s", config.checkpoint.name, device, time.monotonic() - started_s)
        return stepper

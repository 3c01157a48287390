"""Our language engine: a Ministral 3 model for many calls at once on one device, behind the interface of any."""

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import torch

from llm.config import MinistralConfig
from llm.fp8 import can_multiply
from llm.graphs import buckets
from llm.handover import Handover, Outlet
from llm.interface import AS_SET, ContextTooLong, EngineUnreachable, Message, Reply, Sampling, Tool
from llm.local_reply import Job, LocalReply
from llm.ministral import Ministral
from llm.quantise import quantise
from llm.reply_pieces import Piece, ReplyPieces
from llm.scheduler import Row
from llm.slots import ReplySlots
from llm.steploop import StepLoop
from llm.stepper import Counters, ReplyStepper
from llm.weights import check_memory

logger = logging.getLogger(__name__)


class MinistralLanguageModel:
    """A Ministral 3 model on a step loop, which it may share with other engines. Use as `async with`."""

    def __init__(self, config: MinistralConfig, loop: StepLoop, model: Ministral | None = None) -> None:
        """Nothing is loaded before the context is entered; a `model` given is used in place of the checkpoint's."""
        self._config = config
        self._loop = loop
        self._given_model = model
        self._model: Ministral | None = None
        self._stepper: ReplyStepper | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Load the checkpoint, reserve the cache and capture the graphs, on the loop's thread.

        Raises:
            CheckpointError: the checkpoint is missing, incomplete, does not fit its configuration or the memory.
            EngineUnreachable: there is no such device.
        """
        handover = Handover(asyncio.get_running_loop())
        async with AsyncExitStack() as stack:
            model, stepper = await self._loop.run(lambda: self._prepare(handover))
            await self._loop.attach(stepper)
            stack.push_async_callback(self._stop, stepper)
            self._stack = stack.pop_all()
        self._model, self._stepper = model, stepper
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._model = self._stepper = None
        await self._stack.aclose()

    @property
    def counters(self) -> Counters:
        """What the engine has done since it was started."""
        return self._running.counters

    def reply(self, messages: Sequence[Message], tools: Sequence[Tool] = (), sampling: Sampling = AS_SET) -> Reply:
        """The assistant's next message; see `llm.interface.LanguageModel`."""
        return LocalReply(
            lambda: self._begin(tuple(messages), tuple(tools), sampling),
            changed=self._loop.wake,
            stall_s=self._config.stall_timeout_s,
        )

    @property
    def _loaded(self) -> Ministral:
        if self._model is None:
            raise EngineUnreachable("the language model is stopped: enter its context first")
        return self._model

    @property
    def _running(self) -> ReplyStepper:
        if self._stepper is None:
            raise EngineUnreachable("the language model is stopped: start it again")
        return self._stepper

    async def _begin(self, messages: Sequence[Message], tools: Sequence[Tool], asked: Sampling) -> Job:
        """Submit a job for the conversation."""
        config, model = self._config, self._loaded
        ids = await asyncio.to_thread(model.chat.prompt, messages, tools)  # a long one that is new takes a while
        most_tokens = min(asked.max_tokens or config.reply_tokens, config.reply_tokens)
        fitting = config.context_tokens - most_tokens
        if len(ids) > fitting:
            raise ContextTooLong(
                f"{len(messages)} messages are {len(ids)} tokens, at most {fitting} fit: leave out the oldest"
            )
        seed = config.seed if asked.seed is None else asked.seed
        outlet = Outlet[Piece](config.unread_pieces, on_taken=self._loop.wake)
        calls_before = sum(len(message.tool_calls) for message in messages)
        job = Job(
            row=Row(submitted_s=time.monotonic(), has_room=lambda: outlet.has_room),
            ids=ids,
            seed=random.getrandbits(63) if seed is None else seed,
            temperature=config.temperature if asked.temperature is None else asked.temperature,
            top_p=config.top_p if asked.top_p is None else asked.top_p,
            most_tokens=most_tokens,
            is_limit_asked=most_tokens == asked.max_tokens,
            pieces=ReplyPieces(model.chat.markers, model.chat.bytes_of, first_call=calls_before),
            outlet=outlet,
            admitted=asyncio.get_running_loop().create_future(),
        )
        self._running.submit(job)
        self._loop.wake()
        return job

    def _prepare(self, handover: Handover) -> tuple[Ministral, ReplyStepper]:
        """On the loop's thread: the model on its device, and what serves it."""
        config = self._config
        device = torch.device(config.device)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise EngineUnreachable(f"no {config.device} device here: choose another engine, or device = cpu (slow)")
        if device.type == "cuda":
            torch.cuda.set_device(device)  # kernels of Triton run on the thread's current device
        started_s = time.monotonic()
        model = self._given_model
        if model is None:
            dtype: torch.dtype = getattr(torch, config.dtype)
            keeps_fp8 = config.keeps_fp8 and can_multiply(device, dtype)
            model = Ministral.load(config.checkpoint, device=device, dtype=dtype, keeps_fp8=keeps_fp8)
            quantise(model.decoder.layers, config.quantization)
        decoder = model.config
        token_bytes = 2 * decoder.n_layers * decoder.n_kv_heads * decoder.head_dim * model.dtype.itemsize
        check_memory(config.cache_tokens * token_bytes, device, f"keys and values for {config.cache_tokens} tokens")
        slots = ReplySlots(
            model, count=config.slots, cache_tokens=config.cache_tokens, max_tokens=config.context_tokens
        )
        stepper = ReplyStepper(
            slots,
            handover,
            model.chat.markers,
            batches=buckets(config.slots),
            prefill_tokens=config.prefill_tokens,
        )
        logger.info("%s ready on %s after %.1f s", config.checkpoint.name, device, time.monotonic() - started_s)
        return model, stepper

    async def _stop(self, stepper: ReplyStepper) -> None:
        """End what is still written and free the device."""
        await self._loop.detach(stepper)
        await self._loop.run(stepper.stop)

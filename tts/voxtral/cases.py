"""Comparison of the shipped model with a reference's numbers, tensor by tensor, on any device.

Everything here calls the modules that speak; nothing is computed a second way. Users run it to trust their machine.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from llm.runtime.attention import Segment
from llm.runtime.cache import PagedCache
from llm.runtime.loop.devices import open_device
from llm.runtime.verify import Comparison, compare_all, load_cases
from llm.runtime.weights.checkpoint import CheckpointIncomplete
from tts.voxtral.euler import euler_step, guide
from tts.voxtral.flow import time_embedding
from tts.voxtral.frame_step import FrameBatch
from tts.voxtral.model import VoxtralTTS
from tts.voxtral.slots import NOISE_FRAMES, SpeechSlots, Start

STATE_TOLERANCE = 1e-4  # hidden states, velocities, block outputs, in float32
WAVE_TOLERANCE = 2e-5
PAGE_TOKENS = 16
RUNS = ("e2e", "e2e_end")

INPUTS = frozenset(
    ["embed.codes", "fm.llm_hidden", "fm.noise", "fm.cfg_alpha", "codec.frames", "codec.frames_end", "lm.inputs_embeds"]
    + [f"{run}.{name}" for run in RUNS for name in ("prompt_index", "cfg_alpha", "noise")]
)

Named = Iterator[tuple[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text and a voice, and the ids that the reference's tokenizer makes of them."""

    text: str
    voice: str
    ids: list[int]


def verify(checkpoint: Path, cases: Path, device: torch.device | str) -> Iterator[Comparison]:
    """Run every case of a golden set in float32 and compare, one result per expected tensor.

    Args:
        checkpoint: folder of the model that the cases were made with.
        cases: the safetensors file with inputs and expected outputs; its `prompts.json` lies beside it.
        device: where to compute.

    Raises:
        CheckpointError: the model or the cases cannot be loaded.
        DeviceMissing: there is no such device.
    """
    device = open_device(str(device))
    expected, prompts = _read(cases, device)
    model = VoxtralTTS.load(checkpoint, device=device, dtype=torch.float32)
    yield from compare_all(_outputs(model, expected, prompts), expected, tolerance_of, INPUTS)


def tolerance_of(name: str) -> float:
    """What a floating-point tensor of the golden set may differ by."""
    return WAVE_TOLERANCE if ".wave" in name else STATE_TOLERANCE


def _read(cases: Path, device: torch.device) -> tuple[dict[str, Tensor], list[Prompt]]:
    """The tensors of the set, with the prompts' ids among them, and the prompts."""
    tensors = load_cases(cases, device, lambda _: INPUTS)
    texts = cases.parent / "prompts.json"
    try:
        prompts = [Prompt(**fields) for fields in json.loads(texts.read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointIncomplete(f"the golden set {texts} cannot be read ({error}); get it again") from None
    for index, prompt in enumerate(prompts):
        tensors[f"prompts.{index}.ids"] = torch.tensor(prompt.ids)
    return tensors, prompts


@torch.inference_mode()
def _outputs(model: VoxtralTTS, cases: Mapping[str, Tensor], prompts: list[Prompt]) -> Named:
    yield "embed.out", model.embedding(cases["embed.codes"].long())
    yield from _flow(model, cases)
    yield from model.codec.trace(cases["codec.frames"].long())
    yield "codec.wave_end", model.codec.decode(cases["codec.frames_end"].long())
    yield "codec.wave_one", model.codec.decode(cases["codec.frames"][:1].long())
    yield "lm.hidden", _hidden_states(model, cases["lm.inputs_embeds"])
    for index, prompt in enumerate(prompts):
        yield f"prompts.{index}.ids", torch.tensor(model.prompt_ids(prompt.voice, model.text_ids(prompt.text)))
    for run in RUNS:
        yield from _run(model, run, cases, prompts[int(cases[f"{run}.prompt_index"])])


def _flow(model: VoxtralTTS, cases: Mapping[str, Tensor]) -> Named:
    head, schedule = model.flow, model.schedule
    hidden, latent, guidance = cases["fm.llm_hidden"], cases["fm.noise"], cases["fm.cfg_alpha"][:, None]
    times = torch.tensor(schedule.times, device=hidden.device)
    yield "fm.t", times
    yield "fm.t_emb", time_embedding(times, schedule.tokens.shape[1])
    yield "fm.t_proj", schedule.tokens
    yield "fm.semantic_logits_raw", head.semantic_logits(hidden)
    condition = head.condition(hidden)
    latents, velocities = [latent], list[Tensor]()
    for step in range(schedule.steps):
        velocities.append(head.velocity(latents[step], schedule.tokens[step], condition))
        latents.append(euler_step(head, schedule, step, latents[step], condition, guidance))
    yield "fm.x_t", torch.stack(latents[:-1])
    yield "fm.v_cond", torch.stack([both[0] for both in velocities])
    yield "fm.v_uncond", torch.stack([both[1] for both in velocities])
    yield "fm.v_guided", torch.stack([guide(both, guidance) for both in velocities])
    yield "fm.x_final", latents[-1]
    yield "fm.codes", model.config.codebooks.frame(head.semantic(hidden), latents[-1])


def _hidden_states(model: VoxtralTTS, embedded: Tensor) -> Tensor:
    """Hidden states [P, D] of embeddings [P, D]."""
    tokens = len(embedded)
    cache = PagedCache(
        model.config.backbone,
        rows=1,
        pages=-(-tokens // PAGE_TOKENS),
        max_tokens=tokens,
        page_tokens=PAGE_TOKENS,
        device=embedded.device,
    )
    cache.open(0)
    cache.grow(0, tokens)
    return model.backbone.prefill(embedded, [Segment(0, 0, tokens)], cache)


def _run(model: VoxtralTTS, run: str, cases: Mapping[str, Tensor], prompt: Prompt) -> Named:
    """A whole utterance through the batched frame step, as the engine speaks it but with the noise given."""
    text_ids = model.text_ids(prompt.text)
    ids = model.prompt_ids(prompt.voice, text_ids)
    yield f"{run}.prompt_ids", torch.tensor(ids, device=cases[f"{run}.prompt_ids"].device)
    embedded = model.embed_prompt(ids, prompt.voice)
    yield f"{run}.inputs_embeds", embedded
    yield f"{run}.prefill_hidden", _hidden_states(model, embedded)

    noise, guidance = cases[f"{run}.noise"], float(cases[f"{run}.cfg_alpha"])
    pages = 2 * -(-(len(ids) + len(noise)) // PAGE_TOKENS) + 1  # the voice's own pages beside the utterance's
    slots = SpeechSlots(model, count=1, pages=pages, page_tokens=PAGE_TOKENS)
    batch = FrameBatch(slots, 1)
    slots.start([Start(0, prompt.voice, text_ids, seed=0, guidance=guidance)])
    hidden, codes, samples = list[Tensor](), list[Tensor](), list[Tensor]()
    for index, drawn in enumerate(noise):
        slots.noise[0, index % NOISE_FRAMES] = drawn
        hidden.append(slots.hidden[0].clone())
        _step(slots, batch)
        codes.append(batch.codes[0].clone())
        if not batch.ended[0]:
            samples.append(batch.samples[0].clone())
    yield f"{run}.hidden", torch.stack(hidden)
    yield f"{run}.codes", torch.stack(codes)
    yield f"{run}.feedback", model.embedding(torch.stack(codes[: len(samples)]))
    yield f"{run}.wave", torch.cat(samples)


def _step(slots: SpeechSlots, batch: FrameBatch) -> None:
    """One frame of slot 0."""
    slots.reserve(0)
    batch.select([0])
    batch.begin()
    for step in range(slots.model.schedule.steps):
        batch.euler(step)
    batch.commit([0])
    batch.decode()
    batch.advance()
    if slots.device.type == "cuda":
        torch.cuda.synchronize(slots.device)  # the host's lists may be written again

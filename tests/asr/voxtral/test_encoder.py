"""The stem and the encoder by themselves: streaming, and exactly how far a frame is seen."""

import pytest
import torch

from asr.voxtral.encoder import FRAMES, Encoder
from asr.voxtral.stem import INNER_TAIL, MEL_TAIL, Stem, Tails
from llm.runtime.architecture import DecoderConfig
from llm.runtime.backend import AttentionBackend, StepTokens
from llm.runtime.cache import PagedCache

WINDOW = 9
SAME = 1e-5  # float32, other shapes of the same products
CONFIG = DecoderConfig(
    dim=16, n_layers=1, n_heads=2, n_kv_heads=2, head_dim=8, hidden_dim=24, vocab_size=0, rope_theta=1e4, head="none",
    window=WINDOW,
)  # fmt: skip


def stem() -> Stem:
    torch.manual_seed(0)
    made = Stem(mels=12, dim=16)
    for parameter in made.parameters():
        parameter.requires_grad_(False).normal_(std=0.3)
    return made


def start(rows: int) -> Tails:
    return Tails(torch.zeros(rows, MEL_TAIL, 12), torch.zeros(rows, INNER_TAIL, 16))


def test_stem_equals_convolutions_over_the_whole() -> None:
    made = stem()
    mel = torch.randn(1, 40, 12)
    padded = torch.nn.functional.pad(mel.mT, (2, 0))
    weight1, weight2 = made.conv1.weight.unflatten(1, (12, 3)), made.conv2.weight.unflatten(1, (16, 3))
    inner = torch.nn.functional.gelu(torch.nn.functional.conv1d(padded, weight1, made.conv1.bias))
    inner = torch.nn.functional.pad(inner, (1, 0))
    whole = torch.nn.functional.gelu(torch.nn.functional.conv1d(inner, weight2, made.conv2.bias, stride=2)).mT

    torch.testing.assert_close(made(mel, start(1))[0], whole, atol=SAME, rtol=SAME)


@pytest.mark.parametrize("frames", [2, 8, 20])
def test_stem_streamed_equals_whole(frames: int) -> None:
    made = stem()
    mel = torch.randn(2, 40, 12)
    whole, _ = made(mel, start(2))
    tails, parts = start(2), []
    for part in mel.split(frames, dim=1):
        out, tails = made(part, tails)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=SAME, rtol=SAME)


def encode(encoder: Encoder, frames: torch.Tensor, backend: AttentionBackend) -> torch.Tensor:
    """One row, step by step."""
    cache = PagedCache(CONFIG, rows=1, pages=3, max_tokens=FRAMES, page_tokens=4)
    cache.open(0)
    parts = []
    for number, part in enumerate(frames.split(FRAMES)):
        cache.grow(0, FRAMES * (number + 1))
        tokens = StepTokens(torch.tensor([0]), torch.tensor([FRAMES * number]), cache, backend, queries=FRAMES)
        parts.append(encoder.step(part[None], tokens)[0])
    return torch.cat(parts)


@pytest.mark.parametrize("backend", ["segments", "gathered"])
def test_a_frame_is_seen_by_itself_and_exactly_the_window_after_it(backend: AttentionBackend) -> None:
    torch.manual_seed(1)
    encoder = Encoder(CONFIG)
    for name, parameter in encoder.named_parameters():
        parameter.normal_(std=0.3).add_(1.0 if "norm" in name else 0.0)
    frames = torch.randn(48, CONFIG.dim)
    changed = frames.clone()
    changed[13] += 1.0

    before, after = encode(encoder, frames, backend), encode(encoder, changed, backend)

    differs = (before != after).any(dim=1).nonzero().flatten().tolist()
    assert differs == list(range(13, 13 + WINDOW))


def test_backends_agree() -> None:
    torch.manual_seed(2)
    encoder = Encoder(CONFIG)
    for name, parameter in encoder.named_parameters():
        parameter.normal_(std=0.3).add_(1.0 if "norm" in name else 0.0)
    frames = torch.randn(40, CONFIG.dim)

    torch.testing.assert_close(
        encode(encoder, frames, "segments"), encode(encoder, frames, "gathered"), atol=SAME, rtol=SAME
    )

"""Integration of the acoustic latent from noise to clean audio, one Euler step at a time.

The steps are separate calls so that a flag can be read between them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tts.voxtral.flow import FlowHead


@dataclass(frozen=True, slots=True)
class Schedule:
    """An even grid of flow times from 0 to 1 and what the head makes of them, computed once."""

    times: tuple[float, ...]  # n + 1 of them, each a float32
    tokens: Tensor  # [n + 1, D]

    @classmethod
    @torch.inference_mode()
    def of(cls, head: FlowHead, steps: int) -> "Schedule":
        """`steps` equal steps."""
        times = torch.arange(steps + 1, dtype=torch.float32) / steps
        tokens = head.time_tokens(times.to(head.time_projection.weight.device))
        return cls(tuple(float(time) for time in times), tokens)

    @property
    def steps(self) -> int:
        """Euler steps of a frame."""
        return len(self.times) - 1


def guide(velocities: Tensor, guidance: Tensor) -> Tensor:
    """Classifier-free guidance: velocities [2, B, A] of both branches, weights [B, 1] (1 is unguided); [B, A]."""
    guided, unguided = velocities
    return unguided + guidance * (guided - unguided)


def euler_step(
    head: FlowHead, schedule: Schedule, step: int, latent: Tensor, condition: Tensor, guidance: Tensor
) -> Tensor:
    """Advance the acoustic latent from one flow time of the schedule to the next.

    Args:
        head: the velocity network.
        schedule: the flow times.
        step: which of its steps.
        latent: [B, A] float32; Gaussian noise before step 0, clean after the last.
        condition: what the head makes of the rows' hidden states, [2, B, D].
        guidance: weight of each row's condition, [B, 1].
    """
    dt = schedule.times[step + 1] - schedule.times[step]
    return latent + dt * guide(head.velocity(latent, schedule.tokens[step], condition), guidance)

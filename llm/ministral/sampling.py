"""The next token of each row, by temperature and top-p, from random numbers of the row's own."""

import torch
from torch import Tensor

HALVINGS = 24  # down to 6e-8 of the highest probability; of those below that, none is left out


def sample(logits: Tensor, temperature: Tensor, top_p: Tensor, uniform: Tensor) -> Tensor:
    """Draw a token for each row. A row's token does not depend on the other rows; no host synchronization.

    Args:
        logits: [B, V] float32.
        temperature: [B]; 0 takes the most likely token.
        top_p: [B] in (0, 1]; the most likely tokens are kept until their probabilities reach it, and those that are
            as likely as the last of them.
        uniform: [B] in [0, 1), one fresh number for each row.

    Returns:
        Tokens, [B] int64.
    """
    greedy = temperature <= 0
    behind = logits - logits.amax(dim=-1, keepdim=True)  # so that no temperature, however low, makes them infinite
    probabilities = (behind / temperature.where(~greedy, 1.0)[:, None]).softmax(dim=-1)
    kept = probabilities.where(probabilities >= _least_kept(probabilities, top_p)[:, None], 0.0)
    reached = kept.cumsum(dim=-1)
    is_past = (kept > 0) & (reached > uniform[:, None] * reached[:, -1:])
    numbers = torch.arange(logits.shape[1], device=logits.device)
    last = numbers.where(kept > 0, 0).amax(dim=-1)  # rounding may leave the sum short; not-a-number has none
    token = numbers.where(is_past, last[:, None]).amin(dim=-1)
    return token.where(~greedy, logits.argmax(dim=-1))


def _least_kept(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """The largest threshold [B] with which the probabilities [B, V] from it on still reach top_p [B].

    Found by halving, since sorting a whole vocabulary takes longer.
    """
    low, high = torch.zeros_like(top_p), probabilities.amax(dim=-1)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        reached = probabilities.where(probabilities >= middle[:, None], 0.0).sum(dim=-1)
        is_enough = reached >= top_p
        low, high = middle.where(is_enough, low), high.where(is_enough, middle)
    return low

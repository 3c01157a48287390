"""The next token of each row, by temperature and top-p, from random numbers of the row's own."""

import torch
from torch import Tensor


def sample(logits: Tensor, temperature: Tensor, top_p: Tensor, uniform: Tensor) -> Tensor:
    """Draw a token for each row. A row's token does not depend on the other rows; no host synchronisation.

    Args:
        logits: [B, V] float32.
        temperature: [B]; 0 takes the most likely token.
        top_p: [B] in (0, 1]; the most likely tokens are kept until their probabilities reach it, at least one.
        uniform: [B] in [0, 1), one fresh number for each row.

    Returns:
        Tokens, [B] int64.
    """
    greedy = temperature <= 0
    likely, tokens = logits.sort(dim=-1, descending=True, stable=True)  # [B, V]
    behind = likely - likely[:, :1]  # so that no temperature, however low, makes them infinite
    probabilities = (behind / temperature.where(~greedy, 1.0)[:, None]).softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # of the likelier tokens
    kept = probabilities.where(before < top_p[:, None], 0.0)
    kept[:, 0] = probabilities[:, 0]
    reached = kept.cumsum(dim=-1)
    rank = (reached <= uniform[:, None] * reached[:, -1:]).sum(dim=-1)
    last = (kept > 0).sum(dim=-1).clamp(min=1) - 1  # rounding may leave the sum short; not-a-number has none
    rank = torch.minimum(rank, last).where(~greedy, 0)
    return tokens.gather(1, rank[:, None])[:, 0]

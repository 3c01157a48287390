"""Products with a matrix: every number of rows gives the same."""

import torch

from llm.runtime.layers import FEW_ROWS, multiply


def test_rows_together_equal_rows_alone() -> None:
    for rows in (1, FEW_ROWS.start - 1, FEW_ROWS.start, FEW_ROWS.stop - 1, FEW_ROWS.stop):
        torch.manual_seed(rows)
        x, matrix = torch.randn(rows, 96), torch.randn(40, 96)
        product = multiply(x, matrix)
        assert product.is_contiguous(), rows
        alone = torch.stack([matrix @ row for row in x])
        torch.testing.assert_close(product, alone, rtol=1e-5, atol=1e-4)


def test_any_shape_and_type_is_taken() -> None:
    x, matrix = torch.randn(2, 6, 96), torch.randn(40, 96)
    torch.testing.assert_close(multiply(x, matrix), x @ matrix.T, rtol=1e-5, atol=1e-4)
    narrow = multiply(x[0].bfloat16(), matrix.bfloat16())
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow.float(), x[0] @ matrix.T, rtol=0.05, atol=0.5)

"""What tests of every floor share."""

import os
from collections.abc import Callable

import pytest

Require = Callable[[bool, str], None]


@pytest.fixture(scope="session")
def require() -> Require:
    """`require(condition, reason)`: without the condition the test is skipped, under PARLEY_REQUIRE_ALL=1 it fails."""

    def check(condition: bool, reason: str) -> None:
        if condition:
            return
        if os.environ.get("PARLEY_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)

    return check

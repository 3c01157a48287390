"""Which way to read the cache suits a machine."""

import sys
from types import SimpleNamespace

import pytest
import torch

from llm.runtime.backend import AttentionBackend, default_backend


@pytest.mark.parametrize(("failure", "backend"), [(None, "paged"), (OSError("no gcc"), "gathered")])
def test_pages_are_read_by_kernels_where_triton_can_launch_them(
    failure: OSError | None,
    backend: AttentionBackend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Driver:
        @property
        def active(self) -> None:
            if failure:
                raise failure

    monkeypatch.setitem(sys.modules, "triton.runtime", SimpleNamespace(driver=Driver()))
    monkeypatch.setattr("llm.runtime.backend.find_spec", lambda _: object())
    assert default_backend(torch.device("cuda", 0)) == backend
    assert ("no gcc" in caplog.text) == (failure is not None)

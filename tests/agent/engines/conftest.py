"""What tests of engines share: distributions of other people."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install(distribution, module, source, entry_points)`, until the test is over."""
    modules: list[str] = []

    def install_distribution(distribution: str, module: str, source: str, entry_points: str) -> None:
        (tmp_path / f"{module}.py").write_text(source)
        metadata = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(entry_points)
        modules.append(module)

    monkeypatch.syspath_prepend(tmp_path)
    yield install_distribution
    for module in modules:
        sys.modules.pop(module, None)

"""How figures are summed up and printed."""

import json
from pathlib import Path

import pytest

from benchmarks import report


def test_percentiles_lie_between_neighbours() -> None:
    assert report.percentile([4.0, 1.0, 3.0, 2.0], 50) == pytest.approx(2.5)
    assert report.percentile([1.0, 2.0], 90) == pytest.approx(1.9)
    assert report.percentile([7.0], 90) == 7.0
    with pytest.raises(ValueError, match="at least one"):
        report.percentile([], 50)


def test_a_summary_of_nothing_says_so() -> None:
    assert report.summary([]) == {"n": 0}
    assert report.summary([0.1, 0.3, 0.2]) == {"n": 3, "p50": 0.2, "p90": 0.28, "min": 0.1, "max": 0.3}


def test_a_table_is_aligned_markdown() -> None:
    assert report.table(["what", "ms"], [["reply", "700"], ["cut", "5"]]).splitlines() == [
        "| what  |  ms |",
        "| ----- | --: |",
        "| reply | 700 |",
        "| cut   |   5 |",
    ]


def test_a_quick_run_never_overwrites_a_full_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    full = report.write("call", {"rounds": 10}, is_quick=False)
    quick = report.write("call", {"rounds": 1}, is_quick=True)
    assert full != quick
    record = json.loads(full.read_text())
    assert record["rounds"] == 10
    assert record["machine"]["versions"]["pipecat-ai"] == "1.14.0"

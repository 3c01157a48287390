"""What Prometheus reads."""

from agent.serving.metrics import Metrics
from pipelines.events import BargeIn, EventSink, ReplyLatency, Underrun
from webrtc.interface import CallStats


async def test_a_call_observed() -> None:
    metrics = Metrics()
    sink: EventSink = metrics
    sink.emit(ReplyLatency(0, 700))
    sink.emit(BargeIn(0, "cut", "words", 250))
    sink.emit(BargeIn(0, "resume", "silence", 300))
    sink.emit(Underrun(0, 2))
    metrics.call_ended(12.0, CallStats(late_packets=3, lost_packets=4, stalls=1))
    value = metrics.registry.get_sample_value
    assert value("parley_reply_latency_seconds_bucket", {"le": "0.7"}) == 1
    assert value("parley_reply_latency_seconds_bucket", {"le": "0.6"}) == 0
    assert value("parley_barge_in_decision_seconds_count", {"decision": "cut"}) == 1
    assert value("parley_barge_in_decision_seconds_sum", {"decision": "resume"}) == 0.3
    assert value("parley_underruns_total") == 2
    assert value("parley_late_packets_total") == 3
    assert value("parley_lost_packets_total") == 4
    assert value("parley_playout_stalls_total") == 1
    text = metrics.render().decode()
    assert "parley_tasks 1.0" in text
    assert "parley_threads" in text
    assert "process_open_fds" in text


def test_two_processes_worth_of_metrics_do_not_meet() -> None:
    first, second = Metrics(), Metrics()
    first.calls_total.inc()
    assert second.registry.get_sample_value("parley_calls_total") == 0

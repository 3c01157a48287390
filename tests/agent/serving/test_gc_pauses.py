"""What lives as long as the process is looked at once."""

import gc

from agent.serving.collector import spare_the_collector


def test_what_is_there_is_spared() -> None:
    try:
        spare_the_collector()
        assert gc.get_freeze_count() > 0
        assert len(gc.get_objects()) < gc.get_freeze_count()
    finally:
        gc.unfreeze()

"""What lives as long as the process is left out of collections."""

import gc

from agent.serving.gc_pauses import freeze_gc


def test_what_is_there_is_frozen() -> None:
    try:
        freeze_gc()
        assert gc.get_freeze_count() > 0
        assert len(gc.get_objects()) < gc.get_freeze_count()
    finally:
        gc.unfreeze()

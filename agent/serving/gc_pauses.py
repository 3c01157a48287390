"""Python's garbage collector, kept from stopping the event loop."""

import gc


def freeze_gc() -> None:
    """Keep what lives as long as the process out of later collections, which would stop the loop for 50 ms."""
    gc.collect()
    gc.freeze()

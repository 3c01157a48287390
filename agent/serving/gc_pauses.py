"""Python's garbage collector, kept from stopping the event loop."""

import gc


def spare_the_collector() -> None:
    """Keep what lives as long as the process out of later collections, which else stop the loop for 50 ms."""
    gc.collect()
    gc.freeze()

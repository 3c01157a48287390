"""An engine's own words for what can go wrong with a request, whichever engine it is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineErrors:
    """The errors of one engine, of the types that its interface promises."""

    engine: str  # in messages, such as "the language model"
    slots: str  # what a request takes one of
    retry: str  # what to do after a failure, such as "ask again"
    cache_setting: str  # that makes the cache larger
    failed: type[Exception]
    busy: type[Exception]
    unreachable: type[Exception]

    def step_failed(self, error: Exception) -> Exception:
        """The step that served the request raised."""
        return self.failed(f"{self.engine} failed ({error}): {self.retry}")

    def became_nan(self) -> Exception:
        """The request's numbers are not finite."""
        return self.failed(f"{self.engine} failed (its numbers became NaN): {self.retry}")

    def slots_taken(self, count: int) -> Exception:
        """There is no free slot."""
        return self.busy(f"all {count} {self.slots} of {self.engine} are taken: try again later")

    def cache_full(self) -> Exception:
        """There is no room in the cache."""
        return self.busy(f"the cache of {self.engine} is full: try again later, or raise {self.cache_setting}")

    def not_started(self) -> Exception:
        """The engine's context was not entered, or was left."""
        return self.unreachable(f"{self.engine} is not started, or stopped: enter its context first")

    def stopped(self) -> Exception:
        """The engine's context was left while the request was served."""
        return self.unreachable(f"{self.engine} was stopped: start it again")

    def stalled(self, stall_s: float) -> Exception:
        """The engine did nothing for a request that it could serve."""
        return self.unreachable(f"{self.engine} did nothing for {stall_s:g} s: restart it")

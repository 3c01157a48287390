"""What can go wrong with a call.

Errors::

    CallError
    |- OfferRejected          the offer cannot become a call; the message says why
    |  |- MalformedOffer      not SDP, not an offer, or without its ICE or DTLS parameters
    |  |- NoAudio             no audio line, or one that does not go both ways
    |  |- NoOpus              audio, but not Opus at 48 kHz
    |  |- NoCandidates        no address to send to, and none will follow
    |  |- RestartRefused      a second offer from another connection for the same call
    |- CandidateRejected      a trickled candidate that cannot be used
    |- NotConnected           no connection within the time allowed
    |- CallClosed             the call is over
"""


class CallError(Exception):
    """A call could not do what was asked; the message says what was wanted, found and to do."""


class OfferRejected(CallError):
    """The offer cannot become a call."""


class MalformedOffer(OfferRejected):
    """The offer is not SDP, not an offer, or lacks its ICE or DTLS parameters."""


class NoAudio(OfferRejected):
    """The offer has no audio line, or one that does not go both ways."""


class NoOpus(OfferRejected):
    """The offer has audio, but not Opus at 48 kHz."""


class NoCandidates(OfferRejected):
    """The offer has no address to send to and does not announce that any will follow."""


class RestartRefused(OfferRejected):
    """A second offer came from another connection for the same call."""


class CandidateRejected(CallError):
    """A trickled candidate cannot be used."""


class NotConnected(CallError):
    """No connection came about within the time allowed."""


class CallClosed(CallError):
    """The call is over."""

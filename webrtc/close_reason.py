"""How calls end."""

import enum


class CloseReason(enum.Enum):
    """Why a call ended."""

    HUNG_UP = "the caller hung up"
    LOST = "the connection failed"
    SILENT = "no audio packets came any more"
    NOT_CONNECTED = "no connection came about"
    ENDLESS_MESSAGE = "the caller sent a message without an end"
    CLOSED = "closed by us"

"""What can go wrong in the application itself.

Errors::

    AgentError
    |- ConfigError          settings that cannot be used; `lines` has one line for each
    |- AddressUnavailable   the server cannot listen where its settings say
    |- AudioFileError       a WAV file that cannot be read or written
    |- AudioDeviceError     no microphone or loudspeaker, or no library to reach it
    |- EngineUnavailable    a chosen engine that cannot be started here
    |- ToolUnavailable      a tool of the settings, or its server, that is not available
    |- DownloadError        weights that cannot be fetched, or arrive damaged
    |- CommandError         a command that cannot be done as asked
"""

from collections.abc import Sequence


class AgentError(Exception):
    """The application could not do what was asked; the message says what was wanted, found and to do."""


class ConfigError(AgentError):
    """Settings that cannot be used."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class AddressUnavailable(AgentError):
    """The host or port to listen on is taken, forbidden or not of this machine."""


class AudioFileError(AgentError):
    """A WAV file that cannot be read or written."""


class AudioDeviceError(AgentError):
    """No usable microphone or loudspeaker."""


class EngineUnavailable(AgentError):
    """A chosen engine that cannot be started: its packages, its checkpoint or its memory are missing."""


class ToolUnavailable(AgentError):
    """A tool that the settings name cannot be imported, or the server that offers it does not answer."""


class DownloadError(AgentError):
    """Weights cannot be fetched, or what arrives is not what was promised."""


class CommandError(AgentError):
    """A command that cannot be done as asked."""

"""What an application imports that takes calls in its own process; docs/embedding.md shows how."""

from agent.engines.configure import load_settings
from agent.log import configure_logging
from agent.serving.server import open_application
from agent.settings.config import Settings
from webrtc.http.tokens import CallTokens

__all__ = ["CallTokens", "Settings", "configure_logging", "load_settings", "open_application"]

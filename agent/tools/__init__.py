"""Tools of the language model; users import `tool`, to declare one, and `ToolRefusal`, for one to raise."""

from agent.tools.function import ToolRefusal, tool

__all__ = ["ToolRefusal", "tool"]

"""Tools of the language model; `tool` is what users import."""

from agent.tools.function import tool

__all__ = ["tool"]

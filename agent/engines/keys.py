"""API keys of other people's servers, read from the environment by the names that the settings give."""

import os

from pydantic import SecretStr

from agent.errors import EngineUnavailable


def api_key(name: str | None) -> SecretStr | None:
    """The key in that environment variable; None if none is named.

    Raises:
        EngineUnavailable: the variable is not set, or empty.
    """
    return required_key(name) if name else None


def required_key(name: str | None) -> SecretStr:
    """The key in that environment variable.

    Raises:
        EngineUnavailable: none is named; the variable is not set, or empty.
    """
    if not name:
        raise EngineUnavailable("this engine needs an API key: name its environment variable in api_key_env")
    key = os.environ.get(name, "").strip()
    if not key:
        raise EngineUnavailable(f"wanted an API key in the environment variable {name}, found none: export {name}=...")
    return SecretStr(key)

"""The settings of this process: validated by the engines that are installed, `auto` resolved for this machine."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from agent.engines.profiles import choose_profile
from agent.engines.registry import Registry, installed_engines
from agent.settings.config import Settings
from agent.settings.layers import merge_layers
from agent.settings.profiles import Choose


def load_settings(
    file: Path | None,
    environment: Mapping[str, str],
    command_line: Mapping[str, Any] | None = None,
    *,
    registry: Registry | None = None,
    choose: Choose | None = None,
) -> Settings:
    """The settings of this process.

    Args:
        file: a TOML file, or None for none.
        environment: usually `os.environ`; names like PARLEY_PROFILE and PARLEY_SERVER__PORT are read.
        command_line: nested values that win over all others.
        registry: the engines there are; the installed ones if not given.
        choose: finds the profile that `auto` stands for; the best for this machine if not given.

    Raises:
        ConfigError: one line for each thing that is wrong: where, which setting, what was wanted and found.
    """
    engines = registry or installed_engines()
    return merge_layers(
        file,
        environment,
        command_line or {},
        model=engines.settings,
        choose=choose or partial(choose_profile, engines),
        complete=engines.with_checkpoints,
    )

"""The optional packages of the installation: how to get the ones that are missing."""


def install_command(extra: str) -> str:
    """The command that installs an extra of pyproject.toml."""
    return f"python -m pip install -c constraints.txt '.[{extra}]'"

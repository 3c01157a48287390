"""Settings of the tools of a process: how long they may take, what they may reach. `agent.tools` says which it uses."""

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator


class WebConfig(BaseModel):
    """What the tool `http_get` may fetch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: tuple[str, ...] = Field(
        default=(), description="Hosts it may ask, as host or host:port; none: there is no such tool."
    )
    allow_http: bool = Field(default=False, description="Allow http beside https.")
    allow_private: bool = Field(
        default=False, description="Allow hosts with addresses that are not public, such as 10.0.0.1."
    )
    max_bytes: PositiveInt = Field(default=65_536, le=10_000_000, description="Longest answer; a longer one is cut.")
    max_redirects: int = Field(default=3, ge=0, le=10, description="Redirects followed, to allowed hosts only.")


class McpServerConfig(BaseModel):
    """A server of tools that speaks the Model Context Protocol: a program to start, or a URL to reach."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: tuple[str, ...] = Field(
        default=(), description="Program to start and its arguments; it talks over its pipes."
    )
    env: Mapping[str, str] = Field(default={}, description="Environment variables to add for the program.")
    url: str = Field(
        default="", pattern=r"^(https?://[^/\s]+.*)?$", description="Address of a server that is reached over HTTP."
    )
    token_env: str = Field(
        default="", description="Name of the environment variable with the bearer token for the URL; empty for none."
    )
    tools: tuple[str, ...] = Field(default=(), description="Which of its tools agents get; all if not given.")
    limit_s: PositiveFloat = Field(default=10.0, description="Longest run of one of its tools.")
    connect_timeout_s: PositiveFloat = Field(default=15.0, description="Longest wait for the server to be ready.")

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if bool(self.command) == bool(self.url):
            raise ValueError("either a command or a url, and not both")
        return self


class ToolsConfig(BaseModel):
    """What tools may take and reach. Those of `web` and `mcp` are every agent's, beside the ones of `agent.tools`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit_s: PositiveFloat = Field(default=5.0, description="Longest run of a tool that does not say otherwise.")
    web: WebConfig = WebConfig()
    mcp: Mapping[str, McpServerConfig] = Field(default={}, description="Servers of tools, each under a name of yours.")

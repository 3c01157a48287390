"""The shape of a Mistral decoder, read from either kind of checkpoint: `params.json` or `config.json`.

One description covers the speech backbone (plain), the recognition decoder (window, delay condition) and the chat
models (YaRN, query scaling, own head).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Head = Literal["none", "tied", "untied"]


@dataclass(frozen=True, slots=True)
class Yarn:
    """Rotary frequencies stretched past the trained length (arXiv 2309.00071); applies at every position."""

    factor: float
    original_positions: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0


@dataclass(frozen=True, slots=True)
class QueryScaling:
    """Queries grow with their own position: 1 + beta * ln(1 + floor(position / original_positions))."""

    beta: float
    original_positions: int


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Sizes and options of one decoder; the names are those of `params.json`."""

    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    hidden_dim: int
    vocab_size: int
    rope_theta: float
    norm_eps: float = 1e-5
    head: Head = "tied"  # "none": only hidden states are read
    window: int | None = None  # a position sees itself and the window - 1 before it
    yarn: Yarn | None = None
    query_scaling: QueryScaling | None = None
    ada_norm_dim: int | None = None  # width of the bottleneck that makes the FFN scale of a condition

    def __post_init__(self) -> None:
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"{self.n_heads} query heads cannot be shared out over {self.n_kv_heads} key heads")
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd; rotary embedding turns pairs of dimensions")

    @classmethod
    def from_params(cls, params: Mapping[str, Any], *, head: Head | None = None) -> "DecoderConfig":
        """From the top level of a consolidated checkpoint's `params.json`.

        Raises:
            KeyError: a size is missing.
            ValueError: an option that this decoder does not have.
        """
        if params.get("use_biases", False):
            raise ValueError("the decoder has no biases, but params.json says use_biases = true")
        if params.get("moe") is not None:
            raise ValueError("the decoder is dense, but params.json describes a mixture of experts")
        yarn = params.get("yarn")
        scaling = params.get("llama_4_scaling")
        ada_norm = params.get("ada_rms_norm_t_cond", False)
        return cls(
            dim=params["dim"],
            n_layers=params["n_layers"],
            n_heads=params["n_heads"],
            n_kv_heads=params["n_kv_heads"],
            head_dim=params["head_dim"],
            hidden_dim=params["hidden_dim"],
            vocab_size=params["vocab_size"],
            rope_theta=params["rope_theta"],
            norm_eps=params["norm_eps"],
            head=head or ("tied" if params.get("tied_embeddings", False) else "untied"),
            window=params.get("sliding_window"),
            yarn=yarn
            and Yarn(
                factor=yarn["factor"],
                original_positions=yarn["original_max_position_embeddings"],
                beta_fast=yarn.get("beta", 32.0),
                beta_slow=yarn.get("alpha", 1.0),
            ),
            query_scaling=scaling and QueryScaling(scaling["beta"], scaling["original_max_position_embeddings"]),
            ada_norm_dim=params["ada_rms_norm_t_cond_dim"] if ada_norm else None,
        )

    @classmethod
    def from_hugging_face(cls, config: Mapping[str, Any]) -> "DecoderConfig":
        """From a `config.json` of a Mistral, Ministral 3 or Voxtral Realtime text model.

        Pass the `text_config` where the file wraps one. Raises KeyError and ValueError as `from_params` does.
        """
        rope: Mapping[str, Any] = config.get("rope_parameters") or config.get("rope_scaling") or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind not in ("default", "yarn"):
            raise ValueError(f"rope type {kind!r} is unknown here; known are 'default' and 'yarn'")
        equal_scales = rope.get("mscale") and rope.get("mscale") == rope.get("mscale_all_dim")
        if kind == "yarn" and not equal_scales and rope.get("attention_factor") != 1.0:
            raise ValueError("mscale and mscale_all_dim must be equal: this decoder has no attention factor")
        original = rope.get("original_max_position_embeddings", 0)
        beta = rope.get("llama_4_scaling_beta")
        realtime = config.get("model_type") == "voxtral_realtime_text"
        return cls(
            dim=config["hidden_size"],
            n_layers=config["num_hidden_layers"],
            n_heads=config["num_attention_heads"],
            n_kv_heads=config["num_key_value_heads"],
            head_dim=config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
            hidden_dim=config["intermediate_size"],
            vocab_size=config["vocab_size"],
            rope_theta=rope.get("rope_theta") or config["rope_theta"],
            norm_eps=config["rms_norm_eps"],
            head="tied" if config.get("tie_word_embeddings", realtime) else "untied",
            window=config.get("sliding_window"),
            yarn=Yarn(rope["factor"], original, rope.get("beta_fast", 32.0), rope.get("beta_slow", 1.0))
            if kind == "yarn"
            else None,
            query_scaling=QueryScaling(beta, original) if beta else None,
            ada_norm_dim=config.get("ada_rms_norm_t_cond_dim", 32) if realtime else None,
        )

"""The tokenizer against mistral-common's, on the golden vocabulary and on a whole one."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from llm.runtime.tokenizer import Tekken
from llm.runtime.weights.checkpoint import CheckpointIncomplete

GOLDEN = Path(__file__).parents[2] / "data" / "voxtral-tts"

# Published ids of the released speech model, whose text vocabulary is that of tekken_240911.json.
PUBLISHED = {
    "Paris is a beautiful city!": "42572 1395 1261 15568 5970 1033",
    "Hello.": "22177 1046",
    "Bonjour, je m'appelle Claude. Ça va très bien, merci!": (
        "48227 47010 1044 2310 1283 21868 2755 28006 1046 31441 3834 8638 5593 1044 92503 1033"
    ),
    "Grüße aus München — die Straße ist schön.": (
        "20560 1671 9755 3558 28943 2251 1828 27277 3444 63844 1046"
    ),
    "नमस्ते, आप कैसे हैं?": "2485 3525 22475 1803 1044 23167 83112 10688 1063",
    "مرحبا كيف حالك؟": "4341 1708 26986 24675 17086 1559 6944",
}  # fmt: skip
TEXTS = [*PUBLISHED, "", " \n\n  x\t", "<s>[INST] is only text here", "🎉 naïve 1234 don't", "日本語のテキスト"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tekken")
    content = json.loads((files("mistral_common") / "data" / "tekken_240911.json").read_text())
    content.setdefault("special_tokens", [{"rank": 1, "token_str": "<s>", "is_control": True}])
    (folder / "tekken.json").write_text(json.dumps(content))
    return folder


def test_published_ids(whole: Path) -> None:
    tokenizer = Tekken.load(whole)
    for text, ids in PUBLISHED.items():
        assert tokenizer.encode(text) == [int(index) for index in ids.split()]


@pytest.mark.parametrize("vocabulary", ["golden", "whole"])
def test_equals_mistral_common(vocabulary: str, whole: Path, tmp_path: Path) -> None:
    folder = GOLDEN if vocabulary == "golden" else whole
    content = json.loads((folder / "tekken.json").read_text())
    content.pop("audio", None)  # older releases of mistral-common refuse the voices in it
    (tmp_path / "tekken.json").write_text(json.dumps(content))
    ours, theirs = Tekken.load(folder), Tekkenizer.from_file(tmp_path / "tekken.json")
    for text in TEXTS:
        ids = ours.encode(text)
        assert ids == theirs.encode(text, bos=False, eos=False)
        assert ours.bytes_of([1, *ids]) == text.encode()
        assert theirs.decode(ids, special_token_policy=SpecialTokenPolicy.IGNORE) == text
    assert ours.special("<s>") == theirs.bos_id == 1


def test_a_character_can_end_in_the_next_token() -> None:
    tokenizer = Tekken.load(GOLDEN)
    ids = tokenizer.encode("日")
    assert len(ids) == 3
    assert b"".join(tokenizer.bytes_of([index]) for index in ids) == "日".encode()


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncomplete, match=r"has no tekken\.json"):
        Tekken.load(tmp_path)
    (tmp_path / "tekken.json").write_text('{"model": {}}')
    with pytest.raises(CheckpointIncomplete, match="not a tekken tokenizer"):
        Tekken.load(tmp_path)
    with pytest.raises(CheckpointIncomplete, match=r"no special token \[NOISE\]"):
        Tekken.load(GOLDEN).special("[NOISE]")

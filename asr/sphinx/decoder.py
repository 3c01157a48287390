"""pocketsphinx with a language model of its own: the files that it loads and a pool of decoders.

A trigram model of the sentences that may be said, and a dictionary of their words: the whole one, 134,000 words, takes
seconds to load and 80 MB, theirs milliseconds. Between them stand decoys, random other words in random order: speech
from outside the domain is drawn to them, so that it can be distinguished from speech inside. A second, free decoder
would cost as much again and distinguishes no better.
"""

import random
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Protocol, cast

import pocketsphinx  # pyright: ignore[reportMissingTypeStubs]
from pocketsphinx.lm import ArpaBoLM  # pyright: ignore[reportMissingTypeStubs]

# Little mass for word sequences that no sentence has: measured, half the word errors of the builder's default, 0.5.
_DISCOUNT_MASS = 0.02
# How a hum of assent sounds beyond the dictionary's one form, "AH M HH AH M"; unknown hums are taken for short words.
_HUMS = """\
mhm(2) M HH AH M
mhm(3) M AH HH AH M
mhm(4) M AH HH M
mhm(5) M HH M
mhm(6) M AH M
mhm(7) M UH HH UH M
mhm(8) HH UH M
mhm(9) AH M
"""
# Wider beams than the defaults take a sixth of the word errors away for a tenth more time; `ascale` sharpens the
# posteriors, so that less of what was rightly understood is doubted.
_SEARCH = {"beam": 1e-60, "wbeam": 1e-40, "pbeam": 1e-60, "ascale": 16.0}
_DECOYS = 500
_DECOY_SENTENCES = 1000
_DECOY_PHONES = range(4, 8)
_DECOY_MARK = "~"  # before the words of decoys
_LANGUAGE_MODEL = "domain.lm"
_DICTIONARY = "domain.dict"


class Hypothesis(Protocol):
    """The best words so far."""

    hypstr: str


class DecodedSegment(Protocol):
    """One word of the best path, in frames of 10 ms; the end is inclusive."""

    word: str
    start_frame: int
    end_frame: int
    prob: float  # posterior, once the utterance has ended


class SphinxDecoder(Protocol):
    """What we use of `pocketsphinx.Decoder`."""

    def start_stream(self) -> None: ...  # noqa: D102
    def start_utt(self) -> None: ...  # noqa: D102
    def process_raw(self, data: bytes) -> None: ...  # noqa: D102
    def end_utt(self) -> None: ...  # noqa: D102
    def hyp(self) -> Hypothesis | None: ...  # noqa: D102
    def seg(self) -> Iterable[DecodedSegment] | None: ...  # noqa: D102
    def get_cmn(self) -> str: ...  # noqa: D102
    def set_cmn(self, cmn: str) -> None: ...  # noqa: D102


def is_decoy(word: str) -> bool:
    """Whether a decoded word stands for anything outside the domain."""
    return word.startswith(_DECOY_MARK)


def write_model(sentences: Collection[str], folder: Path) -> None:
    """Write the language model and dictionary of the sentences (lower case, no punctuation) into a folder.

    Raises:
        ValueError: words without a pronunciation, named.
    """
    wanted = {word for sentence in sentences for word in sentence.split()}
    found: set[str] = set()
    pronunciations: list[str] = []
    others: list[str] = []
    with (_bundled_models() / "cmudict-en-us.dict").open() as dictionary:
        for line in dictionary:
            entry, *phones = line.split()
            word = re.sub(r"\(\d+\)$", "", entry)
            if word in wanted:
                found.add(word)
                pronunciations.append(line)
            elif entry.isalpha() and len(phones) in _DECOY_PHONES:
                others.append(f"{_DECOY_MARK}{line}")
    if missing := sorted(wanted - found):
        raise ValueError(f"the dictionary lacks {', '.join(missing)}: say it in other words")
    generator = random.Random(1)
    decoys = generator.sample(others, _DECOYS)
    names = [line.split(maxsplit=1)[0] for line in decoys]
    decoy_sentences = (" ".join(generator.choices(names, k=3)) for _ in range(_DECOY_SENTENCES))
    hums = _HUMS if "mhm" in wanted else ""
    (folder / _DICTIONARY).write_text("".join(pronunciations + decoys) + hums)
    model = ArpaBoLM(text="\n".join((*sentences, *decoy_sentences)), add_start=True, discount_mass=_DISCOUNT_MASS)
    model.compute()
    with (folder / _LANGUAGE_MODEL).open("w") as file:
        model.write(file)


class DecoderPool:
    """Decoders, made when needed and used again: one is busy only from an utterance's first sample to its flush."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._idle = [self._make()]  # there before the first call
        self._fresh_cepstral_mean = self._idle[0].get_cmn()

    def take(self, cepstral_mean: str | None) -> SphinxDecoder:
        """A decoder that is not in use, with the cepstral mean of a caller (None: of no caller yet)."""
        decoder = self._idle.pop() if self._idle else self._make()
        decoder.start_stream()  # forgets the noise of another caller
        decoder.set_cmn(cepstral_mean or self._fresh_cepstral_mean)
        return decoder

    def release(self, decoder: SphinxDecoder) -> None:
        """Give a decoder back."""
        self._idle.append(decoder)

    def _make(self) -> SphinxDecoder:
        # the second pass, "fwdflat", costs 40 ms at the end of an utterance and gains nothing on a small domain
        make = cast("Callable[..., SphinxDecoder]", pocketsphinx.Decoder)  # pyright: ignore[reportUnknownMemberType]
        return make(
            hmm=str(_bundled_models() / "en-us"),
            lm=str(self._folder / _LANGUAGE_MODEL),
            dict=str(self._folder / _DICTIONARY),
            fwdflat=False,
            **_SEARCH,
            loglevel="FATAL",
        )


def _bundled_models() -> Path:
    path = cast("Callable[[str], str]", pocketsphinx.get_model_path)  # pyright: ignore[reportUnknownMemberType]
    return Path(path("en-us"))

"""Which samples of a clause speak which of its characters, and the cut into chunks. Plain functions."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 24_000

# eSpeak ends a text without the pause that it makes inside one; clauses that follow one another want it.
_PAUSE_AFTER_SENTENCE = SAMPLE_RATE_HZ * 240 // 1000
_PAUSE_INSIDE_SENTENCE = SAMPLE_RATE_HZ * 120 // 1000
_ENDS_SENTENCE = re.compile(r"[.!?…。؟।][\"'»”’)\]]*\s*$")
_ENDS_CLAUSE = re.compile(r"[,;:،–—][\"'»”’)\]]*\s*$")
_WORD = re.compile(r"\S+")
_SENTENCE_END = re.compile(r"[.!?…。؟।]+[\"'»”’)\]]*(?=\s)")


@dataclass(frozen=True, slots=True)
class Span:
    """Samples [start, end) speak characters [text_start, text_end)."""

    start: int
    end: int
    text_start: int
    text_end: int


def clause_ends(text: str, longest: int) -> Iterator[int]:
    """Positions after which to cut a text into clauses of at most `longest` characters; the last is its length.

    The cut lies after the last sentence that fits, else after the last word that fits, else where it must.
    """
    start = 0
    while len(text) - start > longest:
        window = text[start : start + longest]
        sentences = [match.end() for match in _SENTENCE_END.finditer(window)]
        if sentences:
            start += sentences[-1]
        else:
            space = max((match.end() for match in re.finditer(r"\S\s", window)), default=0)
            start += space or longest
        yield start
    yield len(text)


def word_spans(text: str, marks: Iterable[tuple[int, int]], samples: int) -> list[Span]:
    """Spans of the words of a clause; they join without gap in both text and samples.

    A word lasts until the next one starts, spaces included. eSpeak marks several words in one of ours (numbers,
    symbols) and none in others (lone punctuation): the first mark in a word counts, and a word without a mark belongs
    to the word before.

    Args:
        text: the clause.
        marks: (character position, sample position) of each word event, in the order spoken.
        samples: length of the clause's audio.
    """
    word_starts = [match.start() for match in _WORD.finditer(text)]
    starts = [(0, 0)]  # (character, sample)
    for character, sample in marks:
        word_start = max((start for start in word_starts if start <= character), default=0)
        if word_start > starts[-1][0] and starts[-1][1] < sample < samples and word_start > word_starts[0]:
            starts.append((word_start, sample))
    ends = [*starts[1:], (len(text), samples)]
    return [Span(start, end, c, d) for (c, start), (d, end) in zip(starts, ends, strict=True)]


def chunk_spans(spans: Iterable[Span], longest: int) -> Iterator[Span]:
    """Cut spans into chunks of at most `longest` samples; the last chunk of a word carries its characters."""
    for span in spans:
        for start in range(span.start, span.end, longest):
            end = min(start + longest, span.end)
            yield Span(start, end, span.text_start, span.text_end if end == span.end else span.text_start)


def trim_start(
    samples: NDArray[np.float32], spans: list[Span], silence: float, keep: int
) -> tuple[NDArray[np.float32], list[Span]]:
    """Drop what stays below the amplitude `silence` before the first sound, but for `keep` samples."""
    loud = np.flatnonzero(np.abs(samples) > silence)
    if not loud.size:
        return samples, spans
    cut = min(max(int(loud[0]) - keep, 0), spans[0].end - 1)
    moved = [replace(span, start=max(span.start - cut, 0), end=span.end - cut) for span in spans]
    return samples[cut:], moved


def pause_after(clause: str) -> int:
    """Samples of silence that the end of a clause asks for."""
    if _ENDS_SENTENCE.search(clause):
        return _PAUSE_AFTER_SENTENCE
    return _PAUSE_INSIDE_SENTENCE if _ENDS_CLAUSE.search(clause) else 0

"""What of a written text is to be spoken: Markdown, emoji, addresses, code and tables become words or nothing.

Works on a whole text as on one clause of a stream: there is no state, and half a mark (the "**" that another clause
closes) goes like a whole one.
"""

import html
import re

_Rule = tuple[re.Pattern[str], str]

# Pictographs, flags, skin tones, dingbats, boxes, clocks and players, variation selectors, keycaps; no arrows or signs.
_EMOJI = (
    r"\U0001f000-\U0001fbff\U000e0020-\U000e007f\u2600-\u2793\u2795-\u2797\u27b0\u27bf\u2b05-\u2b07\u2b1b\u2b1c\u2b50"
    r"\u2b55\u3030\u303d\u3297\u3299\u231a\u231b\u2328\u23cf\u23e9-\u23fa\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe"
    r"\u2139\ufe0e\ufe0f\u20e3"
)
_INVISIBLE = r"\x00-\x08\x0b-\x1f\x7f\u00ad\u200b\u200c\u200e\u200f\u2060\ufeff\ud800-\udfff"
_ADDRESS_END = r"(?=[.,;:!?)\]]*(?:\s|$))"

_LINE_RULES: tuple[_Rule, ...] = (
    (re.compile(r"^\s*(?:```|~~~).*$"), ""),  # half a code fence
    (re.compile(r"^\s*(?:[-*_=]\s*){3,}$"), ""),  # a rule, or the underline of a heading
    (re.compile(r"^\s*\|?(?:\s*:?-{3,}:?\s*\|)+(?:\s*:?-{3,}:?\s*)?$"), ""),  # under a table's head
    (re.compile(r"^\s*\[[^\[\]]+\]:\s+\S+.*$"), ""),  # where a link leads
    (re.compile(r"^\s*(?:>\s?)+"), ""),
    (re.compile(r"^\s*#{1,6}\s+(.*?)\s*#*\s*$"), r"\1"),
    (re.compile(r"^\s*[-*+•‣◦]\s+(?:\[[ xX]\]\s+)?"), ""),
)

# The lengths are bounded so that a thousand open marks cost no more than their length.
_RULES: tuple[_Rule, ...] = (
    (re.compile(r"<!--.{0,2000}?-->", re.S), ""),
    (re.compile(r"<((?:https?://|mailto:)[^<>\s]+)>"), r"\1"),
    (re.compile(r"</?[a-zA-Z][^<>]{0,300}>"), " "),
    (re.compile(r"!?\[([^\[\]]{0,300})\]\([^()\s]*(?:\([^()]*\)[^()\s]*)?(?:\s+\"[^\"]*\")?\)"), r"\1"),
    (re.compile(r"\[([^\[\]]{1,300})\]\[[^\[\]]{0,300}\]"), r"\1"),
    (re.compile(r"\[\^?\d{1,3}\]"), ""),  # a footnote
    (re.compile(r"\bmailto:"), ""),
    (re.compile(rf"\b(?:https?|ftp)://(?:www\.)?([^\s/?#:)\]]{{1,253}})(?::\d+)?(?:[/?#]\S*?)?{_ADDRESS_END}"), r"\1"),
    (re.compile(rf"\bwww\.([^\s/?#:)\]]{{1,253}})(?:[/?#]\S*?)?{_ADDRESS_END}"), r"\1"),
    (re.compile(r"\\([\\`*_{}\[\]()#+\-.!|~>])"), r"\1"),  # an escaped mark
    (re.compile(r"(?<![\w:])[:;=]['’]?-?[()DPpO|/\\](?!\w)"), ""),  # an emoticon
    (re.compile(r"\*\*+|~~+|``*|(?<!\w)__+|__+(?!\w)"), ""),
    (re.compile(r"(?<![\w*])\*(?=\S)|(?<=\S)\*(?![\w*])"), ""),
    (re.compile(r"(?<!\w)_(?=\w)|(?<=[\w.,!?])_(?!\w)"), ""),
    (re.compile(r"(?<=\w)_(?=\w)"), " "),  # some_name
    (re.compile(r"\s*[→⇒➔]\s*"), ", "),
    (re.compile(rf"(?:[{_EMOJI}]\u200d?)+"), " "),
    (re.compile(r"([!?])[!?]+"), r"\1"),
    (re.compile(r"\(\s*\)|\[\s*\]|\{\s*\}"), ""),
    (re.compile(r"\s+"), " "),
    (re.compile(r"([.!?…:;,]) [.,;]+(?=\s|$)"), r"\1"),
    (re.compile(r" (?=[,.;:!?…)])"), ""),
)

_CODE_BLOCK = re.compile(r"^\s*(```|~~~)[^\n]*\n.*?^\s*\1\s*$", re.S | re.M)
_TABLE_ROW = re.compile(r"^\s*\|(.+)\|\s*$")
_STARTS_BLOCK = re.compile(r"^\s*(?:#{1,6}\s|[-*+•‣◦]\s|\d{1,3}[.)]\s|>|\||$)")
_ENDS_ALONE = re.compile(r"^\s*(?:#{1,6}\s|\|)")
_ENDED = re.compile(r"[.!?…:;,。！？،؛؟।][\"'”’»)\]*_~]*\s*$")


def to_spoken_text(text: str) -> str:
    """The words to speak of a text or of one of its clauses; "" if there are none."""
    text = _CODE_BLOCK.sub("", text)
    text = re.sub(rf"[{_INVISIBLE}]", "", text)
    text = _join_lines(text.splitlines())
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = html.unescape(text).strip()
    return text if any(map(str.isalnum, text)) else ""


def _join_lines(lines: list[str]) -> str:
    """One line: where a heading, a list item or a row of a table ends, a full stop makes the pause."""
    joined = ""
    for position, line in enumerate(lines):
        plain = line
        if row := _TABLE_ROW.match(line):
            plain = ", ".join(cell.strip() for cell in row[1].split("|") if cell.strip())
            plain = "" if not any(map(str.isalnum, plain)) else plain
        for pattern, replacement in _LINE_RULES:
            plain = pattern.sub(replacement, plain)
        is_last = position == len(lines) - 1
        ends_block = _ENDS_ALONE.match(line) or (not is_last and _STARTS_BLOCK.match(lines[position + 1]))
        needs_stop = plain.strip() and not is_last and ends_block and not _ENDED.search(plain)
        joined += plain.rstrip() + (". " if needs_stop else " ")
    return joined

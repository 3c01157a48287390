"""Word lists that turn taking goes by, as data: back-channels, particles, and words that no sentence ends with."""

BACKCHANNELS = frozenset(
    "mhm mm mmm hm hmm mhmm uh huh uhhuh ah aha oh okay ok yeah yes yep right sure good nice wow really exactly "
    "cool great "
    "oui ouais d'accord voilà ja genau stimmt sí vale claro già certo sim goed precies haan accha نعم हाँ अच्छा".split()
)

# They ask for nothing unless others stand beside them: what a recognizer makes of half a breath.
PARTICLES = frozenset("a an and are at can could do for in is it of on that the then to would you".split())

# A turn that stops on one of these has not ended.
UNFINISHED = frozenset(
    "a an the and but or so because if when while that which who of to for from with at by in into about than as "
    "my your his her our their this these is are was were am will would can could should um uh er "
    "et mais ou de le la les un une und aber oder der die das ein eine zu mit y pero el los con que e ma o il di "
    "en maar of het een van".split()
)


def plain_words(text: str) -> list[str]:
    """The words in lower case, without punctuation around them; "…" stands for words that were not understood."""
    stripped = (word.strip(".,!?…-") for word in text.lower().replace("-", " ").split())
    return [word for word in stripped if word]


def asks_for_floor(text: str) -> bool:
    """Whether the words are more than back-channels and particles."""
    return any(word not in BACKCHANNELS | PARTICLES for word in plain_words(text))


def is_unfinished(text: str) -> bool:
    """Whether the words stop in mid-thought."""
    words = text.lower().split()
    return bool(words) and words[-1].strip("…-") in UNFINISHED

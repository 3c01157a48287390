"""The demo model's stories: each about a minute long, to be enjoyed or interrupted."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Story:
    """A story and the words by which a caller may ask for it."""

    topics: tuple[str, ...]
    text: str


STORIES = (
    Story(
        ("lighthouse", "sea", "ship", "keeper"),
        "On the last rock before the open sea stood a lighthouse, and in it lived a keeper named Marta, who had "
        "never once missed a night. Every evening she climbed two hundred and twelve steps, lit the lamp, and "
        "said good evening to the ships, although the ships were far too busy to answer. One winter night the fog "
        "came in so thick that even the light could not find its way through it. So Marta took the old brass horn "
        "from the wall, opened the window, and began to play the only tune she knew, which was a lullaby. Out in "
        "the fog, a captain heard it and turned his wheel. Then a second one did, and then a third. All night "
        "long she played, and one by one eleven ships crept past the rocks, as gently as children going to bed. "
        "In the morning the fog lifted, and the harbour was full. And since that day, whenever a ship passes the "
        "lighthouse at dusk, it sounds its horn, very softly, twice. It means: good evening, Marta.",
    ),
    Story(
        ("robin", "clock", "bird", "village"),
        "In a village between two hills there was a clock that was always seven minutes late. Nobody minded, "
        "because everybody was late together, and the bread was still warm when they came for it. Then a famous "
        "clockmaker from the city arrived, and he was horrified. He climbed the tower with his smallest tools and "
        "his largest frown, and opened the great brass case. Inside, right between the two biggest wheels, sat a "
        "robin on her nest, with four blue eggs under her. Every time the wheel came round, it waited for her to "
        "tuck in her tail. That was the seven minutes. The clockmaker looked at the robin, and the robin looked "
        "at the clockmaker. He sat there for a long while. Then he closed the case, came down the stairs, and "
        "told the people that the clock was perfect, and that the rest of the world was simply in a hurry. He "
        "stayed in that village for the rest of his life. And he was never on time again.",
    ),
    Story(
        ("snail", "letter", "post", "postman"),
        "There was once a snail who became a postman. The other animals laughed, for the fox could run, the "
        "swallow could fly, and the snail needed a whole morning to cross the garden path. But the fox lost half "
        "his letters, and the swallow read them all. The snail lost nothing and read nothing. He simply set out. "
        "One day a mouse gave him a letter for her sister behind the far wall, and it said, in very small "
        "writing: come for my birthday. The snail walked through rain, and through a night of frost, and around a "
        "puddle that he took for the ocean. When he arrived, it was spring, and the birthday had long gone by. "
        "The sister read the letter and began to laugh. My birthday is today, said the sister, and hers is on the "
        "same day as mine, for we are twins. You are not late, my dear snail. You are a year early, less one "
        "hour. And they put a candle on his shell, and walked back together, as slowly as they could.",
    ),
    Story(
        ("moon", "baker", "bread", "night"),
        "A baker once noticed that every night a little of his dough was missing. It was never much, only a piece "
        "as big as a button. So he hid behind the flour sacks and waited. At midnight the moon came in through "
        "the window, quite quietly, took one small pinch of dough, and left. The baker ran out into the street "
        "and shouted: what do you need it for? The moon blushed, which is seldom seen. I get thinner and thinner, "
        "said the moon, and every month I have to start again from nothing. A little dough helps. The baker "
        "thought about that. He was a kind man, and he knew what it was to start again from nothing. From then on "
        "he left a roll on the window sill each evening, with butter. The moon has grown round every month since, "
        "and always in time. And if you look closely when it is full, you can see the flour on its face.",
    ),
)

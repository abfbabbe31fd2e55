"""Names and things of a story exchanged for others of their kind, the same throughout a document.

A small model learns from this to look back for who a story is about, instead of remembering which names go
together. The lists hold what is common in the training stories.
"""

import re

GIRLS = """Lily Sue Mia Lucy Anna Amy Jane Sally Sara Sarah Daisy Lila Molly Jill Mary Emma Bella Mimi Jenny Luna Jen
Lulu Ann Lisa Emily Lola Grace Ella Tina Betty Kim Polly Millie Susie Rosie Kate Ellie Cindy Elly Sophie Clara Alice
Julie Kiki Ruby Jenna Carla Chloe Claire Annie Tilly Nina Zoe Ava Eva Maya Nora Rose Ivy Hannah Olivia""".split()
BOYS = """Tim Tom Ben Max Sam Timmy Jack Bob John Joe Billy Tommy Mark Jake Jimmy Leo Benny Jerry Sammy Pete Jim Ollie
Andy Bobby Dave Fred Charlie Peter Ted Alex Danny Bill James Toby Freddy Frank George Henry Tony Mike Joey Johnny Luke
David Carl Gary Adam Paul Dan Nick Oscar Eric Harry Jason Kevin Steve Matt Noah""".split()
PETS = """Spot Fluffy Bobo Buddy Whiskers Momo Rex Remy Binky Mittens Chirpy Pippin Spike Toto Coco Pip Biscuit Patch
Pepper Nibbles Bubbles Ziggy""".split()
COLOURS = "red blue green yellow pink purple white black brown".split()
ANIMALS = "cat dog rabbit bunny fox bear mouse squirrel lion monkey elephant pig cow horse wolf tiger".split()
TOYS = "ball doll car truck train kite robot boat balloon puzzle drum".split()
FOODS = "apple cake cookie sandwich banana carrot pie pizza pear muffin".split()
NAMES = (GIRLS, BOYS, PETS)
THINGS = (COLOURS, ANIMALS, TOYS, FOODS)
VOWELS = "aeiou"
# How often a kind of thing is exchanged; names always are.
THINGS_SHARE = 0.5

_names = re.compile(r"\b(?:" + "|".join(word for kind in NAMES for word in kind) + r")\b")
_things = re.compile(r"\b(?:([Aa]n?) )?(" + "|".join(word for kind in THINGS for word in kind) + r")(s?)\b")


def exchange(found, kinds, random):
    """A random one-to-one map of the words in `found` to words of the same kind."""
    out = {}
    for kind in kinds:
        old = [word for word in kind if word in found]
        new = random.permutation(kind)[: len(old)].tolist()
        out |= dict(zip(old, new))
    return out


def renamed(text, random):
    """The text with every known name, and about half of the kinds of things in it, exchanged."""
    names = exchange(set(_names.findall(text)), NAMES, random)
    text = _names.sub(lambda m: names[m.group()], text)
    kinds = [kind for kind in THINGS if random.random() < THINGS_SHARE]
    things = exchange({m.group(2) for m in _things.finditer(text)}, kinds, random)

    def thing(m):
        article, word, plural = m.groups()
        if word not in things:
            return m.group()
        word = things[word]
        if plural:
            word = {"mouse": "mice", "wolf": "wolves"}.get(word) or re.sub(r"y$", "ie", word) + "s"
        if article is None:
            return word
        return f"{article[0]}{'n' if word[0] in VOWELS else ''} {word}"

    return _things.sub(thing, text)


def drift(text):
    """Why the names of a text do not hold together, or None: a name that comes late or the first one that is lost."""
    found = [(m.start(), m.group()) for m in _names.finditer(text)]
    if not found:
        return None
    first, last = {}, {}
    for at, name in found:
        first.setdefault(name, at / len(text))
        last[name] = at / len(text)
    if max(first.values()) > 0.5:
        return "late name"
    if last[found[0][1]] < 0.5:
        return "lost name"
    return None

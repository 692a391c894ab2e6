"""How many persons a sentence tells of, by its words: the choice of v1's subset of TGIF."""

from __future__ import annotations

import re
from typing import Literal


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PERSON = _words("""
    man woman boy girl guy lady person someone somebody kid child baby toddler infant teen teenager youth adult male
    female gentleman dude human singer dancer player skater skateboarder boarder surfer snowboarder skier drummer
    guitarist pianist musician rapper actor actress model athlete gymnast wrestler boxer runner cyclist biker
    motorcyclist swimmer diver driver rider cowboy soldier officer policeman policewoman cop fireman doctor nurse
    teacher student reporter chef waiter waitress performer artist magician clown bride groom mother father mom dad mum
    grandmother grandfather grandma grandpa brother sister son daughter wife husband friend boyfriend girlfriend king
    queen prince princess celebrity cheerleader footballer goalkeeper golfer ballerina schoolgirl schoolboy
""")
_IRREGULAR = {
    "baby": "babies",
    "celebrity": "celebrities",
    "child": "children",
    "fireman": "firemen",
    "gentleman": "gentlemen",
    "lady": "ladies",
    "man": "men",
    "policeman": "policemen",
    "policewoman": "policewomen",
    "wife": "wives",
    "woman": "women",
}
_SEVERAL = frozenset(_IRREGULAR.get(noun, f"{noun}s") for noun in _PERSON) | _words("""
    people folks others everyone everybody couple group crowd audience band team family pair duo trio twins
""")
_ANIMAL = _words("""
    animal bear bird bunny calf cat chick cow deer dog dolphin duck elephant fox giraffe goat gorilla hamster hippo
    horse kangaroo kitten lamb lion llama monkey otter owl panda penguin pig polar puppy rabbit seal sheep sloth
    squirrel tiger turtle whale wolf
""")
_NOT_FILMED = _words("cartoon animated anime animation puppet doll statue drawing")


def persons_in(sentence: str) -> Literal["none", "one", "several"]:
    """How many persons an English sentence tells of.

    `several`: a word means more than one person (men, people, couple, others), or two words mean one each (a woman ...
    a man). `one`: one word does, or the same word again with an article that points back (a man ... the man). `none`:
    there is no such word, or the sentence is about a drawing or a puppet.

    A word that describes the next one does not count beside it (a girl dancer, a male tennis player, a baby elephant).
    Names are not known, and pronouns are not trusted: in TGIF, 'his' and 'her' often have the wrong gender.
    """
    words = [word.removesuffix("'s") for word in re.findall(r"[a-z]+(?:'s)?", sentence.lower())]
    if not _NOT_FILMED.isdisjoint(words):
        return "none"
    if not _SEVERAL.isdisjoint(words):
        return "several"
    persons: list[str] = []
    for place, word in enumerate(words):
        if word not in _PERSON:
            continue
        following = words[place + 1 : place + 3]
        describes = bool(following) and following[0] in _PERSON | _ANIMAL
        if word in ("male", "female") and "and" not in following:
            describes = not _PERSON.isdisjoint(following)
        again = word in persons and words[place - 1] in ("the", "this", "that")
        if not describes and not again:
            persons.append(word)
    return "several" if len(persons) > 1 else "one" if persons else "none"

#!/usr/bin/env python3
"""Makes the demo texts and the multiple-choice tasks: a small invented world, told in many ways.

The world (creatures, towns, people, tools and the facts about them) is fixed by WORLD_SEED. Every document is a random
walk through a small grammar: statements of facts, questions and answers, short stories whose endings follow from what
was said, and arithmetic with small numbers. The same arguments always give the same bytes; only the Python standard
library is used.

    generate.py OUTDIR                                  texts/{train,calibration,evaluate}.txt and tasks.jsonl
    generate.py --stream SEED --bytes N > more.txt      more training text of the same kind
"""
import argparse
import json
import pathlib
import random
import sys

WORLD_SEED = 20260
TASK_SEED = 77
TRAIN_SEED, CALIBRATION_SEED, EVALUATE_SEED = 1, 2, 3

COLOURS = "red blue green yellow grey brown white black purple crimson silver golden".split()
FOODS = ["moss", "berries", "fish", "nuts", "honey", "roots", "beetles", "clover", "snails", "mushrooms", "apples",
         "seeds", "reeds", "worms", "bread", "thistles", "ants", "cheese", "carrots", "bark", "eggs", "frogs", "plums", "salt"]
HOMES = ["a cave", "a hollow tree", "a burrow", "a marsh", "a nest", "a barn", "a pond", "a cliff", "a garden",
         "an old well", "a thicket", "a meadow", "a ruined tower", "a woodpile", "a haystack", "a river bank", "an attic",
         "a cellar", "a pine wood", "a gravel pit"]
SIZES = ["a thimble", "a mouse", "a cat", "a sheep", "a horse", "a house"]
SOUNDS = ["sings", "growls", "whistles", "hums", "clicks", "barks", "rattles", "hisses", "coos", "roars"]
CRAFTS = ["weaving", "pottery", "glass", "bells", "cheese", "rope", "paper", "boats", "candles", "knives", "baskets",
          "clocks", "carpets", "soap", "lamps", "drums", "hats", "violins", "salt", "needles"]
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
TRADES = ["baker", "miller", "smith", "sailor", "doctor", "farmer", "painter", "tailor", "hunter", "teacher", "mason",
          "singer", "carpenter", "judge", "fisher", "guard"]
MATERIALS = "wood iron copper clay glass stone bone leather paper tin".split()
USES = ["cutting wool", "catching eels", "lighting fires", "measuring grain", "calling dogs", "cleaning windows",
        "opening jars", "drying fruit", "mending nets", "counting stars", "cracking nuts", "stirring soup",
        "sharpening knives", "polishing boots"]
PLACES = ["market", "bridge", "mill", "harbour", "inn", "library", "orchard", "school", "tower", "bakery", "stable",
          "garden", "chapel", "well", "forge", "meadow"]
CONTAINERS = ["basket", "box", "drawer", "cupboard", "sack", "jar", "barrel", "bag", "chest", "boat", "cart", "hat"]
THINGS = ["kettle", "ribbon", "lantern", "spoon", "letter", "map", "button", "key", "feather", "coin", "candle", "comb",
          "mirror", "whistle", "ring", "flute", "book", "rope", "needle", "bell", "cup", "glove", "scarf", "pear"]
COUNTABLE = ["pears", "coins", "buttons", "nuts", "eggs", "candles", "shells", "beads", "stones", "plums", "ribbons",
             "cakes"]
MOODS = ["happy", "tired", "proud", "worried", "curious", "angry", "hungry", "calm", "sad", "brave", "shy", "merry",
         "lonely", "sleepy", "grateful", "puzzled"]
WEATHER = ["The rain fell softly", "The sun was warm", "A cold wind blew", "Snow lay on the roofs", "Fog hid the road",
           "The stars were bright", "Thunder rolled far away", "The evening was quiet", "Leaves drifted down",
           "Ice covered the ponds"]
TIMES = ["One morning", "Late one night", "On a market day", "Long ago", "Last winter", "In early spring", "At noon",
         "Before breakfast", "After the harvest", "On the first day of summer", "Yesterday", "Many years later"]
VERBS = ["walked", "hurried", "ran", "rode", "wandered", "sailed", "climbed", "crept", "danced", "marched"]
MANNERS = ["slowly", "quickly", "quietly", "bravely", "without a word", "with a smile", "as fast as possible",
           "in the dark", "before the others", "by mistake", "with great care", "for the second time"]
THOUGHTS = ["nobody would ever believe it", "it was time to go home", "the winter would be long",
            "there must be another way", "a promise is a promise", "the old songs were true",
            "it was better to wait", "two friends are better than one", "the road was not so far",
            "everything would look different tomorrow", "even small things matter", "it had been a fine day"]


class World:
    """The fixed facts. Names are pronounceable and unique; every attribute is drawn once from WORLD_SEED."""

    def __init__(self, creatures=900, towns=240, people=240, tools=160):
        rng = random.Random(WORLD_SEED)
        taken = set(sum((x.split() for x in COLOURS + FOODS + HOMES + THINGS + PLACES + MOODS), []))

        def name(starts, middles, ends):
            while True:
                word = rng.choice(starts) + rng.choice(middles) + rng.choice(ends)
                if word not in taken and len(word) <= 9:
                    taken.add(word)
                    return word

        soft = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr", "gl", "kr", "pl", "sn", "tr"]
        vowels = ["a", "e", "i", "o", "u", "a", "e", "o"]

        def syllable():
            return rng.choice(soft) + rng.choice(vowels)

        creature_ends = ["mor", "tak", "bin", "lok", "fen", "dru", "vit", "zel", "gus", "nip", "rax", "wim"]
        town_ends = ["ford", "holm", "wick", "mere", "stead", "burg", "dale", "haven"]
        tool_ends = ["ket", "pin", "lode", "dle", "stick", "ware", "nob", "jack"]
        self.rivers = [name([syllable().title()], ["l", "n", "r", "s", "m"], ["a", "en", "ow", "is"]) for _ in range(64)]
        self.creatures = {}
        for _ in range(creatures):
            self.creatures[name([syllable()], ["", "", "l", "n", "r", "m", "s"], creature_ends)] = {
                "colour": rng.choice(COLOURS), "food": rng.choice(FOODS), "home": rng.choice(HOMES),
                "size": rng.choice(SIZES), "sound": rng.choice(SOUNDS)}
        self.towns = {}
        for _ in range(towns):
            self.towns[name([syllable().title()], ["", "l", "n", "r"], town_ends)] = {
                "river": rng.choice(self.rivers), "craft": rng.choice(CRAFTS), "day": rng.choice(DAYS)}
        town_names, creature_names = list(self.towns), list(self.creatures)
        self.people = {}
        for _ in range(people):
            self.people[name([syllable().title()], ["l", "n", "r", "m", "d"], ["a", "o", "i", "us", "el", "an"])] = {
                "town": rng.choice(town_names), "trade": rng.choice(TRADES), "pet": rng.choice(creature_names),
                "colour": rng.choice(COLOURS)}
        self.tools = {}
        for _ in range(tools):
            self.tools[name([syllable()], ["l", "n", "r", "m"], tool_ends)] = {
                "material": rng.choice(MATERIALS), "use": rng.choice(USES)}
        self.creature_names, self.town_names = creature_names, town_names
        self.people_names, self.tool_names = list(self.people), list(self.tools)


# What can be asked: (kind, attribute, question, answer lead-in, statements). {n} is the name, {v} the value.
FACTS = [
    ("creature", "colour", "What colour is the {n}?", ["The {n} is {v}.", "Every {n} has {v} fur.", "A {n} is always {v}."]),
    ("creature", "food", "What does the {n} eat?", ["The {n} eats {v}.", "A {n} lives on {v}.", "Nothing pleases a {n} like {v}."]),
    ("creature", "home", "Where does the {n} live?", ["The {n} lives in {v}.", "Look for the {n} in {v}.", "A {n} sleeps in {v}."]),
    ("creature", "size", "How big is the {n}?", ["The {n} is as big as {v}.", "A {n} grows to the size of {v}."]),
    ("creature", "sound", "What does the {n} do at night?", ["At night the {n} {v}.", "When it is dark, a {n} {v}."]),
    ("town", "river", "Which river runs through {n}?", ["The river {v} runs through {n}.", "{n} stands on the river {v}."]),
    ("town", "craft", "What is {n} known for?", ["{n} is known for {v}.", "People come to {n} for its {v}."]),
    ("town", "day", "When is the market in {n}?", ["The market in {n} is on {v}.", "In {n} they trade every {v}."]),
    ("person", "town", "Where does {n} live?", ["{n} lives in {v}.", "The house of {n} is in {v}."]),
    ("person", "trade", "What is the trade of {n}?", ["{n} is a {v}.", "By trade {n} is a {v}."]),
    ("person", "pet", "Which creature does {n} keep?", ["{n} keeps a {v}.", "At home {n} has a {v}."]),
    ("person", "colour", "Which colour does {n} like?", ["{n} likes {v}.", "{n} always wears {v}."]),
    ("tool", "material", "What is a {n} made of?", ["A {n} is made of {v}.", "They make the {n} from {v}."]),
    ("tool", "use", "What is a {n} for?", ["A {n} is for {v}.", "You need a {n} for {v}."]),
]
KIND_WEIGHTS = {"creature": 5, "town": 4, "person": 4, "tool": 3}


class Teller:
    """Writes documents about the world with one random generator."""

    def __init__(self, world, seed):
        self.world, self.rng = world, random.Random(seed)
        self.tables = {"creature": world.creatures, "town": world.towns, "person": world.people, "tool": world.tools}
        self.names = {"creature": world.creature_names, "town": world.town_names, "person": world.people_names,
                      "tool": world.tool_names}
        # Every single fact is equally likely to be told, whatever its kind.
        self.fact_list = [(kind, n, attribute, question, statements) for kind, attribute, question, statements in FACTS
                          for n in self.names[kind]]

    # -- facts ---------------------------------------------------------------------------------------------------
    def fact(self):
        kind, n, attribute, question, statements = self.rng.choice(self.fact_list)
        return n, self.tables[kind][n][attribute], question, statements

    def person(self):
        return self.rng.choice(self.world.people_names)

    def town(self):
        return self.rng.choice(self.world.town_names)

    def statement(self):
        n, v, _, statements = self.fact()
        text = self.rng.choice(statements).format(n=n, v=v)
        r = self.rng.random()
        if r < 0.62 or text.startswith("Look"):
            return text
        lead = text if text[0].isupper() and text.split()[0] in self.world.people or text.split()[0] in self.world.towns \
            else text[0].lower() + text[1:]
        if r < 0.72:
            return f"{self.person()} says that {lead}"
        if r < 0.80:
            return f"As they tell it in {self.town()}, {lead}"
        if r < 0.88:
            return f"{self.person()} told {self.person()} that {lead}"
        if r < 0.94:
            return f"{self.rng.choice(TIMES)} {self.person()} learned that {lead}"
        return f"Remember that {lead}"

    def facts_document(self):
        return " ".join(self.statement() for _ in range(self.rng.randint(3, 7)))

    def portrait_document(self):
        kind = self.rng.choice(["creature", "creature", "town", "person"])
        n = self.rng.choice(self.names[kind])
        rows = [f for f in FACTS if f[0] == kind]
        self.rng.shuffle(rows)
        parts = [self.rng.choice(s).format(n=n, v=self.tables[kind][n][a]) for _, a, _, s in rows]
        return " ".join(parts[:self.rng.randint(2, len(parts))])

    def questions_document(self):
        lines = []
        for _ in range(self.rng.randint(1, 4)):
            if self.rng.random() < 0.86:
                n, v, question, _ = self.fact()
                lines.append(f"Question: {question.format(n=n)}\nAnswer: {v}")
            else:
                text, answer = self.sum_question()
                lines.append(f"Question: {text}\nAnswer: {answer}")
        return "\n".join(lines)

    # -- arithmetic ----------------------------------------------------------------------------------------------
    def sum_values(self):
        a, b = self.rng.randint(0, 20), self.rng.randint(0, 20)
        if self.rng.random() < 0.5:
            return a, "+", b, a + b
        a, b = max(a, b), min(a, b)
        return a, "-", b, a - b

    def sum_question(self):
        a, op, b, c = self.sum_values()
        return f"What is {a} {op} {b}?", str(c)

    def sums_document(self):
        lines = []
        for _ in range(self.rng.randint(3, 8)):
            a, op, b, c = self.sum_values()
            lines.append(f"{a} {op} {b} = {c}")
        return self.rng.choice(["; ", "\n", ", "]).join(lines)

    def counting(self):
        """(text, question, answer number)"""
        r, who = self.rng, self.person()
        other = r.choice([p for p in self.world.people_names if p != who])
        what = r.choice(COUNTABLE)
        a, b = r.randint(3, 15), r.randint(1, 9)
        if r.random() < 0.5:
            return f"{who} had {a} {what}. {other} gave {who} {b} more.", f"How many {what} did {who} have then?", a + b
        b = min(a - 1, b)
        return f"{who} had {a} {what}. {who} gave {b} to {other}.", f"How many {what} did {who} have then?", a - b

    def counting_document(self):
        text, question, answer = self.counting()
        what = question.split()[2]
        who = question.split()[4]
        if self.rng.random() < 0.5:
            return f"{text}\nQuestion: {question}\nAnswer: {answer}"
        return f"{text} Then {who} had {answer} {what} and {self.rng.choice(THOUGHTS)}."

    # -- stories -------------------------------------------------------------------------------------------------
    def puzzle(self):
        """A few sentences and what follows from them: (story, [(prompt, answer, wrong answers)])."""
        r = self.rng
        people, things = r.sample(self.world.people_names, 4), r.sample(THINGS, 4)
        order, asked = r.sample(range(3), 3), []
        if r.random() < 0.5:
            boxes = r.sample(CONTAINERS, 4)
            story = " ".join(f"{people[i]} put the {things[i]} in the {boxes[i]}." for i in order)
            for k in r.sample(range(3), 3):
                lead = r.choice([f"The {things[k]} is in the", f"So {people[k]} found the {things[k]} in the",
                                 f"Question: Where is the {things[k]}?\nAnswer: in the"])
                asked.append((lead, boxes[k], [boxes[i] for i in range(4) if i != k]))
        else:
            verb = r.choice(["found", "bought", "carried", "lost"])
            story = " ".join(f"{people[i]} {verb} a {things[i]}." for i in order)
            for k in r.sample(range(3), 3):
                lead = r.choice([f"Indeed {people[k]} {verb} a", f"Nobody else but {people[k]} {verb} a",
                                 f"Question: What was it that {people[k]} {verb}?\nAnswer: a"])
                asked.append((lead, things[k], [things[i] for i in range(4) if i != k]))
        return story, asked

    def puzzle_document(self):
        story, asked = self.puzzle()
        return "\n".join([story] + [f"{lead} {answer}" + ("" if lead.startswith("Question") else ".") for lead, answer, _ in asked])

    def story_document(self):
        r, w = self.rng, self.world
        hero, friend = r.sample(w.people_names, 2)
        place, thing = r.choice(PLACES), r.choice(THINGS)
        adjective, mood = r.choice(COLOURS), r.choice(MOODS)
        home = w.people[hero]["town"]
        out = [r.choice([
            f"{r.choice(TIMES)} {hero} of {home} {r.choice(VERBS)} to the {place} with a {adjective} {thing}.",
            f"{r.choice(TIMES)} {hero} the {w.people[hero]['trade']} lost a {adjective} {thing} near the {place}.",
            f"{hero} lived in {home} and owned a {adjective} {thing}. {r.choice(TIMES)} it was gone from the {place}."])]
        for _ in range(r.randint(2, 5)):
            k = r.randrange(9)
            if k == 0:
                out.append(f"{r.choice(WEATHER)} and {hero} felt {r.choice(MOODS)}.")
            elif k == 1:
                out.append(f"{friend} came from {w.people[friend]['town']}, {r.choice(MANNERS)}.")
            elif k == 2:
                pet = w.people[friend]["pet"]
                out.append(f"The {pet} of {friend} was there too; it {w.creatures[pet]['sound']} at night and eats {w.creatures[pet]['food']}.")
            elif k == 3:
                out.append(f'"{self.statement()}" said {r.choice([hero, friend])}.')
            elif k == 4:
                town = self.town()
                out.append(f"They {r.choice(VERBS)} {r.choice(MANNERS)} to {town}, where the {w.towns[town]['river']} runs, to buy {w.towns[town]['craft']}.")
            elif k == 5:
                tool = r.choice(w.tool_names)
                out.append(f"{friend} had brought a {tool} of {w.tools[tool]['material']}, which is for {w.tools[tool]['use']}.")
            elif k == 6:
                c = r.choice(w.creature_names)
                out.append(f"Near {w.creatures[c]['home']} they saw a {w.creatures[c]['colour']} {c}, as big as {w.creatures[c]['size']}.")
            elif k == 7:
                out.append(f"{r.choice([hero, friend])} thought that {r.choice(THOUGHTS)}.")
            else:
                out.append(f"{r.choice([hero, friend])} put a {r.choice(THINGS)} in the {r.choice(CONTAINERS)}, {r.choice(MANNERS)}.")
        out.append(r.choice([
            f"In the end {friend} gave the {adjective} {thing} back to {hero}, and {hero} was {mood}.",
            f"So {hero} left the {thing} at the {place} and went home to {home}.",
            f"That evening {hero} was {mood}, for {r.choice(THOUGHTS)}.",
            f"The {thing} was {adjective} still, and {hero} kept it in the {r.choice(CONTAINERS)}."]))
        return " ".join(out)

    def document(self):
        r = self.rng.random()
        if r < 0.34:
            return self.facts_document()
        if r < 0.46:
            return self.portrait_document()
        if r < 0.66:
            return self.questions_document()
        if r < 0.72:
            return self.sums_document()
        if r < 0.78:
            return self.counting_document()
        if r < 0.87:
            return self.puzzle_document()
        return self.story_document()


def stream(seed, size, skip=frozenset()):
    """Yields documents until about `size` bytes have been given; documents in `skip` are left out."""
    teller, given = Teller(World(), seed), 0
    while given < size:
        document = teller.document()
        if document not in skip:
            given += len(document) + 2
            yield document


def tasks(count):
    """Multiple choice with four answers each: facts of the world, sums, counting and questions about a short story."""
    world = World()
    teller = Teller(world, TASK_SEED)
    r = teller.rng
    pools = {}
    for kind, attribute, _, _ in FACTS:
        pools[kind, attribute] = sorted({row[attribute] for row in teller.tables[kind].values()})
    facts = list(teller.fact_list)
    r.shuffle(facts)
    items, used = [], set()

    def add(prompt, answer, wrong):
        if prompt in used:
            return
        used.add(prompt)
        choices = [answer] + list(wrong)
        r.shuffle(choices)
        items.append({"prompt": prompt, "choices": [" " + c for c in choices], "answer": choices.index(answer)})

    while len(items) < count:
        k = len(items) % 10
        if k < 4:
            kind, n, attribute, question, _ = facts.pop()
            value = teller.tables[kind][n][attribute]
            add(f"Question: {question.format(n=n)}\nAnswer:", value, r.sample([v for v in pools[kind, attribute] if v != value], 3))
        elif k < 7:
            kind, n, attribute, _, statements = facts.pop()
            value = teller.tables[kind][n][attribute]
            lead = [s.split("{v}")[0] for s in statements if "{n}" in s.split("{v}")[0]]
            if lead:
                add(r.choice(lead).format(n=n).rstrip(), value, r.sample([v for v in pools[kind, attribute] if v != value], 3))
        elif k < 8:
            text, answer = teller.sum_question()
            near = [str(int(answer) + d) for d in (-10, -3, -2, -1, 1, 2, 3, 10) if int(answer) + d >= 0]
            add(f"Question: {text}\nAnswer:", answer, r.sample(near, 3))
        elif k < 9:
            text, question, number = teller.counting()
            near = [str(number + d) for d in (-4, -3, -2, -1, 1, 2, 3, 4) if number + d >= 0]
            add(f"{text}\nQuestion: {question}\nAnswer:", str(number), r.sample(near, 3))
        else:
            story, asked = teller.puzzle()
            lead, answer, wrong = r.choice(asked)
            add(f"{story}\n{lead}", answer, wrong)
    return items


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outdir", nargs="?", help="folder that gets texts/ and tasks.jsonl")
    parser.add_argument("--stream", type=int, metavar="SEED", help="write training text made with this seed to standard output")
    parser.add_argument("--bytes", type=int, default=1_000_000)
    options = parser.parse_args()
    if options.stream is not None:
        for document in stream(options.stream, options.bytes):
            sys.stdout.write(document + "\n\n")
        return
    if not options.outdir:
        parser.error("name a folder or use --stream")
    out = pathlib.Path(options.outdir)
    (out / "texts").mkdir(parents=True, exist_ok=True)
    seen = set()
    for name, seed, size in (("evaluate", EVALUATE_SEED, 150_000), ("calibration", CALIBRATION_SEED, 200_000),
                             ("train", TRAIN_SEED, 2_000_000)):
        documents = list(stream(seed, size, frozenset(seen)))
        seen.update(documents)
        (out / "texts" / f"{name}.txt").write_text("\n\n".join(documents) + "\n", encoding="utf-8", newline="\n")
    with open(out / "tasks.jsonl", "w", encoding="utf-8", newline="\n") as file:
        for item in tasks(400):
            file.write(json.dumps(item, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

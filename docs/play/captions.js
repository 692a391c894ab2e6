// What people type, as the sentence that the model was trained on; by the same rules as the command line (wordings.py).
// Each kind of captions has `example`, a sentence; `choices`, what can be picked; `tell`, a sentence of what is picked;
// and `read`, which gives {sentence, picked} of a text, or {problem}: why there is none, and what can be said instead.

import { likest, nearest, shown, words } from "./words.js";

const NO_WORDS = "Type a caption, or choose one below.";

/** One digit and how it moves. */
export class Digits {
  /** `rules` are those of the model's notes. */
  constructor(rules) {
    this.rules = rules;
    this.example = rules.example;
    this.glyph = new RegExp(`^${rules.glyph}(?: ?(?:, and|,|and) |$)`);
    const ways = rules.ways.flatMap(([way]) => way.split(" "));
    this.known = [...new Set([...rules.vocabulary, ...rules.numbers, ...ways, "the", "a", "number"])];
    const motions = Object.entries(rules.motions).map(([name, phrase]) => [name, phrase.replace(" is moving ", "") || name]);
    this.choices = [
      { name: "digit", label: "Digit", buttons: true, values: rules.numbers.map((_, digit) => [String(digit), String(digit)]) },
      { name: "motion", label: "Motion", buttons: true, values: motions },
    ];
  }

  tell({ digit = "3", motion = "still" }) {
    return `digit ${digit}${this.rules.motions[motion]}`;
  }

  read(text) {
    const rest = text.normalize("NFKC").toLowerCase().replace(/([,.!])/g, " $1 ").replaceAll("-and-", " and ")
      .split(/\s+/).filter(Boolean).join(" ").replace(/[ .!]+$/, "");
    if (!rest) return { problem: NO_WORDS };
    const found = rest.match(this.glyph);
    if (found && found[0].length === rest.length) {
      const { number, way } = found.groups;
      const digit = /^[0-9]$/.test(number) ? number : String(this.rules.numbers.indexOf(number));
      const picked = { digit, motion: way ? this.rules.ways.find(([name]) => name === way)[1] : "still" };
      return { sentence: this.tell(picked), picked };
    }
    if (found) {
      const more = rest.slice(found[0].length).match(this.glyph);
      if (more) return { problem: "This model draws one digit; name one." };
    }
    const typed = rest.slice(0, 200).replace(/[^\p{L}\p{N} ]/gu, " ").split(" ").filter(Boolean);
    const strange = typed.find((word) => !this.known.includes(word));
    const likely = this.likely(typed);
    if (strange === undefined) return { problem: `That is not understood. Did you mean “${likely}”?` };
    return {
      problem: `The word “${shown(strange)}” is unknown; the nearest that is known is “${nearest(strange, this.known)}”. ` +
        `Did you mean “${likely}”?`,
    };
  }

  /** The sentence that words come nearest to. */
  likely(typed) {
    const known = typed.map((word) => (this.known.includes(word) ? word : nearest(word, this.known))).join(" ");
    if (known !== typed.join(" ")) {
      const { sentence } = this.read(known);
      if (sentence) return sentence;
    }
    const digit = typed.map((word) => (/^[0-9]$/.test(word) ? word : this.rules.numbers.indexOf(word))).find((one) => one >= 0);
    return digit === undefined ? this.example : this.tell({ digit });
  }
}

const LETTER = "[\\p{L}\\p{N}]";
const EDGE = `(?:(?<=${LETTER})(?!${LETTER})|(?<!${LETTER})(?=${LETTER}))`;

/** A pattern of Python, for which all letters are letters at `\b`. */
function pattern(text) {
  return new RegExp(text.replaceAll("\\b", EDGE), "gu");
}

/** A character of the sprites: who it is, what it wears and does (sprite_captions.py). */
export class Characters {
  constructor(rules) {
    this.rules = rules;
    this.example = rules.example;
    this.hair = pattern(rules.hair);
    this.patterns = Object.entries(rules.patterns).map(([name, text]) => [name, pattern(text)]);
    this.choices = Object.entries(rules.values).map(([name, values]) => {
      return { name, label: label(name), open: "any", values: values.map((value) => [value, value]) };
    });
  }

  tell(picked) {
    const part = (name) => {
      const number = this.rules.values[name].indexOf(picked[name]);
      return number < 0 ? "" : this.rules.parts[name][number];
    };
    const joined = (...parts) => parts.filter(Boolean).join(" ");
    const hair = joined(part("hair_style"), part("hair_colour"));
    const worn = ["top", "bottom", "shoes"].map(part).filter(Boolean);
    const clothes = joined(worn.slice(0, -1).join(", "), worn.length > 1 && "and", worn.at(-1));
    const who = joined("a", part("skin"), part("build") || "person", hair && `with ${hair} hair`);
    return joined(who, clothes && `in ${clothes}`, part("action")) + part("direction");
  }

  read(text) {
    const { fillers, known, likeness, same } = this.rules;
    let rest = words(text).map((word) => {
      const meant = known.includes(word) ? word : likest(word, known, likeness) ?? word;
      return Object.hasOwn(same, meant) ? same[meant] : meant;
    }).join(" ");
    if (!rest) return { problem: NO_WORDS };
    const picked = {};
    const twice = [];
    const keep = (name, value) => {
      if (value === undefined) return;
      if (name in picked) twice.push(label(name).toLowerCase());
      picked[name] = value;
    };
    for (const { groups } of rest.matchAll(this.hair)) {
      keep("hair_style", groups.style);
      keep("hair_colour", groups.colour);
    }
    rest = rest.replace(this.hair, " , ");
    for (const [name, said] of this.patterns) {
      for (const { groups } of rest.matchAll(said)) keep(name, groups.value);
      rest = rest.replace(said, " , ");
    }
    const unknown = rest.split(/[ ,]+/).find((word) => word && !fillers.includes(word));
    const example = `one says, for example, “${this.example}”.`;
    if (twice.length) return { problem: `The caption says two things of the ${twice[0]}; ${example}` };
    if (unknown) return { problem: `“${shown(unknown)}” is not understood there; ${example}` };
    if (!Object.keys(picked).length) return { problem: `The caption says nothing of a character; ${example}` };
    return { sentence: this.tell(picked), picked };
  }
}

function label(name) {
  const text = name.replace("_", " ");
  return text[0].toUpperCase() + text.slice(1);
}

/** An animated emoji: any words that the model knows (vocabulary.py). */
export class Emoji {
  constructor(rules) {
    this.rules = rules;
    this.example = rules.example;
    const kinds = rules.kinds.flatMap(([group, captions]) => captions.map((caption) => [caption, caption.replace(" with {} skin", ""), group]));
    this.choices = [
      { name: "kind", label: "Who or what", values: kinds },
      { name: "skin", label: "Skin", values: rules.skins.map((skin) => [skin, skin]) },
    ];
    this.known = new Map(kinds.flatMap(([kind]) => rules.skins.map((skin) => [words(this.tell({ kind, skin })).join(" "), { kind, skin }])));
  }

  tell({ kind = this.choices[0].values[0][0], skin = this.rules.skins[0] }) {
    return kind.replace("{}", skin);
  }

  read(text) {
    const { vocabulary, longest } = this.rules;
    const typed = words(text);
    if (!typed.length) return { problem: NO_WORDS };
    const strange = typed.find((word) => !vocabulary.includes(word));
    if (strange !== undefined) {
      const near = nearest(strange, vocabulary);
      return {
        problem: `The word “${shown(strange)}” is unknown; the nearest that is known is “${near}”. ` +
          `A caption is, for example, “${this.example}”.`,
      };
    }
    if (typed.length > longest) return { problem: `A caption here has at most ${longest} words; this one has ${typed.length}.` };
    const picked = this.known.get(typed.join(" "));
    return { sentence: picked ? this.tell(picked) : typed.join(" "), picked };
  }
}

// What people type, as the sentence that the model was trained on; by the same rules as the command line (wordings.py).

/** How many letters have to be changed, added or left out to make one word of another. */
function distance(one, other) {
  let row = Array.from({ length: other.length + 1 }, (_, i) => i);
  for (let i = 0; i < one.length; i++) {
    const above = row;
    row = [i + 1];
    for (let j = 0; j < other.length; j++) {
      row.push(Math.min(above[j + 1] + 1, row[j] + 1, above[j] + (one[i] === other[j] ? 0 : 1)));
    }
  }
  return row[other.length];
}

function nearest(text, known) {
  return known.reduce((best, one) => (distance(text, one) < distance(text, best) ? one : best));
}

export class Captions {
  /** `rules` are those of model.json. */
  constructor(rules) {
    this.rules = rules;
    this.glyph = new RegExp(`^${rules.glyph}(?: ?(?:, and|,|and) |$)`);
    const ways = rules.ways.flatMap(([way]) => way.split(" "));
    this.known = [...new Set([...rules.vocabulary, ...rules.numbers, ...ways, "the", "a", "number"])];
  }

  sentence(digit, motion) {
    return `digit ${digit}${this.rules.motions[motion]}`;
  }

  /** {sentence}, or {problem}: why there is none, and what can be said instead. */
  read(text) {
    const rest = text.normalize("NFKC").toLowerCase().replace(/([,.!])/g, " $1 ").replaceAll("-and-", " and ")
      .split(/\s+/).filter(Boolean).join(" ").replace(/[ .!]+$/, "");
    if (!rest) return { problem: "Type a caption, or pick a digit and how it moves." };
    const found = rest.match(this.glyph);
    if (found && found[0].length === rest.length) {
      const { number, way } = found.groups;
      const digit = /^[0-9]$/.test(number) ? number : this.rules.numbers.indexOf(number);
      const motion = way ? this.rules.ways.find(([name]) => name === way)[1] : "still";
      return { sentence: this.sentence(digit, motion) };
    }
    if (found) {
      const more = rest.slice(found[0].length).match(this.glyph);
      if (more) return { problem: "This page draws one digit; name one." };
    }
    const words = rest.slice(0, 200).replace(/[^\p{L}\p{N} ]/gu, " ").split(" ").filter(Boolean);
    const strange = words.find((word) => !this.known.includes(word));
    const likely = this.likely(words);
    if (strange === undefined) return { problem: `That is not understood. Did you mean “${likely}”?` };
    const shown = strange.length > 20 ? `${strange.slice(0, 20)}…` : strange;
    return {
      problem: `The word “${shown}” is unknown; the nearest that is known is “${nearest(strange, this.known)}”. ` +
        `Did you mean “${likely}”?`,
    };
  }

  /** The sentence that words come nearest to. */
  likely(words) {
    const known = words.map((word) => (this.known.includes(word) ? word : nearest(word, this.known))).join(" ");
    if (known !== words.join(" ")) {
      const { sentence } = this.read(known);
      if (sentence) return sentence;
    }
    const named = words.map((word) => (/^[0-9]$/.test(word) ? word : this.rules.numbers.indexOf(word))).find((one) => one >= 0);
    return named === undefined ? this.sentence(3, "sideways") : this.sentence(named, "still");
  }

  /** The numbers of a sentence's words, 1 for the vocabulary's first, filled up to the length that the model takes. */
  tokens(sentence) {
    const numbers = sentence.split(" ").map((word) => this.rules.vocabulary.indexOf(word) + 1);
    return [...numbers, ...new Array(this.rules.longest - numbers.length).fill(this.rules.padding)];
  }
}

// What the words of a caption are, and which known word one that is not known may be.

/** The words: lower case, no punctuation, no "the"; by the same rules as in Python (words.py). */
export function words(text) {
  return text.normalize("NFKC").toLowerCase().replaceAll("ß", "ss").normalize("NFKC")
    .replace(/[\p{Cf}'’]/gu, "").replace(/[\p{P}\p{S}\p{Z}\p{C}]/gu, " ").normalize("NFKC")
    .split(/\s+/).filter((word) => word && word !== "the");
}

/** The numbers of a sentence's words, 1 for the vocabulary's first, filled up to the length that the model takes. */
export function tokens(sentence, { vocabulary, longest, padding }) {
  const numbers = words(sentence).map((word) => vocabulary.indexOf(word) + 1);
  return [...numbers, ...new Array(longest - numbers.length).fill(padding)];
}

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

export function nearest(text, known) {
  return known.reduce((best, one) => (distance(text, one) < distance(text, best) ? one : best));
}

/** The known word that is most like another, if its likeness is enough; as Python's difflib.get_close_matches. */
export function likest(word, known, enough) {
  let [best, most] = [null, enough];
  for (const one of known) {
    const found = likeness([...one], [...word]);
    if (found >= most) [best, most] = [one, found]; // of equals the last
  }
  return best;
}

/** Ratcliff and Obershelp (1988): which share of two words' letters is in common runs. */
function likeness(one, other) {
  return (2 * common(one, other)) / (one.length + other.length);
}

/** Letters of the longest common run, and of those before and behind it. */
function common(one, other) {
  let [longest, start, otherStart] = [0, 0, 0];
  let above = [];
  one.forEach((letter, i) => {
    const row = [];
    other.forEach((candidate, j) => {
      if (letter !== candidate) return;
      row[j] = (above[j - 1] ?? 0) + 1;
      if (row[j] > longest) [longest, start, otherStart] = [row[j], i - row[j] + 1, j - row[j] + 1];
    });
    above = row;
  });
  if (!longest) return 0;
  const before = common(one.slice(0, start), other.slice(0, otherStart));
  return longest + before + common(one.slice(start + longest), other.slice(otherStart + longest));
}

/** A word for a message, not longer than a line. */
export function shown(word) {
  return word.length > 20 ? `${word.slice(0, 20)}…` : word;
}

// What a caption can say, to be picked: buttons where there are few, and lists.

/**
 * `choices` are {name, label, values}, each value [value, label, group]; with `buttons`, or with a label that says that
 * nothing is said, `open`. `pick` is called with a name, a value, and after how many milliseconds nothing more is picked.
 * Gives {elements, show}; `show` takes what is picked, by name.
 */
export function choicesOf(choices, pick) {
  const made = choices.map((choice) => (choice.buttons ? buttons(choice, pick) : list(choice, pick)));
  return {
    elements: made.map(({ element }) => element),
    show: (picked) => made.forEach(({ show }, i) => show(picked[choices[i].name])),
  };
}

function buttons({ name, label, values }, pick) {
  const element = document.createElement("div");
  element.className = "play-picks";
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", label);
  const all = values.map(([value, text]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.value = value;
    button.addEventListener("click", () => pick(name, value, 0));
    return button;
  });
  element.append(...all);
  return { element, show: (picked) => all.forEach((button) => button.setAttribute("aria-pressed", String(button.value === picked))) };
}

function list({ name, label, open, values }, pick) {
  const element = document.createElement("div");
  element.className = "play-list";
  const select = document.createElement("select");
  select.id = `play-choice-${name}`;
  const title = document.createElement("label");
  title.htmlFor = select.id;
  title.textContent = label;
  const none = new Option(open ?? "as typed", "");
  none.hidden = none.disabled = !open; // then it is shown, but not picked
  select.append(none);
  const groups = new Map();
  for (const [value, text, group] of values) {
    if (group && !groups.has(group)) {
      groups.set(group, document.createElement("optgroup"));
      groups.get(group).label = group;
      select.append(groups.get(group));
    }
    (groups.get(group) ?? select).append(new Option(text, value));
  }
  // Keys move through a list one value at a time.
  select.addEventListener("change", () => pick(name, select.value || undefined, 400));
  element.append(title, select);
  return { element, show: (picked) => (select.value = picked ?? "") };
}

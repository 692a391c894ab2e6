// What the pages can do beyond their forms: keys, waiting for the clip, and trying again while nothing can be saved.
"use strict";

const PAUSE = 2000; // milliseconds between two tries

// A page that the browser kept shows the scores of that time.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

for (const form of document.querySelectorAll('form[action*="/start"]')) {
  form.addEventListener("submit", () => setTimeout(() => { form.querySelector("button").disabled = true; }));
}

const form = document.getElementById("scores");
if (form) {
  const clip = document.getElementById("clip");
  const status = document.getElementById("status");
  const keys = document.getElementById("keys");
  let saving = false;

  const say = (text, trouble = false) => {
    if (status.textContent !== text) status.textContent = text;
    status.classList.toggle("trouble", trouble);
  };
  const shown = () => clip.complete && clip.naturalWidth > 0;
  const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

  const failed = () => say("This video could not be loaded; please reload the page.", true);
  const loaded = () => {
    if (clip.dataset.following) new Image().src = clip.dataset.following; // so that it is there at once
  };
  clip.addEventListener("load", loaded);
  clip.addEventListener("error", failed);
  if (clip.complete) (shown() ? loaded : failed)();

  // Nobody leaves with a rating that is not saved without being asked.
  const ask = (event) => event.preventDefault();

  const save = async (score) => {
    if (saving || !shown()) return; // nobody can rate what is not to be seen yet
    saving = true;
    for (const button of form.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.value === score));
    }
    addEventListener("beforeunload", ask);
    for (;;) {
      let trouble = "The server does not answer.";
      try {
        const response = await fetch(form.action, {
          method: "POST",
          headers: { accept: "application/json" },
          body: new URLSearchParams({ score }),
        });
        const said = await response.json();
        if (response.ok) {
          removeEventListener("beforeunload", ask);
          location.assign(said.next);
          return;
        }
        trouble = said.message;
      } catch { /* no connection, or no answer of ours */ }
      say(`${trouble} Your ${score} is not saved yet. Trying again; you may leave this page open.`, true);
      await wait(PAUSE);
    }
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save(event.submitter.value);
  });

  document.querySelector(".keys").hidden = false;
  try {
    keys.checked = localStorage.getItem("keys") !== "off";
    keys.addEventListener("change", () => localStorage.setItem("keys", keys.checked ? "on" : "off"));
  } catch { /* a browser that keeps nothing */ }

  addEventListener("keydown", (event) => {
    if (!keys.checked || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    if (/^[0-9]$/.test(event.key)) {
      event.preventDefault();
      save(event.key === "0" ? "10" : event.key);
    } else if (!saving && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      document.getElementById(event.key === "ArrowLeft" ? "back" : "forward")?.click();
    }
  });
}

// The page: what is typed becomes a drawing, and the drawing can be watched, stopped, moved through and kept.

import { Characters, Digits, Emoji } from "./captions.js";
import { choicesOf } from "./choices.js";
import { Generator } from "./generator.js";
import { gifOf } from "./gif.js";
import { tokens } from "./words.js";

const SUBJECTS = {
  digits: { model: "mnist1-captions", Captions: Digits, option: "" },
  // Their captions have words in common, so that the model has to be named.
  characters: { model: "sprites-captions", Captions: Characters, option: " --model sprites-captions" },
  emoji: { model: "emoji-captions", Captions: Emoji, option: " --model emoji-captions" },
};
const FRAME_TIME = 200; // milliseconds, as in the files of `syncdraw generate`
const STEP_TIME = 350;
const MARGIN = 4; // pixels around a frame, into which windows may reach
const SCALE = 4; // of the GIFs
const find = (name) => document.getElementById(`play-${name}`);
const root = document.getElementById("player");
const controls = [...root.querySelectorAll(":disabled")]; // until there is a generator
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

// What is drawn now: `generator`, `captions` and `choices`; `drawing`, with `step` (the last is the finished clip),
// `frame` and `pictures`, each made when it is first shown; while another is chosen, what was typed: `text` and `seed`.
let now = null;
let wanted = "digits";
let playing = !still;
let forming = null; // the timer, while the drawing is being shown
let waiting = null; // the timer, while a choice may be changed again
const loading = new Map(); // promises of what `now` may be, by subject

/** A frame after a step, as numbers from 0 to 255. */
function pixels(atStep, atFrame) {
  const [frames, channels, height, width] = now.generator.notes.shape;
  const size = height * width;
  const start = (atStep * frames + atFrame) * channels * size;
  const image = new ImageData(width, height);
  for (let i = 0; i < size; i++) {
    for (let colour = 0; colour < 3; colour++) {
      const value = now.drawing.canvases[start + (channels === 1 ? 0 : colour * size) + i];
      image.data[4 * i + colour] = Math.round(255 * value);
    }
    image.data[4 * i + 3] = 255;
  }
  return image;
}

/** The same as a picture of its own size. */
function picture(atStep, atFrame) {
  const [frames, , height, width] = now.generator.notes.shape;
  return (now.pictures[atStep * frames + atFrame] ??= (() => {
    const made = new OffscreenCanvas(width, height);
    made.getContext("2d").putImageData(pixels(atStep, atFrame), 0, 0);
    return made;
  })());
}

/** Paint a frame into a square of `side` pixels at (left, top), with its window. */
function paint(context, atStep, atFrame, left, top, side) {
  const { notes } = now.generator;
  const [frames, , height, width] = notes.shape;
  const scale = side / (Math.max(height, width) + 2 * MARGIN);
  context.save();
  context.beginPath();
  context.rect(left, top, side, side);
  context.clip();
  context.fillStyle = "#404040";
  context.fillRect(left, top, side, side);
  context.imageSmoothingEnabled = false;
  context.drawImage(picture(atStep, atFrame), left + MARGIN * scale, top + MARGIN * scale, width * scale, height * scale);
  if (find("windows").checked && now.drawing.windows) {
    const at = 4 * (atStep * frames + atFrame);
    const [row, column, stride, deviation] = now.drawing.windows.subarray(at, at + 4);
    const half = (stride * (notes.write_grid_size - 1) * scale) / 2;
    context.strokeStyle = "#ff5a48";
    context.lineWidth = Math.min(Math.max(deviation * scale, 1.5), 2 * scale);
    // The first pixel has the number 1, and its middle lies half a pixel from the edge.
    context.strokeRect(left + (MARGIN + column - 0.5) * scale - half, top + (MARGIN + row - 0.5) * scale - half, 2 * half, 2 * half);
  }
  context.restore();
}

/** How many frames a row of the strip has. */
function columnsOf(frames) {
  return Math.ceil(frames / 2);
}

function show() {
  if (!now?.drawing) return;
  const { draw_steps, shape: [frames] } = now.generator.notes;
  const clip = find("clip");
  paint(clip.getContext("2d"), now.step, now.frame, 0, 0, clip.width);
  const strip = find("frames");
  const columns = columnsOf(frames);
  const gap = 4;
  const side = 144;
  const [width, height] = [columns * (side + gap) - gap, Math.ceil(frames / columns) * (side + gap) - gap];
  if (strip.width !== width || strip.height !== height) [strip.width, strip.height] = [width, height];
  const context = strip.getContext("2d");
  context.clearRect(0, 0, width, height);
  for (let i = 0; i < frames; i++) {
    const [left, top] = [(i % columns) * (side + gap), Math.floor(i / columns) * (side + gap)];
    paint(context, now.step, i, left, top, side);
    if (i === now.frame) {
      context.strokeStyle = "#5c7cfa";
      context.lineWidth = 4;
      context.strokeRect(left + 2, top + 2, side - 4, side - 4);
    }
  }
  find("step").value = now.step + 1;
  find("step-number").value = `${now.step + 1} of ${draw_steps}`;
  find("frame").value = now.frame + 1;
  find("frame-number").value = `${now.frame + 1} of ${frames}`;
  showWords();
}

function showWords() {
  const { drawing, step } = now;
  const { longest } = now.generator.notes.captions;
  let word = 0;
  find("words").replaceChildren(...drawing.sentence.split(/([ ,-]+)/).map((part, i) => {
    if (i % 2) return part; // what stands between two words
    const one = document.createElement("span");
    one.textContent = part;
    const share = drawing.alignment && part !== "the" ? drawing.alignment[step * longest + word++] : 0; // "the" is no word
    one.style.background = `rgba(92, 124, 250, ${Math.min(1, share).toFixed(2)})`;
    one.title = `${Math.round(100 * share)} %`;
    return one;
  }));
}

/** Show the steps one after the other, then the finished clip. */
function form() {
  stopForming();
  if (still) return;
  now.step = 0;
  forming = setInterval(() => {
    if (now.step + 1 < now.generator.notes.draw_steps) now.step++;
    else stopForming();
    show();
  }, STEP_TIME);
}

function stopForming() {
  clearInterval(forming);
  forming = null;
}

async function draw() {
  clearTimeout(waiting);
  const mine = now;
  const seed = Number(find("seed").value);
  const { sentence, problem } = mine.captions.read(find("caption").value);
  const wrong = Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32 ? problem : "A seed is a whole number from 0 to 4294967295.";
  say(wrong, problem);
  if (wrong) return;
  const started = performance.now();
  const { generator } = mine;
  const found = await generator.draw(tokens(sentence, generator.notes.captions), generator.noise(seed));
  const ended = performance.now();
  root.dataset.firstClip ??= String(Math.round(ended));
  const drawing = { ...found, sentence, seed, time: Math.round(ended - started) };
  Object.assign(mine, { drawing, pictures: [], step: generator.notes.draw_steps - 1, frame: 0 });
  if (mine !== now) return; // something else has been chosen
  form();
  present();
}

function say(wrong, problem) {
  find("problem").textContent = wrong ?? "";
  find("caption").setAttribute("aria-invalid", String(Boolean(problem)));
}

/** Show the drawing, and what is said of it. */
function present() {
  const { sentence, seed, time } = now.drawing;
  show();
  root.dataset.drawn = `${sentence}, seed ${seed}`;
  find("status").textContent =
    `“${sentence}”, seed ${seed}, drawn in ${time} ms. ` +
    `The first clip was there ${(Number(root.dataset.firstClip) / 1000).toFixed(1)} s after the page was opened.`;
  find("command").textContent = `syncdraw generate "${sentence}"${SUBJECTS[wanted].option} --seed ${seed} -o clip.gif`;
  now.choices.show(now.captions.read(sentence).picked ?? {});
}

/** Give the reader a GIF of the finished clip, or of the clip as it stood after each step. */
function keep(steps, name) {
  const { notes } = now.generator;
  const [frames, channels] = notes.shape;
  const all = steps.flatMap((atStep) => Array.from({ length: frames }, (_, atFrame) => pixels(atStep, atFrame)));
  const blob = gifOf(all, channels === 1, SCALE, all.map(() => FRAME_TIME), notes.mark);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${now.drawing.sentence.replaceAll(/[ ,]+/g, "-")}-seed${now.drawing.seed}${name}.gif`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Something is picked: it becomes part of the caption, which is drawn unless more is picked at once. */
function pick(name, value, delay) {
  const { captions, drawing } = now;
  const before = captions.read(find("caption").value).picked ?? captions.read(drawing?.sentence ?? "").picked;
  find("caption").value = captions.tell({ ...before, [name]: value });
  clearTimeout(waiting);
  waiting = setTimeout(draw, delay);
}

/** What `now` is for a subject. */
async function load(subject) {
  const { model, Captions } = SUBJECTS[subject];
  const generator = await Generator.load(model);
  const captions = new Captions(generator.notes.captions);
  return { generator, captions, choices: choicesOf(captions.choices, pick) };
}

/** Choose what is drawn; its generator is loaded when it is first chosen. */
async function choose(subject) {
  clearTimeout(waiting);
  stopForming();
  if (now) Object.assign(now, { text: find("caption").value, seed: find("seed").value });
  if (subject !== wanted) [find("caption").value, find("seed").value] = ["", "0"];
  now = null;
  wanted = subject;
  busy(true);
  root.querySelector(`[value="${subject}"]`).checked = true;
  find("choices").replaceChildren();
  if (!loading.has(subject)) {
    find("status").textContent = `The generator of ${subject} is being loaded …`;
    loading.set(subject, load(subject));
  }
  let chosen;
  try {
    chosen = await loading.get(subject);
  } catch (error) {
    loading.delete(subject); // the next time may be better
    if (wanted === subject) find("status").textContent = `The generator of ${subject} does not run in this browser: ${error.message}`;
    throw error;
  }
  if (wanted !== subject || now) return;
  now = chosen;
  const { draw_steps, shape: [frames] } = now.generator.notes;
  if (now.drawing) [find("caption").value, find("seed").value] = [now.text, now.seed];
  else find("caption").value ||= now.captions.example; // unless something was typed meanwhile
  find("choices").replaceChildren(...now.choices.elements);
  find("step").max = draw_steps;
  find("frame").max = frames;
  busy(false);
  if (!now.drawing) return draw();
  say(undefined, undefined);
  present();
}

/** While nothing can be drawn, nothing can be asked for. */
function busy(on) {
  root.setAttribute("aria-busy", String(on));
  for (const control of controls) control.disabled = on;
}

function connect() {
  for (const choice of root.querySelectorAll("[name=play-subject]")) {
    choice.addEventListener("change", () => {
      history.replaceState(null, "", `#${choice.value}`);
      choose(choice.value);
    });
  }
  addEventListener("hashchange", () => named() && named() !== wanted && choose(named()));
  find("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (now) draw();
  });
  find("another").addEventListener("click", () => {
    find("seed").value = (Number(find("seed").value) + 1) % 2 ** 32;
    draw();
  });
  find("draw-again").addEventListener("click", () => {
    form();
    show();
  });
  find("step").addEventListener("input", () => {
    stopForming();
    now.step = Number(find("step").value) - 1;
    show();
  });
  // A slider that is where it is sent says nothing of it: the hand on it has to be enough.
  touched(find("step"), stopForming);
  touched(find("frame"), () => play(false));
  find("frame").addEventListener("input", () => {
    play(false);
    now.frame = Number(find("frame").value) - 1;
    show();
  });
  find("frames").addEventListener("click", (event) => {
    if (!now?.drawing) return;
    const [frames] = now.generator.notes.shape;
    const columns = columnsOf(frames);
    const box = find("frames").getBoundingClientRect();
    const column = Math.floor((columns * (event.clientX - box.left)) / box.width);
    const row = Math.floor((Math.ceil(frames / columns) * (event.clientY - box.top)) / box.height);
    play(false);
    now.frame = Math.min(frames - 1, columns * row + column);
    show();
  });
  find("windows").addEventListener("change", show);
  find("pause").addEventListener("click", () => play(!playing));
  const steps = () => [...Array(now.generator.notes.draw_steps).keys()];
  find("keep").addEventListener("click", () => keep(steps().slice(-1), ""));
  find("keep-drawing").addEventListener("click", () => keep(steps(), "-drawing"));
  setInterval(() => {
    if (!playing || !now?.drawing) return;
    now.frame = (now.frame + 1) % now.generator.notes.shape[0];
    show();
  }, FRAME_TIME);
  play(playing);
}

function touched(slider, act) {
  slider.addEventListener("pointerdown", act);
  slider.addEventListener("keydown", (event) => event.key !== "Tab" && event.key !== "Shift" && act());
}

function play(on) {
  playing = on;
  find("pause").textContent = on ? "Pause" : "Play";
}

/** The subject that the page's address names, if it names one. */
function named() {
  const name = location.hash.slice(1);
  return Object.hasOwn(SUBJECTS, name) ? name : "";
}

connect();
await choose(named() || "digits");

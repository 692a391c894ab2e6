// The page: what is typed becomes a drawing, and the drawing can be watched, stopped, moved through and kept.

import { Captions } from "./captions.js";
import { Generator } from "./generator.js";
import { greyGif } from "./gif.js";

const FRAME_TIME = 200; // milliseconds, as in the files of `syncdraw generate`
const STEP_TIME = 350;
const MARGIN = 4; // pixels around a frame, into which windows may reach
const SCALE = 4; // of the GIFs
const find = (name) => document.getElementById(`play-${name}`);
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

let generator, captions, drawing;
let step = 0; // the last is the finished clip
let frame = 0;
let playing = !still;
let forming = null; // the timer, while the drawing is being shown

let pictures = []; // of the drawing, each made when it is first shown

/** A frame after a step, as a picture of its own size. */
function picture(atStep, atFrame) {
  const [frames, , height, width] = generator.notes.shape;
  return (pictures[atStep * frames + atFrame] ??= (() => {
    const image = new ImageData(width, height);
    const colours = new Uint32Array(image.data.buffer);
    greys(atStep, atFrame).forEach((grey, i) => (colours[i] = 0xff000000 | (grey * 0x010101)));
    const made = new OffscreenCanvas(width, height);
    made.getContext("2d").putImageData(image, 0, 0);
    return made;
  })());
}

/** The same as numbers from 0 to 255. */
function greys(atStep, atFrame) {
  const [frames, , height, width] = generator.notes.shape;
  const start = (atStep * frames + atFrame) * height * width;
  return Uint8Array.from(drawing.canvases.subarray(start, start + height * width), (value) => Math.round(255 * value));
}

/** Paint a frame into a square of `side` pixels at (left, top), with its window. */
function paint(context, atStep, atFrame, left, top, side) {
  const [frames, , height, width] = generator.notes.shape;
  const scale = side / (Math.max(height, width) + 2 * MARGIN);
  context.save();
  context.beginPath();
  context.rect(left, top, side, side);
  context.clip();
  context.fillStyle = "#404040";
  context.fillRect(left, top, side, side);
  context.imageSmoothingEnabled = false;
  context.drawImage(picture(atStep, atFrame), left + MARGIN * scale, top + MARGIN * scale, width * scale, height * scale);
  if (find("windows").checked && drawing.windows) {
    const at = 4 * (atStep * frames + atFrame);
    const [row, column, stride, deviation] = drawing.windows.subarray(at, at + 4);
    const half = (stride * (generator.notes.write_grid_size - 1) * scale) / 2;
    context.strokeStyle = "#ff5a48";
    context.lineWidth = Math.min(Math.max(deviation * scale, 1.5), 2 * scale);
    // The first pixel has the number 1, and its middle lies half a pixel from the edge.
    context.strokeRect(left + (MARGIN + column - 0.5) * scale - half, top + (MARGIN + row - 0.5) * scale - half, 2 * half, 2 * half);
  }
  context.restore();
}

function show() {
  if (!drawing) return;
  const [frames] = generator.notes.shape;
  const clip = find("clip");
  paint(clip.getContext("2d"), step, frame, 0, 0, clip.width);
  const strip = find("frames");
  const columns = 5;
  const gap = 4;
  const side = 144;
  const [width, height] = [columns * (side + gap) - gap, Math.ceil(frames / columns) * (side + gap) - gap];
  if (strip.width !== width || strip.height !== height) [strip.width, strip.height] = [width, height];
  const context = strip.getContext("2d");
  context.clearRect(0, 0, width, height);
  for (let i = 0; i < frames; i++) {
    const [left, top] = [(i % columns) * (side + gap), Math.floor(i / columns) * (side + gap)];
    paint(context, step, i, left, top, side);
    if (i === frame) {
      context.strokeStyle = "#5c7cfa";
      context.lineWidth = 4;
      context.strokeRect(left + 2, top + 2, side - 4, side - 4);
    }
  }
  find("step").value = step + 1;
  find("step-number").value = `${step + 1} of ${generator.notes.draw_steps}`;
  find("frame").value = frame + 1;
  find("frame-number").value = `${frame + 1} of ${frames}`;
  showWords();
}

function showWords() {
  const words = drawing.sentence.split(" ");
  const width = generator.notes.captions.longest;
  find("words").replaceChildren(...words.flatMap((word, i) => {
    const one = document.createElement("span");
    one.textContent = word;
    const share = drawing.alignment ? drawing.alignment[step * width + i] : 0;
    one.style.background = `rgba(92, 124, 250, ${Math.min(1, share).toFixed(2)})`;
    one.title = `${Math.round(100 * share)} %`;
    return [one, " "];
  }));
}

/** Show the steps one after the other, then the finished clip. */
function form() {
  stopForming();
  if (still) return;
  step = 0;
  forming = setInterval(() => {
    if (step + 1 < generator.notes.draw_steps) step++;
    else stopForming();
    show();
  }, STEP_TIME);
}

function stopForming() {
  clearInterval(forming);
  forming = null;
}

async function draw() {
  const seed = Number(find("seed").value);
  const { sentence, problem } = captions.read(find("caption").value);
  const wrong = Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32 ? problem : "A seed is a whole number from 0 to 4294967295.";
  find("problem").textContent = wrong ?? "";
  find("caption").setAttribute("aria-invalid", String(Boolean(problem)));
  if (wrong) return;
  const started = performance.now();
  const found = await generator.draw(captions.tokens(sentence), generator.noise(seed));
  drawing = { ...found, sentence, seed };
  pictures = [];
  step = generator.notes.draw_steps - 1;
  frame = 0;
  form();
  show();
  const ended = performance.now();
  const root = document.getElementById("player");
  root.dataset.firstClip ??= String(Math.round(ended));
  root.dataset.drawn = `${sentence}, seed ${seed}`;
  find("status").textContent =
    `“${sentence}”, seed ${seed}, drawn in ${Math.round(ended - started)} ms. ` +
    `The first clip was there ${(Number(root.dataset.firstClip) / 1000).toFixed(1)} s after the page was opened.`;
  find("command").textContent = `syncdraw generate "${sentence}" --seed ${seed} -o clip.gif`;
  for (const [group, chosen] of [["digits", sentence.split(" ")[1]], ["motions", sentence.split(" ").slice(2).join(" ")]]) {
    for (const button of find(group).children) button.setAttribute("aria-pressed", String(button.dataset.value === chosen));
  }
}

function enlarged(grey, width, height) {
  const large = new Uint8Array(grey.length * SCALE * SCALE);
  for (let y = 0; y < height * SCALE; y++) {
    for (let x = 0; x < width * SCALE; x++) {
      large[y * width * SCALE + x] = grey[Math.floor(y / SCALE) * width + Math.floor(x / SCALE)];
    }
  }
  return large;
}

/** Give the reader a GIF of the finished clip, or of the clip as it stood after each step. */
function keep(steps, name) {
  const [frames, , height, width] = generator.notes.shape;
  const all = steps.flatMap((atStep) => Array.from({ length: frames }, (_, atFrame) => greys(atStep, atFrame)));
  const large = all.map((grey) => enlarged(grey, width, height));
  const delays = large.map(() => FRAME_TIME);
  const blob = greyGif(large, width * SCALE, height * SCALE, delays, generator.notes.mark);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${drawing.sentence.replaceAll(" ", "-")}-seed${drawing.seed}${name}.gif`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function pick(group, values) {
  find(group).replaceChildren(...values.map(([value, label]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.dataset.value = value;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      const { sentence } = captions.read(find("caption").value);
      const [, digit, ...motion] = (sentence ?? drawing?.sentence ?? "digit 3").split(" ");
      const chosen = group === "digits" ? ["digit", value, ...motion] : ["digit", digit, value];
      find("caption").value = chosen.filter(Boolean).join(" ");
      draw();
    });
    return button;
  }));
}

function connect() {
  const { motions, numbers } = generator.notes.captions;
  const { draw_steps, shape: [frames] } = generator.notes;
  pick("digits", [...numbers.keys()].map((digit) => [String(digit), String(digit)]));
  pick("motions", Object.entries(motions).map(([name, phrase]) => [phrase.trim(), phrase.trim().replace("is moving ", "") || name]));
  find("form").addEventListener("submit", (event) => {
    event.preventDefault();
    draw();
  });
  find("another").addEventListener("click", () => {
    find("seed").value = (Number(find("seed").value) + 1) % 2 ** 32;
    draw();
  });
  find("draw-again").addEventListener("click", () => {
    form();
    show();
  });
  find("step").max = draw_steps;
  find("step").addEventListener("input", () => {
    stopForming();
    step = Number(find("step").value) - 1;
    show();
  });
  // A slider that is where it is sent says nothing of it: the hand on it has to be enough.
  touched(find("step"), stopForming);
  touched(find("frame"), () => play(false));
  find("frame").max = frames;
  find("frame").addEventListener("input", () => {
    play(false);
    frame = Number(find("frame").value) - 1;
    show();
  });
  find("frames").addEventListener("click", (event) => {
    const box = find("frames").getBoundingClientRect();
    const column = Math.floor((5 * (event.clientX - box.left)) / box.width);
    const row = Math.floor((Math.ceil(frames / 5) * (event.clientY - box.top)) / box.height);
    play(false);
    frame = Math.min(frames - 1, 5 * row + column);
    show();
  });
  find("windows").addEventListener("change", show);
  find("pause").addEventListener("click", () => play(!playing));
  find("keep").addEventListener("click", () => keep([draw_steps - 1], ""));
  find("keep-drawing").addEventListener("click", () => keep([...Array(draw_steps).keys()], "-drawing"));
  for (const control of document.querySelectorAll("#player :disabled")) control.disabled = false;
  setInterval(() => {
    if (!playing || !drawing) return;
    frame = (frame + 1) % frames;
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

try {
  generator = await Generator.load();
  captions = new Captions(generator.notes.captions);
  connect();
  await draw();
} catch (error) {
  find("status").textContent = `The generator does not run in this browser: ${error.message}`;
  throw error;
}

// The clips of a Work: all frames and drawing steps of a clip are tiles of one picture, so that nothing is asked of the
// server while somebody looks at them. Gradio gives `element`, `props` and `watch`.
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
const SIDE = 512; // pixels of a canvas, about, so that outlines are thin
const MARGIN = 6; // pixels of the video around a frame whose window is shown, for windows reach past it
const OUTLINE = "rgb(235, 64, 52)";

let shown = null;
let frame = 0;
let step = 0;
let playing = true;
let forming = false;
let sinceStep = 0;
let timer = null;
let turn = 0;

function paint() {
  for (const clip of shown.clips) {
    const windows = part("windows").checked ? clip.windows : null;
    const margin = windows ? MARGIN : 0;
    const scale = Math.max(1, Math.round(SIDE / clip.width));
    const height = (clip.height + 2 * margin) * scale;
    const width = (clip.width + 2 * margin) * scale;
    if (clip.canvas.width !== width || clip.canvas.height !== height) {
      clip.canvas.width = width;
      clip.canvas.height = height;
    }
    const pen = clip.canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.fillStyle = "rgb(64, 64, 64)";
    pen.fillRect(0, 0, width, height);
    const row = Math.min(step, clip.steps - 1);
    const left = frame * (clip.width + shown.gap);
    const top = row * (clip.height + shown.gap);
    pen.drawImage(clip.image, left, top, clip.width, clip.height,
      margin * scale, margin * scale, clip.width * scale, clip.height * scale);
    if (windows) {
      const [down, across, half, reach] = windows[Math.min(step, windows.length - 1)][frame];
      pen.strokeStyle = OUTLINE;
      pen.lineWidth = Math.min(Math.max(reach * scale, 3), 2 * scale);
      pen.strokeRect((margin + across - half) * scale, (margin + down - half) * scale, 2 * half * scale, 2 * half * scale);
    }
  }
  part("frame").value = frame + 1;
  part("frame-number").value = `${frame + 1} of ${part("frame").max}`;
  part("step").value = step + 1;
  part("step-number").value = `${step + 1} of ${part("step").max}`;
  part("play").textContent = playing ? "Pause" : "Play";
  part("draw").textContent = forming ? "Stop" : "Watch it form";
}

function tick() {
  if (!element.isConnected) return clearInterval(timer);
  if (!shown || !(playing || forming)) return;
  const frames = Number(part("frame").max);
  const steps = Number(part("step").max);
  if (playing) frame = (frame + 1) % frames;
  if (forming && ++sinceStep >= 2) {
    sinceStep = 0;
    if (step + 1 < steps) step += 1;
    else forming = false;
  }
  paint();
}

async function show() {
  if (!props.value) return;
  const mine = ++turn;
  const next = JSON.parse(props.value);
  await Promise.all(next.clips.map(async (clip) => {
    clip.image = new Image();
    clip.image.src = clip.picture;
    await clip.image.decode();
  }));
  if (mine !== turn) return; // something newer came meanwhile
  const most = (name) => Math.max(...next.clips.map((clip) => clip[name]));
  part("clips").replaceChildren(...next.clips.map((clip) => {
    const figure = document.createElement("figure");
    clip.canvas = document.createElement("canvas");
    clip.canvas.setAttribute("role", "img");
    clip.canvas.setAttribute("aria-label", clip.words);
    figure.append(clip.canvas);
    if (clip.label) {
      const caption = document.createElement("figcaption");
      caption.textContent = clip.label;
      figure.append(caption);
    }
    return figure;
  }));
  const count = next.clips.length;
  part("clips").style.setProperty("--columns", count === 1 ? 1 : count <= 4 ? 2 : count <= 9 ? 3 : 4);
  part("frame").max = most("frames");
  part("step").max = most("steps");
  part("step-line").hidden = most("steps") < 2;
  part("windows-line").hidden = !next.clips.some((clip) => clip.windows);
  part("controls").hidden = false;
  const first = shown === null;
  shown = next;
  frame = 0;
  step = most("steps") - 1;
  forming = false;
  playing = !still.matches;
  clearInterval(timer);
  timer = setInterval(tick, 1000 / shown.rate);
  paint();
  // On a telephone the clips are below the controls.
  if (!first && element.getBoundingClientRect().top > window.innerHeight - 100) {
    element.scrollIntoView({ block: "start", behavior: still.matches ? "auto" : "smooth" });
  }
}

part("play").addEventListener("click", () => { playing = !playing; paint(); });
part("draw").addEventListener("click", () => {
  forming = !forming;
  if (forming) { step = 0; sinceStep = 0; }
  paint();
});
part("frame").addEventListener("input", () => { playing = false; frame = Number(part("frame").value) - 1; paint(); });
part("step").addEventListener("input", () => { forming = false; step = Number(part("step").value) - 1; paint(); });
// A slider that is where it is sent says nothing of it: the hand on it has to be enough.
for (const [name, stop] of [["frame", () => { playing = false; }], ["step", () => { forming = false; }]]) {
  part(name).addEventListener("pointerdown", stop);
  part(name).addEventListener("keydown", (event) => { if (event.key !== "Tab" && event.key !== "Shift") stop(); });
}
part("windows").addEventListener("change", paint);
watch("value", show);
show();

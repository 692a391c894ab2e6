// A generator: an ONNX file of this site, run in this browser by onnxruntime-web. Nothing is asked of another site.

import * as ort from "./ort.wasm.min.mjs";
import { normal } from "./noise.js";

const here = new URL("./", import.meta.url);
ort.env.wasm.wasmPaths = here.href;
ort.env.wasm.numThreads = 1; // more need headers that a plain web server does not send
ort.env.logLevel = "error";

async function fetched(name) {
  const answer = await fetch(new URL(name, here));
  if (!answer.ok) throw new Error(`${name} did not come (${answer.status})`);
  return answer;
}

export class Generator {
  /** `name` is that of a shipped model. */
  static async load(name) {
    const [notes, model] = await Promise.all([
      fetched(`${name}.json`).then((answer) => answer.json()),
      fetched(`${name}.onnx`).then((answer) => answer.arrayBuffer()),
    ]);
    // To optimise the graph would take longer than all the drawing that it makes faster.
    const options = { executionProviders: ["wasm"], graphOptimizationLevel: "disabled" };
    const session = await ort.InferenceSession.create(new Uint8Array(model), options);
    return new Generator(notes, session);
  }

  constructor(notes, session) {
    this.notes = notes;
    this.session = session;
  }

  /** The noise of a seed's first video, in the order in which torch makes it: at each step the latents, then the rest. */
  noise(seed) {
    const names = Object.keys(this.notes.inputs).filter((name) => name !== "tokens");
    const widths = names.map((name) => this.notes.inputs[name][2]);
    const width = widths.reduce((sum, one) => sum + one, 0);
    const steps = this.notes.draw_steps;
    const all = normal(steps * width, seed);
    const noise = {};
    let start = 0;
    names.forEach((name, i) => {
      noise[name] = Float32Array.from({ length: steps * widths[i] }, (_, at) => {
        return all[Math.floor(at / widths[i]) * width + start + (at % widths[i])];
      });
      start += widths[i];
    });
    return noise;
  }

  /** One video: `canvases` after each drawing step, `windows`, and `alignment` with the words, as flat arrays. */
  async draw(tokens, noise) {
    const feeds = {};
    for (const [name, [, ...shape]] of Object.entries(this.notes.inputs)) {
      feeds[name] = name === "tokens"
        ? new ort.Tensor("int64", BigInt64Array.from(tokens, BigInt), [1, ...shape])
        : new ort.Tensor("float32", Float32Array.from(noise[name]), [1, ...shape]);
    }
    const found = await this.session.run(feeds);
    return Object.fromEntries(Object.entries(found).map(([name, tensor]) => [name, tensor.data]));
  }
}

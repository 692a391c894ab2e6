// A GIF of a clip, with the mark that all images of this package carry.

import { GIFEncoder, applyPalette, quantize } from "./gifenc.esm.js";

const GREYS = Array.from({ length: 256 }, (_, grey) => [grey, grey, grey]);

/** `pictures` are ImageData of one size; each pixel becomes `scale` x `scale`; `delays` are milliseconds, one a picture. */
export function gifOf(pictures, grey, scale, delays, mark) {
  const gif = GIFEncoder();
  pictures.forEach(({ data, width, height }, i) => {
    // Grey is kept exactly; of colours, each picture has the 256 that suit it best.
    const palette = grey ? GREYS : quantize(data, 256);
    const numbers = grey ? Uint8Array.from({ length: width * height }, (_, at) => data[4 * at]) : applyPalette(data, palette);
    const once = grey && i > 0;
    gif.writeFrame(enlarged(numbers, width, height, scale), width * scale, height * scale, {
      palette: once ? undefined : palette, delay: delays[i], repeat: 0,
    });
  });
  gif.finish();
  const bytes = gif.bytes();
  const comment = [0x21, 0xfe, mark.length, ...new TextEncoder().encode(mark), 0];
  return new Blob([bytes.slice(0, -1), Uint8Array.from([...comment, 0x3b])], { type: "image/gif" }); // 0x3b ends a GIF
}

function enlarged(numbers, width, height, scale) {
  const large = new Uint8Array(numbers.length * scale * scale);
  for (let y = 0; y < height * scale; y++) {
    for (let x = 0; x < width * scale; x++) {
      large[y * width * scale + x] = numbers[Math.floor(y / scale) * width + Math.floor(x / scale)];
    }
  }
  return large;
}

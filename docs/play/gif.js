// A GIF of grey pictures, with the mark that all images of this package carry.

import { GIFEncoder } from "./gifenc.esm.js";

const GREYS = Array.from({ length: 256 }, (_, grey) => [grey, grey, grey]);

/** `pictures` are arrays of `width` x `height` grey values, 0 to 255; `delays` are milliseconds, one a picture. */
export function greyGif(pictures, width, height, delays, mark) {
  const gif = GIFEncoder();
  pictures.forEach((picture, i) => {
    gif.writeFrame(picture, width, height, { palette: i === 0 ? GREYS : undefined, delay: delays[i], repeat: 0 });
  });
  gif.finish();
  const bytes = gif.bytes();
  const comment = [0x21, 0xfe, mark.length, ...new TextEncoder().encode(mark), 0];
  return new Blob([bytes.slice(0, -1), Uint8Array.from([...comment, 0x3b])], { type: "image/gif" }); // 0x3b ends a GIF
}

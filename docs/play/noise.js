// Standard normal noise of a seed: the same numbers as torch.randn gives on a CPU, so that a seed draws the same clip
// here as `syncdraw generate --seed` does.

/** Mersenne Twister (Matsumoto and Nishimura 1998): gives a function that returns 32 random bits at each call. */
function mersenneTwister(seed) {
  const state = new Uint32Array(624);
  state[0] = seed;
  for (let i = 1; i < 624; i++) {
    state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  }
  let next = 624;
  return () => {
    if (next === 624) {
      for (let i = 0; i < 624; i++) {
        const mixed = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
        state[i] = state[(i + 397) % 624] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
      }
      next = 0;
    }
    let bits = state[next++];
    bits ^= bits >>> 11;
    bits ^= (bits << 7) & 0x9d2c5680;
    bits ^= (bits << 15) & 0xefc60000;
    return (bits ^ (bits >>> 18)) >>> 0;
  };
}

/** `count` numbers, 16 or more, under a seed from 0 to 2^32 - 1. */
export function normal(count, seed) {
  const random = mersenneTwister(seed);
  const values = Float32Array.from({ length: count }, () => (random() & 0xffffff) / 0x1000000);
  // Box and Muller (1958), 16 numbers at a time: torch makes pairs of those that are 8 apart.
  const transform = (first) => {
    for (let i = first; i < first + 8; i++) {
      const radius = Math.sqrt(-2 * Math.log(1 - values[i]));
      const angle = 2 * Math.PI * values[i + 8];
      values[i] = radius * Math.cos(angle);
      values[i + 8] = radius * Math.sin(angle);
    }
  };
  for (let first = 0; first + 16 <= count; first += 16) transform(first);
  if (count % 16) {
    // The last 16 are made anew.
    for (let i = count - 16; i < count; i++) values[i] = (random() & 0xffffff) / 0x1000000;
    transform(count - 16);
  }
  return values;
}

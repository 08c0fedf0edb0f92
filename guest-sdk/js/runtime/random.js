// The engine seeds `Math.random` when the component is built, so every run would draw the
// same numbers. This one draws from the host's random source.

const BATCH = 64;
let numbers = new Uint32Array(BATCH);
let next = BATCH;

function draw() {
  if (next === BATCH) {
    crypto.getRandomValues(numbers);
    next = 0;
  }
  return numbers[next++];
}

/** Forgets what was drawn while the component was built. */
export function forgetRandom() {
  next = BATCH;
}

export function installRandom() {
  // 53 bits, as the language has it.
  Math.random = function random() {
    return ((draw() >>> 5) * 0x4000000 + (draw() >>> 6)) / 0x20000000000000;
  };
}

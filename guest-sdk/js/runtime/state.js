// Whether a call of the host is under way: only then may its imports be called. A build
// runs the top level without them.

let calls = false;
/** Of a run whose host does not say: its default. */
let bytes = 256 * 1024 * 1024;

export function inRun() {
  return calls;
}

export function enterCall() {
  calls = true;
}

/** Bytes of memory that this run may have. */
export function memory() {
  return bytes;
}

export function setMemory(limit) {
  if (limit > 0) bytes = limit;
}

// Whether a call of the host is under way: only then may its imports be called. A build
// runs the top level without them.

let calls = false;

export function inRun() {
  return calls;
}

export function enterCall() {
  calls = true;
}

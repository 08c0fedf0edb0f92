// The characters of the Unicode properties that a bundle's regular expressions name: the
// engine of a step has no such tables, Node.js has.

const LAST = 0x10ffff;

function escaped(point) {
  return /[0-9A-Za-z]/.test(String.fromCodePoint(point)) ? String.fromCodePoint(point) : `\\u{${point.toString(16)}}`;
}

/** Those that have the property, and those that have not, as the inside of a character class. */
function classes(name) {
  let pattern;
  try {
    pattern = new RegExp(`^\\p{${name}}$`, "u");
  } catch {
    // Not one of Unicode's; the engine will say so.
    return undefined;
  }
  const lists = [[], []];
  let [start, last] = [0, pattern.test("\0")];
  const end = (point) => lists[last ? 0 : 1].push(point - start === 1 ? escaped(start) : `${escaped(start)}-${escaped(point - 1)}`);
  for (let point = 1; point <= LAST; point++) {
    const has = pattern.test(String.fromCodePoint(point));
    if (has === last) continue;
    end(point);
    [start, last] = [point, has];
  }
  end(LAST + 1);
  return lists.map((ranges) => ranges.join(""));
}

/** A statement that comes before the bundle, or nothing if it names no property. */
export function properties(code) {
  const found = {};
  // In a text a backslash is two, or in a template's `String.raw` one.
  for (const [, name] of code.matchAll(/\\[pP]\{([A-Za-z_=0-9]+)\}/g)) found[name] ??= classes(name);
  const text = JSON.stringify(found);
  return text === "{}" ? "" : `globalThis.__keyholeProperties=${text};`;
}

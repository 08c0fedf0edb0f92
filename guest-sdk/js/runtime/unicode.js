// `\p{…}` in regular expressions, which the engine lacks: it is built without Unicode's
// tables. The build leaves the characters of each property that the bundle names in
// `globalThis.__keyholeProperties`; literals have become calls of `RegExp`.

/** The pattern with each property as the characters that have it; with the flag v, a class may hold classes. */
function expanded(pattern, sets, characters) {
  let inClass = false;
  return pattern.replace(/\\([pP])\{([^}]*)\}|\\[^]|[[\]]/g, (found, kind, name) => {
    if (name === undefined) {
      if (found === "[") inClass = true;
      else if (found === "]") inClass = false;
      return found;
    }
    const [those, others] = characters[name] ?? [];
    const wanted = kind === "p" ? those : others;
    if (wanted === undefined) return found;
    return inClass && !sets ? wanted : `[${wanted}]`;
  });
}

export function installUnicode() {
  const characters = globalThis.__keyholeProperties;
  delete globalThis.__keyholeProperties;
  if (characters === undefined) return;
  const known = new Map();
  const changed = ([pattern, flags, ...rest]) => {
    if (typeof pattern !== "string" || !/\\p\{/i.test(pattern) || !/[uv]/.test(String(flags))) return [pattern, flags, ...rest];
    const sets = String(flags).includes("v");
    const key = `${sets}${pattern}`;
    let text = known.get(key);
    if (text === undefined) known.set(key, (text = expanded(pattern, sets, characters)));
    return [text, flags, ...rest];
  };
  const own = globalThis.RegExp;
  globalThis.RegExp = new Proxy(own, {
    construct: (target, values, newTarget) => Reflect.construct(target, changed(values), newTarget),
    apply: (target, self, values) => Reflect.apply(target, self, changed(values)),
  });
  Object.defineProperty(own.prototype, "constructor", { value: globalThis.RegExp, writable: true, configurable: true, enumerable: false });
}

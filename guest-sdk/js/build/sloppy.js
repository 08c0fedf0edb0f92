// CommonJS code assigns to names that it never declared, which Node.js makes globals of. A
// component's code is one ES module, and so strict (ECMA-262, section 11.2.2): there such an
// assignment fails. The names are found here, for the bundle to declare.

import { parse } from "acorn";
import { analyze } from "eslint-scope";

/** White space and comments, once. */
const BLANK = /\s+|\/\/.*|\/\*[^]*?\*\//y;
const DIRECTIVE = /["']use strict["']/y;

/** What Node.js wraps around a CommonJS module, which the bundler knows. */
const WRAPPER = new Set(["exports", "module", "require", "__dirname", "__filename"]);

/** Whether `text` begins by saying that it is strict. */
function isStrict(text) {
  BLANK.lastIndex = 0;
  let at = 0;
  while (BLANK.test(text)) at = BLANK.lastIndex;
  DIRECTIVE.lastIndex = at;
  return DIRECTIVE.test(text);
}

/** What `text` assigns to and nobody declares. */
function implicitGlobals(text) {
  try {
    const tree = parse(text, { ecmaVersion: "latest", sourceType: "script", allowReturnOutsideFunction: true, allowHashBang: true, ranges: true });
    const { globalScope } = analyze(tree, { ecmaVersion: 2025, sourceType: "commonjs" });
    const names = globalScope.through.filter((reference) => reference.isWrite() && !reference.from.isStrict).map(({ identifier }) => identifier.name);
    return [...new Set(names)].filter((name) => !WRAPPER.has(name));
  } catch {
    // It is an ES module, or wrong, which the bundler says; or nested too deep to look into.
    return [];
  }
}

/** `text`, which may be CommonJS, with its implicit globals declared; undefined if it has none. */
export function declared(text) {
  const names = isStrict(text) ? [] : implicitGlobals(text);
  if (names.length === 0) return undefined;
  // On the first line, so that the others keep their numbers.
  return `${names.map((name) => `"${name}" in globalThis || (globalThis.${name} = void 0);`).join("")}${text.replace(/^#!.*/, "")}`;
}

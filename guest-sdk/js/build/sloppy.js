// CommonJS code assigns to names that it never declared, which Node.js makes globals of. A
// component's code is one ES module, and so strict (ECMA-262, section 11.2.2): there such an
// assignment fails. The names are found here, for the bundle to declare.

import { parse } from "acorn";
import { analyze } from "eslint-scope";

/** Code that is strict by its own words, as far as a glance tells: an ES module, or a directive. */
const STRICT = /^(import\b(?!\s*\()|export\b|["']use strict["'])/m;

/** What Node.js wraps around a CommonJS module, which the bundler knows. */
const WRAPPER = new Set(["exports", "module", "require", "__dirname", "__filename"]);

/** What `text` assigns to and nobody declares. */
function implicitGlobals(text) {
  let tree;
  try {
    tree = parse(text, { ecmaVersion: "latest", sourceType: "script", allowReturnOutsideFunction: true, allowHashBang: true, ranges: true });
  } catch {
    // The bundler says what is wrong with it.
    return [];
  }
  const { globalScope } = analyze(tree, { ecmaVersion: 2025, sourceType: "commonjs" });
  const names = globalScope.through.filter((reference) => reference.isWrite() && !reference.from.isStrict).map(({ identifier }) => identifier.name);
  return [...new Set(names)].filter((name) => !WRAPPER.has(name));
}

/** `text`, which may be CommonJS, with its implicit globals declared; undefined if it has none. */
export function declared(text) {
  if (STRICT.test(text)) return undefined;
  const names = implicitGlobals(text);
  if (names.length === 0) return undefined;
  // On the first line, so that the others keep their numbers.
  return `${names.map((name) => `"${name}" in globalThis || (globalThis.${name} = void 0);`).join("")}${text.replace(/^#!.*/, "")}`;
}

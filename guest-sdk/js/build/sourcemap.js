// Source maps: one reduced to lines for the component, and errors of the top level put at
// the author's lines.

import { relative, resolve, sep } from "node:path";

import { GenMapping, addMapping, toEncodedMap } from "@jridgewell/gen-mapping";
import { TraceMap, eachMapping, originalPositionFor } from "@jridgewell/trace-mapping";

/** Names the sources as a person knows them; those of the tool chain begin with `keyhole:`. */
export function named(map, folder, roots, sdk) {
  const sources = map.sources.map((source) => {
    if (/^[a-z-]+:/.test(source)) return "keyhole:entry";
    const file = resolve(folder, source);
    const ours = relative(sdk, file);
    return ours.startsWith("..") || ours.startsWith(`node_modules${sep}`) ? roots.shown(file) : `keyhole:${ours}`;
  });
  return { ...map, sources, sourcesContent: undefined };
}

/**
 * One mapping for each run of generated code that is of one source line. Stacks need no
 * more, and the component carries a tenth.
 */
export function reduced(map) {
  const small = new GenMapping();
  let last = "";
  eachMapping(new TraceMap(map), ({ generatedLine, generatedColumn, source, originalLine, originalColumn }) => {
    const key = `${generatedLine} ${source} ${originalLine}`;
    if (key === last) return;
    last = key;
    if (source === null) return addMapping(small, { generated: { line: generatedLine, column: generatedColumn } });
    addMapping(small, { generated: { line: generatedLine, column: generatedColumn }, source, original: { line: originalLine, column: originalColumn } });
  });
  return toEncodedMap(small);
}

/** The first place of the author's in a stack of the engine's. */
export function placeIn(text, map) {
  const trace = new TraceMap(map);
  for (const [, line, column] of text.matchAll(/source\.js:(\d+)(?::(\d+))?/g)) {
    const found = originalPositionFor(trace, { line: Number(line), column: Math.max(0, Number(column ?? 1) - 1) });
    if (found.source !== null && !found.source.startsWith("keyhole:")) return `${found.source}:${found.line}:${found.column + 1}`;
  }
  return undefined;
}

// node:util: the util package, with Node.js's own inspect and format.

import util from "util/util.js";
import { format, formatWithOptions, inspect } from "node-inspect-extracted";

export { format, formatWithOptions, inspect };
export const { callbackify, deprecate, isArray, isBoolean, isNull, isNullOrUndefined, isNumber, isString, isSymbol, isUndefined, isRegExp, isObject, isDate, isError, isFunction, isPrimitive, isBuffer, log } = util;
export const { TextEncoder, TextDecoder } = globalThis;

/** Not the package's: whichever of it and the inherits package is loaded first finds the other half made. */
export function inherits(constructor, base) {
  Object.defineProperty(constructor, "super_", { value: base, writable: true, configurable: true });
  Object.setPrototypeOf(constructor.prototype, base.prototype);
}
export const types = {
  ...util.types,
  isUint8Array: (value) => value instanceof Uint8Array,
  isProxy: () => false,
  isCryptoKey: (value) => value instanceof CryptoKey,
  isKeyObject: () => false,
  isExternal: () => false,
};

const CUSTOM = Symbol.for("nodejs.util.promisify.custom");

/** Not the package's: its symbol is one of its own, which nothing else names. */
export function promisify(original) {
  if (typeof original !== "function") throw Object.assign(new TypeError(`The "original" argument must be of type function. Received ${inspect(original)}`), { code: "ERR_INVALID_ARG_TYPE" });
  if (typeof original[CUSTOM] === "function") return original[CUSTOM];
  function promised(...values) {
    return new Promise((resolve, reject) => {
      original.call(this, ...values, (error, value) => (error ? reject(error) : resolve(value)));
    });
  }
  Object.setPrototypeOf(promised, Object.getPrototypeOf(original));
  const { name, length, prototype: _, ...own } = Object.getOwnPropertyDescriptors(original);
  return Object.defineProperties(promised, { ...own, name, [CUSTOM]: { value: promised, configurable: true } });
}
promisify.custom = CUSTOM;

export const debuglog = () => Object.assign(() => {}, { enabled: false });
export const debug = debuglog;
export const _extend = (target, source) => Object.assign(target, source);
export const stripVTControlCharacters = (text) => String(text).replace(/\u001b\[[0-9;?]*[ -/]*[@-~]/g, "");
export const toUSVString = (text) => String(text).toWellFormed?.() ?? String(text);
export const styleText = (_style, text) => text;
export const aborted = (signal) => new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener("abort", () => resolve(), { once: true })));
export const getSystemErrorName = (number) => `Unknown system error ${number}`;

export function isDeepStrictEqual(a, b) {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (a instanceof Date) return Object.is(a.getTime(), b.getTime());
  if (a instanceof RegExp) return String(a) === String(b);
  if (a instanceof Map) return a.size === b.size && [...a].every(([key, value]) => b.has(key) && isDeepStrictEqual(value, b.get(key)));
  if (a instanceof Set) return a.size === b.size && [...a].every((value) => b.has(value) || [...b].some((other) => isDeepStrictEqual(value, other)));
  const [left, right] = [Reflect.ownKeys(a), Reflect.ownKeys(b)];
  return left.length === right.length && left.every((key) => Object.hasOwn(b, key) && isDeepStrictEqual(a[key], b[key]));
}

export default {
  ...util, inherits, promisify, format, formatWithOptions, inspect, TextEncoder, TextDecoder, types, debuglog, debug, _extend, stripVTControlCharacters, toUSVString, styleText,
  aborted, getSystemErrorName, isDeepStrictEqual,
};

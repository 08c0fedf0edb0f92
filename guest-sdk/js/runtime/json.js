// Values to JSON, with an error that says what can't be one and where.

import { StepError } from "./failure.js";

const isObject = (value) => value !== null && typeof value === "object";

/** Whether it is an answer of axios, whose `request` and `config` are of no use to later steps. */
const isAxios = (value) => ["status", "headers", "data", "config", "request"].every((name) => name in value);

function plain(_key, value) {
  if (typeof value === "bigint") return value.toString();
  if (!isObject(value)) return value;
  if (value instanceof Map) return Object.fromEntries(value);
  if (value instanceof Set) return [...value];
  if (value instanceof Headers) return Object.fromEntries(value);
  if (value instanceof Response) return { status: value.status, headers: value.headers };
  if (isAxios(value)) return { status: value.status, headers: value.headers, data: value.data };
  return value;
}

/** The same, with a word in the place of an object that is within itself. */
function uncircled() {
  const above = [];
  return function uncircle(key, value) {
    const shown = plain(key, value);
    while (above.length > 0 && above.at(-1).shown !== this) above.pop();
    if (!isObject(shown)) return shown;
    if (above.some((one) => one.value === value)) return "[Circular]";
    above.push({ value, shown });
    return shown;
  };
}

/** What a step returns: the body of a response is read, since nobody can later. */
export async function settled(value) {
  if (!(value instanceof Response) || value.bodyUsed) return value;
  const { status, headers } = value;
  const text = await value.text();
  try {
    return { status, headers, data: JSON.parse(text) };
  } catch {
    return { status, headers, data: text };
  }
}

/** JSON of `value`; undefined and functions are null. */
export function toJson(value, what) {
  try {
    return JSON.stringify(value, uncircled()) ?? "null";
  } catch (error) {
    throw new StepError(`${what} can't be JSON: ${error.message}. Give the fields that are needed rather than the whole object`, "step");
  }
}

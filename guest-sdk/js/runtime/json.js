// Values to JSON, with an error that says what can't be one and where.

import { StepError } from "./failure.js";

function plain(_key, value) {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Map) return Object.fromEntries(value);
  if (value instanceof Set) return [...value];
  return value;
}

/** JSON of `value`; undefined and functions are null. */
export function toJson(value, what) {
  try {
    return JSON.stringify(value, plain) ?? "null";
  } catch (error) {
    throw new StepError(`${what} can't be JSON: ${error.message}. Give the fields that are needed rather than the whole object`, "step");
  }
}

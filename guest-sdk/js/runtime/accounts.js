// An app prop's `$auth`, asked of the host when it is first read.

import { linked } from "keyhole:step/accounts@0.1.0";

import { StepError } from "./failure.js";
import { inRun } from "./state.js";

function denied(thrown) {
  const { tag, val } = thrown?.payload ?? thrown ?? {};
  return new StepError(val ?? tag ?? String(thrown), "access", tag === "unavailable");
}

/** Puts `$auth` and `$request` on an app prop's object. */
export function addAuth(target, name, optional) {
  let account;
  const get = () => {
    if (!inRun()) throw new StepError(`this.${name}.$auth is there in run and in options, not while the step is built`, "access");
    if (account !== undefined) return account;
    try {
      account = linked(name);
    } catch (thrown) {
      const tag = (thrown?.payload ?? thrown)?.tag;
      if (optional && tag === "not-linked") return (account = null);
      throw denied(thrown);
    }
    return account;
  };
  let auth;
  Object.defineProperty(target, "$auth", {
    enumerable: true,
    configurable: true,
    get() {
      if (auth === undefined) {
        const found = get();
        auth = found === null ? null : Object.fromEntries(found.auth().map((field) => [field.name, field.value]));
      }
      return auth ?? undefined;
    },
  });
  Object.defineProperty(target, "$request", {
    enumerable: false,
    configurable: true,
    get() {
      const found = get();
      if (found === null) return undefined;
      const { baseUrl, headers, query } = found.request();
      return { baseUrl, headers: Object.fromEntries(headers), query: Object.fromEntries(query) };
    },
  });
}

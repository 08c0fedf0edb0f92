// A request as data: what `$.send.http` is given, and what a prop of type `http_request` holds.

import { StepError } from "./failure.js";
import { toJson } from "./json.js";

const JSON_TYPE = "application/json";
const FORM = "application/x-www-form-urlencoded";
const MULTIPART = "multipart/form-data";

/** Bodies that `fetch` sends as they are. Packages bring these classes, too, and Node.js goes by the tag. */
const BODIES = new Set(["ArrayBuffer", "Blob", "File", "FormData", "ReadableStream", "URLSearchParams"]);

const isBody = (value) =>
  typeof value === "string" || ArrayBuffer.isView(value) || BODIES.has(value?.[Symbol.toStringTag]) || typeof value?.[Symbol.asyncIterator] === "function";

/** `[name, value]` of an object, of what has `entries`, or of a list of `{ name, value, disabled }` or of pairs. */
function pairs(given) {
  if (!Array.isArray(given)) return typeof given?.entries === "function" ? [...given.entries()] : Object.entries(given ?? {});
  const set = given.filter((one) => Array.isArray(one) || (one?.name && !one.disabled));
  return set.map((one) => (Array.isArray(one) ? one : [one.name, one.value ?? ""]));
}

/** Sends `{ method, url, headers, params, auth, data }`. */
export function sendRequest({ method, url, headers, params, auth, data }) {
  const target = new URL(url);
  for (const [name, value] of pairs(params)) target.searchParams.append(name, String(value));
  const sent = new Headers(pairs(headers).map(([name, value]) => [name, String(value)]));
  if (auth?.token !== undefined) sent.set("authorization", `Bearer ${auth.token}`);
  else if (auth) sent.set("authorization", `Basic ${Buffer.from(`${auth.username ?? ""}:${auth.password ?? ""}`).toString("base64")}`);
  let body = data;
  if (body !== undefined && !isBody(body)) {
    body = toJson(body, "the request's body");
    if (!sent.has("content-type")) sent.set("content-type", JSON_TYPE);
  }
  return fetch(target.href, { method: method.toUpperCase(), headers: sent, body });
}

/** The body of an `http_request`, and the type that is said of it: a text as it is, fields, or any value. */
function bodyOf(body) {
  if (body === null || typeof body !== "object" || !("raw" in body || "fields" in body)) return { data: body ?? undefined };
  const { contentType, mode, type, raw, fields } = body;
  const named = pairs(fields);
  if ((mode ?? type) === "raw" || named.length === 0) return raw ? { data: raw, contentType: contentType || JSON_TYPE } : {};
  const essence = contentType?.split(";")[0].trim().toLowerCase();
  if (essence === FORM) return { data: new URLSearchParams(named) };
  if (essence !== MULTIPART) return { data: Object.fromEntries(named), contentType };
  const form = new FormData();
  for (const [name, value] of named) form.append(name, value);
  return { data: form };
}

async function parsed(response) {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** What a prop of type `http_request` is: the request that somebody put together, and `execute`, which sends it. */
export function httpRequest(prop, value) {
  const execute = async () => {
    const { url, headers, params, auth, body, data } = value;
    if (!url) throw new StepError(`the prop ${prop} has no url`, "input");
    const method = value.method || "GET";
    // What a form still holds of a body that was meant for another method.
    const { data: payload, contentType } = /^(GET|HEAD)$/i.test(method) ? {} : bodyOf(body ?? data);
    const sent = pairs(headers);
    if (contentType && !sent.some(([name]) => name.toLowerCase() === "content-type")) sent.push(["content-type", contentType]);
    const credentials = auth?.type === "none" ? undefined : auth?.type === "bearer" ? { token: auth.token ?? "" } : auth;
    const response = await sendRequest({ method, url, headers: sent, params, auth: credentials, data: payload });
    const answer = await parsed(response);
    if (response.ok) return answer;
    throw Object.assign(new Error(`Request failed with status code ${response.status}`), { response: { status: response.status, headers: Object.fromEntries(response.headers), data: answer } });
  };
  return { ...value, execute };
}

// `fetch` as Node.js has it: redirects are followed, since the host follows none, and an
// error says which request it was.

import { inRun } from "./state.js";

const own = globalThis.fetch;
const MOST_REDIRECTS = 20;
const REDIRECTS = [301, 302, 303, 307, 308];

/** The engine's own fetch: one request, no redirects. */
export async function fetchOnce(request, init) {
  if (!inRun()) throw new Error("a request at the top level can't be sent, since that runs when the step is built: send it in run");
  return own(request, init);
}

async function send(request, init) {
  const url = typeof request === "string" ? request : (request?.url ?? String(request));
  if (url.startsWith("data:")) return dataResponse(url);
  try {
    return await fetchOnce(request, init);
  } catch (error) {
    if (!inRun()) throw error;
    throw failed(url, init?.method ?? request?.method ?? "GET", init?.signal, error);
  }
}

/** What the engine says is one sentence for every failure; the run's log of requests has the rest. */
export function failed(url, method, signal, cause) {
  if (signal?.aborted) return signal.reason ?? cause;
  let target = url;
  try {
    const { protocol, host } = new URL(url);
    target = `${protocol}//${host}`;
  } catch {
    // Not a URL: the engine's own message says so.
    return cause;
  }
  const error = new TypeError(`fetch failed: ${method.toUpperCase()} ${target} was refused or got no answer; the run's list of requests says why`);
  error.cause = cause;
  error.code = "ERR_KEYHOLE_REQUEST";
  return error;
}

function dataResponse(url) {
  const match = /^data:([^,]*?)(;base64)?,(.*)$/s.exec(url);
  if (!match) throw new TypeError("fetch failed: the data: URL has no comma");
  const bytes = match[2] ? Uint8Array.from(atob(decodeURIComponent(match[3])), (c) => c.charCodeAt(0)) : new TextEncoder().encode(decodeURIComponent(match[3]));
  return new Response(bytes, { headers: { "content-type": match[1] || "text/plain;charset=US-ASCII" } });
}

function isReplayable(body) {
  return body == null || typeof body === "string" || body instanceof ArrayBuffer || ArrayBuffer.isView(body) || body instanceof URLSearchParams;
}

const blobOf = async (blob) => (blob instanceof Blob ? blob : new Blob([await blob.arrayBuffer()], { type: blob.type }));

/** A view, or something that Node.js would take for a body, as what the engine takes. */
async function bodyOf(body) {
  if (body == null || typeof body === "string") return body;
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice();
  const known = [ArrayBuffer, Blob, FormData, URLSearchParams, ReadableStream];
  if (known.some((kind) => body instanceof kind)) return body;
  // Packages bring these classes, too, and Node.js goes by the tag.
  if (body[Symbol.toStringTag] === "FormData" && typeof body.entries === "function") {
    const form = new FormData();
    for (const [name, value] of body.entries()) {
      if (typeof value === "string") form.append(name, value);
      else form.append(name, await blobOf(value), value.name ?? "blob");
    }
    return form;
  }
  if (["Blob", "File"].includes(body[Symbol.toStringTag]) && typeof body.arrayBuffer === "function") return blobOf(body);
  if (typeof body[Symbol.asyncIterator] === "function") {
    const chunks = [];
    for await (const chunk of body) chunks.push(Buffer.from(chunk));
    return new Uint8Array(Buffer.concat(chunks));
  }
  return String(body);
}

export function installFetch() {
  globalThis.fetch = async function fetch(input, init) {
    let target = input instanceof Request ? input : String(input?.href ?? input);
    const { dispatcher: _dispatcher, agent: _agent, ...options } = init ?? {};
    if (options.body != null && /^(GET|HEAD)$/i.test(options.method ?? (input instanceof Request ? input.method : "GET"))) {
      throw new TypeError("Request with GET/HEAD method cannot have body. node:http and axios can send one");
    }
    if (options.body !== undefined) options.body = await bodyOf(options.body);
    const mode = options.redirect ?? (input instanceof Request ? input.redirect : undefined) ?? "follow";
    const spare = input instanceof Request && mode === "follow" && input.body === null ? input : undefined;
    for (let followed = 0; ; followed++) {
      const response = await send(target, options);
      const location = response.headers.get("location");
      if (followed > 0) Object.defineProperty(response, "redirected", { value: true, configurable: true });
      if (mode === "manual" || !REDIRECTS.includes(response.status) || location === null) return response;
      if (mode === "error") throw new TypeError(`fetch failed: ${response.status} redirects, and redirect is "error"`);
      if (followed === MOST_REDIRECTS) throw new TypeError(`fetch failed: more than ${MOST_REDIRECTS} redirects`);
      const from = typeof target === "string" ? target : target.url;
      const to = new URL(location, from);
      const method = (options.method ?? input.method ?? "GET").toUpperCase();
      const drop = response.status === 303 ? method !== "GET" && method !== "HEAD" : method === "POST" && response.status <= 302;
      if (!drop && (!isReplayable(options.body) || (input instanceof Request && spare === undefined && options.body === undefined))) return response;
      const headers = new Headers(options.headers ?? (input instanceof Request ? input.headers : undefined));
      if (drop) {
        options.method = "GET";
        delete options.body;
        for (const name of ["content-type", "content-length", "content-encoding", "content-language", "content-location"]) headers.delete(name);
      } else {
        options.method = method;
      }
      // As browsers and Node.js do: what identifies the caller stays with the host it was for.
      if (to.origin !== new URL(from).origin) for (const name of ["authorization", "cookie", "host", "proxy-authorization"]) headers.delete(name);
      options.headers = headers;
      target = to.href;
    }
  };
}

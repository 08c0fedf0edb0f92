// A GET or HEAD with a body, which `fetch` refuses, by the contract's own wasi:http: the
// broker answers it as every other.

import { handle } from "wasi:http/outgoing-handler@0.2.12";
import { Fields, OutgoingBody, OutgoingRequest } from "wasi:http/types@0.2.12";

import { inRun } from "./state.js";

/** The most that one write takes, as wasi:io has it. */
const CHUNK = 4096;
const READ = 65536n;

/** Waits without holding up what else the step does. */
async function ready(pollable, signal) {
  while (!pollable.ready()) {
    if (signal.aborted) throw signal.reason;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Written once the request is under way: until then nobody reads it. */
function write(body, bytes) {
  const stream = body.write();
  for (let at = 0; at < bytes.length; at += CHUNK) stream.blockingWriteAndFlush(bytes.subarray(at, at + CHUNK));
  stream[Symbol.dispose]();
  OutgoingBody.finish(body, undefined);
}

async function read(response, signal) {
  const body = response.consume();
  const stream = body.stream();
  const pollable = stream.subscribe();
  const chunks = [];
  try {
    for (;;) {
      await ready(pollable, signal);
      chunks.push(stream.read(READ));
    }
  } catch (thrown) {
    if ((thrown?.payload ?? thrown)?.tag !== "closed") throw thrown;
  }
  return Buffer.concat(chunks);
}

/** The answer to one request with a body; redirects are not followed. */
export async function fetchWithBody(url, { method, headers, body, signal }) {
  if (!inRun()) throw new Error("a request at the top level can't be sent, since that runs when the step is built: send it in run");
  const { protocol, host, pathname, search } = new URL(url);
  const text = new TextEncoder();
  const list = [...headers, ["content-length", String(body.length)]].map(([name, value]) => [name, text.encode(value)]);
  const request = new OutgoingRequest(Fields.fromList(list));
  request.setMethod({ tag: method.toLowerCase() });
  request.setScheme({ tag: protocol === "https:" ? "HTTPS" : "HTTP" });
  request.setAuthority(host);
  request.setPathWithQuery(pathname + search);
  const outgoing = request.body();
  const future = handle(request, undefined);
  write(outgoing, body);
  await ready(future.subscribe(), signal);
  const { tag, val } = future.get().val;
  if (tag === "err") throw new Error(`the request was refused: ${val.tag}`);
  const known = [...val.headers().entries()].map(([name, value]) => [name, new TextDecoder().decode(value)]);
  const status = val.status();
  const bytes = await read(val, signal);
  return new Response(method === "HEAD" || [204, 205, 304].includes(status) ? null : bytes, { status, headers: known });
}

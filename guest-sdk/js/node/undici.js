// undici, the package behind Node.js's fetch: what of it has a meaning without sockets.

export const { fetch, Request, Response, Headers, FormData } = globalThis;

export class Agent {
  close() {}
  destroy() {}
}
export { Agent as Client, Agent as Dispatcher, Agent as EnvHttpProxyAgent, Agent as MockAgent, Agent as Pool, Agent as ProxyAgent, Agent as RetryAgent };
export const setGlobalDispatcher = () => {};
export const getGlobalDispatcher = () => new Agent();

export async function request(url, { method = "GET", headers, body, query } = {}) {
  const target = new URL(url);
  for (const [name, value] of Object.entries(query ?? {})) target.searchParams.append(name, value);
  const response = await fetch(target.href, { method, headers, body, redirect: "manual" });
  const { Readable } = require("node:stream");
  const stream = response.body === null ? Readable.from([]) : Readable.fromWeb(response.body);
  const whole = async () => {
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    return Buffer.concat(chunks);
  };
  Object.assign(stream, { text: async () => (await whole()).toString(), json: async () => JSON.parse((await whole()).toString()), arrayBuffer: async () => new Uint8Array(await whole()).buffer });
  return { statusCode: response.status, headers: Object.fromEntries(response.headers), body: stream, trailers: {} };
}

function without(name) {
  return () => {
    throw new Error(`undici's ${name} can't work in a step: use fetch`);
  };
}
export const [stream, pipeline, connect, upgrade] = ["stream", "pipeline", "connect", "upgrade"].map(without);

export default { fetch, Request, Response, Headers, FormData, Agent, setGlobalDispatcher, getGlobalDispatcher, request, stream, pipeline, connect, upgrade };

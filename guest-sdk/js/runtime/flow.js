// `$`: what a step tells the workflow that it is part of.

import { delay, exit, export as exportValue, rerun, respond as hostRespond, suspend } from "keyhole:step/flow@0.1.0";

import { StepError } from "./failure.js";
import { toJson } from "./json.js";
import { send } from "./send.js";

/** Ends `run`; the host was told already. */
class FlowExit extends Error {}

let exited = false;

/** Whether the step was to end where it stood. */
export const hasExited = () => exited;

function told(call, what) {
  try {
    return call();
  } catch (thrown) {
    const { tag, val } = thrown?.payload ?? thrown ?? {};
    if (tag === undefined) throw thrown;
    throw new StepError(`${what}: ${val ?? tag}`, "step");
  }
}

function exported(name, value) {
  told(() => exportValue(String(name), toJson(value, `$.export(${JSON.stringify(name)})`)), `$.export(${JSON.stringify(name)})`);
}

async function bytesOf(body) {
  if (body == null) return [new Uint8Array(), undefined];
  if (typeof body === "string") return [new TextEncoder().encode(body), undefined];
  if (ArrayBuffer.isView(body)) return [new Uint8Array(body.buffer, body.byteOffset, body.byteLength), undefined];
  if (body instanceof ArrayBuffer) return [new Uint8Array(body), undefined];
  if (body instanceof Blob) return [new Uint8Array(await body.arrayBuffer()), body.type || undefined];
  if (typeof body[Symbol.asyncIterator] === "function") {
    const chunks = [];
    for await (const chunk of body) chunks.push(Buffer.from(chunk));
    return [new Uint8Array(Buffer.concat(chunks)), undefined];
  }
  return [new TextEncoder().encode(toJson(body, "$.respond's body")), "application/json; charset=utf-8"];
}

async function respond({ status = 200, headers = {}, body, bodyRaw, immediate = false } = {}) {
  const [bytes, type] = await bytesOf(bodyRaw ?? body);
  const list = Object.entries(headers).flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)]));
  if (type !== undefined && !list.some(([name]) => name.toLowerCase() === "content-type")) list.push(["content-type", type]);
  told(() => hostRespond({ status: Number(status), headers: list, body: bytes, immediate: immediate === true }), "$.respond");
}

const MOST_DELAY = 365 * 24 * 3600 * 1000;
const day = 24 * 3600 * 1000;

function milliseconds(value, what) {
  const number = Number(value);
  if (!(number >= 0)) throw new StepError(`${what} takes a number of milliseconds, not ${String(value)}`, "step");
  return Math.round(number);
}

const flow = {
  exit(reason) {
    exit(reason === undefined ? "" : String(reason));
    exited = true;
    throw new FlowExit();
  },
  delay(ms) {
    const wait = milliseconds(ms, "$.flow.delay");
    if (wait > MOST_DELAY) throw new StepError("$.flow.delay takes at most a year", "step");
    told(() => delay(BigInt(wait)), "$.flow.delay");
  },
  suspend(ms = day) {
    const wait = milliseconds(ms, "$.flow.suspend");
    return urls(told(() => suspend(BigInt(wait)), "$.flow.suspend"));
  },
  rerun(ms = 0, context = {}, retries = 10) {
    const wait = milliseconds(ms, "$.flow.rerun");
    const value = toJson(context ?? {}, "the context given to $.flow.rerun");
    return urls(told(() => rerun(BigInt(wait), value, retries), "$.flow.rerun"));
  },
};

const urls = ({ resumeUrl, cancelUrl }) => ({ resume_url: resumeUrl, cancel_url: cancelUrl });

/** `$` of one run. */
export function dollar(context) {
  return {
    export: exported,
    respond,
    flow,
    send,
    context: contextOf(context),
    // Older code writes `$.summary = …`.
    set summary(text) {
      exported("$summary", text);
    },
    set $summary(text) {
      exported("$summary", text);
    },
    service: {},
    interface: {},
    end: flow.exit,
  };
}

/** The host's context under the names that such code knows. */
function contextOf(context) {
  return {
    ...context,
    id: context.run,
    trace_id: context.run,
    workflow_id: context.workflow ?? "keyhole-run",
    workflow_name: context.workflow ?? "keyhole run",
    owner_id: context.member,
    ts: new Date().toISOString(),
    test: false,
    attempt: context.attempt,
    run: { id: context.run, runs: context.runs ?? 1, context: context.rerun, callback_request: context.resumed ?? undefined },
  };
}

/** What a prop of type `$.interface.http` is: the trigger's caller can be answered. */
export function httpInterface() {
  return { respond, endpoint: undefined };
}

// node:http and node:https over the engine's fetch, which the broker answers.
//
// A request's body is gathered and sent whole when it ends, so that its length is known:
// the broker can then look for a placeholder in it. Sockets, servers and agents have no
// meaning here; what asks for them gets objects that do nothing, or an error.

import { EventEmitter } from "node:events";
import { failed, fetchOnce } from "../runtime/fetch.js";
import { fetchWithBody } from "../runtime/raw.js";
import { Readable, Writable } from "./stream.js";

/** Set from the URL by the host, or not allowed in wasi:http. */
const FORBIDDEN = new Set(["host", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te", "trailer", "expect", "content-length"]);
const NO_BODY = new Set(["GET", "HEAD"]);

export const METHODS = ["ACL", "BIND", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK", "M-SEARCH", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "OPTIONS", "PATCH", "POST", "PROPFIND", "PROPPATCH", "PURGE", "PUT", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "TRACE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE"];

export const STATUS_CODES = {
  100: "Continue", 101: "Switching Protocols", 102: "Processing", 103: "Early Hints",
  200: "OK", 201: "Created", 202: "Accepted", 203: "Non-Authoritative Information", 204: "No Content", 205: "Reset Content", 206: "Partial Content", 207: "Multi-Status", 208: "Already Reported", 226: "IM Used",
  300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified", 305: "Use Proxy", 307: "Temporary Redirect", 308: "Permanent Redirect",
  400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout", 409: "Conflict", 410: "Gone", 411: "Length Required", 412: "Precondition Failed", 413: "Payload Too Large", 414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable", 417: "Expectation Failed", 418: "I'm a Teapot", 421: "Misdirected Request", 422: "Unprocessable Entity", 423: "Locked", 424: "Failed Dependency", 425: "Too Early", 426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests", 431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons",
  500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported", 506: "Variant Also Negotiates", 507: "Insufficient Storage", 508: "Loop Detected", 509: "Bandwidth Limit Exceeded", 510: "Not Extended", 511: "Network Authentication Required",
};

export const maxHeaderSize = 16384;

/** Stands where a socket is expected. */
class Socket extends EventEmitter {
  constructor() {
    super();
    this.destroyed = false;
    this.readable = true;
    this.writable = true;
    this.encrypted = true;
    this.authorized = true;
    this.connecting = false;
  }
  setKeepAlive() { return this; }
  setNoDelay() { return this; }
  setTimeout() { return this; }
  ref() { return this; }
  unref() { return this; }
  cork() {}
  uncork() {}
  address() { return {}; }
  destroy() { this.destroyed = true; return this; }
}

/** An agent's settings are kept, since libraries read them; connections are the host's. */
export class Agent extends EventEmitter {
  constructor(options = {}) {
    super();
    this.options = { ...options };
    this.defaultPort = 80;
    this.protocol = "http:";
    this.maxSockets = options.maxSockets ?? Infinity;
    this.maxFreeSockets = options.maxFreeSockets ?? 256;
    this.maxTotalSockets = options.maxTotalSockets ?? Infinity;
    this.keepAlive = options.keepAlive ?? false;
    this.requests = {};
    this.sockets = {};
    this.freeSockets = {};
  }
  destroy() {}
  getName() { return ""; }
}

export const globalAgent = new Agent();

export class IncomingMessage extends Readable {
  constructor(response, socket) {
    super();
    this.socket = socket;
    this.connection = socket;
    this.httpVersion = "1.1";
    this.httpVersionMajor = 1;
    this.httpVersionMinor = 1;
    this.complete = false;
    this.aborted = false;
    this.trailers = {};
    this.rawTrailers = [];
    this.headers = {};
    this.rawHeaders = [];
    if (response === undefined) return;
    this.statusCode = response.status;
    this.statusMessage = response.statusText || STATUS_CODES[response.status] || "";
    for (const [name, value] of response.headers) {
      this.rawHeaders.push(name, value);
      const key = name.toLowerCase();
      if (key === "set-cookie") (this.headers[key] ??= []).push(value);
      else this.headers[key] = key in this.headers ? `${this.headers[key]}, ${value}` : value;
    }
    const cookies = response.headers.getSetCookie?.() ?? [];
    if (cookies.length > 0) this.headers["set-cookie"] = cookies;
    this._reader = response.body?.getReader();
  }
  get headersDistinct() {
    return Object.fromEntries(Object.entries(this.headers).map(([name, value]) => [name, [value].flat()]));
  }
  setTimeout() { return this; }
  async _read() {
    try {
      const { done, value } = (await this._reader?.read()) ?? { done: true };
      if (done) {
        this.complete = true;
        this.push(null);
      } else {
        this.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
      }
    } catch (error) {
      this.destroy(Object.assign(new Error("aborted"), { code: "ECONNRESET", cause: error }));
    }
  }
  _destroy(error, callback) {
    if (!this.complete) {
      this.aborted = error != null;
      Promise.resolve(this._reader?.cancel()).catch(() => {});
    }
    callback(error);
  }
}

function optionsOf(input, options, protocol) {
  let from = {};
  if (typeof input === "string" || input instanceof URL) {
    const url = new URL(String(input));
    from = {
      protocol: url.protocol,
      hostname: url.hostname,
      port: url.port,
      path: url.pathname + url.search,
      auth: url.username || url.password ? `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}` : undefined,
    };
  } else {
    options = input;
  }
  return { protocol, method: "GET", path: "/", ...from, ...Object.fromEntries(Object.entries(options ?? {}).filter(([, value]) => value !== undefined)) };
}

export class OutgoingMessage extends Writable {}

export class ClientRequest extends OutgoingMessage {
  constructor(input, options, callback, protocol) {
    // A request is not done when its body is: its answer is yet to come.
    super({ autoDestroy: false });
    if (typeof options === "function") [options, callback] = [undefined, options];
    const given = optionsOf(input, options, protocol);
    this.method = String(given.method || "GET").toUpperCase();
    this.protocol = given.protocol;
    this.path = given.path || "/";
    this.host = String(given.hostname || given.host || "localhost").replace(/^\[|\]$/g, "");
    this.agent = given.agent;
    this.aborted = false;
    this.finished = false;
    this.headersSent = false;
    this.reusedSocket = false;
    this.maxHeadersCount = null;
    this.socket = new Socket();
    this.connection = this.socket;
    this._headers = new Map();
    this._chunks = [];
    this._abort = new AbortController();
    const standard = given.protocol === "https:" ? 443 : 80;
    const port = Number(given.port || given.defaultPort || standard);
    const authority = this.host.includes(":") ? `[${this.host}]` : this.host;
    this._url = `${given.protocol}//${authority}${port === standard ? "" : `:${port}`}${this.path}`;
    const headers = given.headers ?? {};
    if (Array.isArray(headers)) for (let i = 0; i < headers.length; i += 2) this.appendHeader(headers[i], headers[i + 1]);
    else for (const [name, value] of headers instanceof Headers ? headers : Object.entries(headers)) if (value !== undefined) this.setHeader(name, value);
    if (given.auth && !this.hasHeader("authorization")) this.setHeader("Authorization", `Basic ${Buffer.from(given.auth).toString("base64")}`);
    if (callback) this.once("response", callback);
    if (given.timeout) this.setTimeout(given.timeout);
    if (given.signal) {
      if (given.signal.aborted) queueMicrotask(() => this.destroy(given.signal.reason));
      else given.signal.addEventListener("abort", () => this.destroy(given.signal.reason));
    }
    queueMicrotask(() => {
      this.emit("socket", this.socket);
      this.socket.emit("connect");
      this.socket.emit("secureConnect");
    });
  }
  setHeader(name, value) {
    this._headers.set(String(name).toLowerCase(), [String(name), value]);
    return this;
  }
  setHeaders(headers) {
    for (const [name, value] of headers) this.setHeader(name, value);
    return this;
  }
  appendHeader(name, value) {
    const before = this.getHeader(name);
    return this.setHeader(name, before === undefined ? value : [before, value].flat());
  }
  getHeader(name) {
    return this._headers.get(String(name).toLowerCase())?.[1];
  }
  hasHeader(name) {
    return this._headers.has(String(name).toLowerCase());
  }
  removeHeader(name) {
    this._headers.delete(String(name).toLowerCase());
  }
  getHeaders() {
    return Object.fromEntries([...this._headers].map(([name, [, value]]) => [name, value]));
  }
  getHeaderNames() {
    return [...this._headers.keys()];
  }
  getRawHeaderNames() {
    return [...this._headers.values()].map(([name]) => name);
  }
  flushHeaders() {}
  setNoDelay() {}
  setSocketKeepAlive() {}
  addTrailers() {}
  setTimeout(ms, callback) {
    if (callback) this.once("timeout", callback);
    clearTimeout(this._timer);
    if (ms > 0) {
      this._timer = setTimeout(() => {
        this.emit("timeout");
        this.socket.emit("timeout");
      }, ms);
    }
    return this;
  }
  abort() {
    if (this.aborted) return;
    this.aborted = true;
    this.emit("abort");
    this.destroy();
  }
  _write(chunk, encoding, callback) {
    this._chunks.push(typeof chunk === "string" ? Buffer.from(chunk, encoding) : chunk);
    callback();
  }
  _final(callback) {
    this.finished = true;
    this._send();
    callback();
  }
  async _send() {
    const headers = new Headers();
    for (const [name, value] of this._headers.values()) {
      if (FORBIDDEN.has(name.toLowerCase())) continue;
      for (const one of [value].flat()) headers.append(name, String(one));
    }
    const init = { method: this.method, headers, redirect: "manual", signal: this._abort.signal };
    const body = this._chunks.length > 0 ? new Uint8Array(Buffer.concat(this._chunks)) : undefined;
    this._chunks = [];
    this.headersSent = true;
    let response;
    try {
      // The standard has fetch refuse what search APIs ask for, a GET with a body.
      if (NO_BODY.has(this.method) && body !== undefined) response = await fetchWithBody(this._url, { ...init, body });
      else response = await fetchOnce(this._url, { ...init, body });
    } catch (cause) {
      clearTimeout(this._timer);
      if (this.destroyed) return;
      const error = failed(this._url, this.method, undefined, cause);
      this.destroy(error);
      return;
    }
    clearTimeout(this._timer);
    if (this.destroyed) return;
    const message = new IncomingMessage(response, this.socket);
    message.req = this;
    message.url = "";
    this.res = message;
    if (this.listenerCount("response") === 0) message.resume();
    else this.emit("response", message);
    message.once("end", () => this.emit("close"));
  }
  _destroy(error, callback) {
    clearTimeout(this._timer);
    this.socket.destroyed = true;
    if (this.res === undefined || !this.res.complete) this._abort.abort();
    if (this.res !== undefined && !this.res.complete) this.res.destroy(error);
    const unanswered = this.res === undefined && error == null;
    callback(unanswered ? Object.assign(new Error("socket hang up"), { code: "ECONNRESET" }) : error);
  }
}

function noServer() {
  throw new Error("a step is no server: it is called by its workflow; answer the trigger's caller with $.respond");
}

export class Server extends EventEmitter {
  constructor() {
    super();
    noServer();
  }
}
export class ServerResponse extends OutgoingMessage {}
export const createServer = noServer;
export function validateHeaderName(name) {
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) throw Object.assign(new TypeError(`Header name must be a valid HTTP token ["${name}"]`), { code: "ERR_INVALID_HTTP_TOKEN" });
}
export function validateHeaderValue(name, value) {
  if (value === undefined) throw Object.assign(new TypeError(`Invalid value "undefined" for header "${name}"`), { code: "ERR_HTTP_INVALID_HEADER_VALUE" });
  if (/[^\t\x20-\x7e\x80-\xff]/.test(String(value))) throw Object.assign(new TypeError(`Invalid character in header content ["${name}"]`), { code: "ERR_INVALID_CHAR" });
}
export function setMaxIdleHTTPParsers() {}

export const request = (input, options, callback) => new ClientRequest(input, options, callback, "http:");
export const get = (input, options, callback) => request(input, options, callback).end();

export default {
  METHODS, STATUS_CODES, maxHeaderSize, Agent, globalAgent, IncomingMessage, OutgoingMessage, ClientRequest, Server, ServerResponse,
  createServer, validateHeaderName, validateHeaderValue, setMaxIdleHTTPParsers, request, get,
};

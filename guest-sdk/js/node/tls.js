// node:tls: what packages look at when they are loaded. Nothing connects.

import { EventEmitter } from "node:events";

function without(name) {
  return () => {
    throw new Error(`node:tls's ${name} can't work in a step: a step has no sockets; use fetch, and services over HTTPS`);
  };
}

class JSStreamSocket {}

export class TLSSocket extends EventEmitter {
  // http2-wrapper, a part of got, takes a class from here.
  _handle = { _parentWrap: new JSStreamSocket() };
  connect = without("TLSSocket");
}
export class Server extends EventEmitter {}
export class SecureContext {}
export const connect = without("connect");
export const createConnection = connect;
export const createServer = without("createServer");
export const createSecureContext = () => new SecureContext();
export const checkServerIdentity = () => undefined;
export const getCiphers = () => [];
export const rootCertificates = [];
export const DEFAULT_MIN_VERSION = "TLSv1.2";
export const DEFAULT_MAX_VERSION = "TLSv1.3";
export const DEFAULT_CIPHERS = "";
export const DEFAULT_ECDH_CURVE = "auto";

export default {
  TLSSocket, Server, SecureContext, connect, createConnection, createServer, createSecureContext, checkServerIdentity, getCiphers, rootCertificates,
  DEFAULT_MIN_VERSION, DEFAULT_MAX_VERSION, DEFAULT_CIPHERS, DEFAULT_ECDH_CURVE,
};

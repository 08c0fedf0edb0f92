// Keys of node:crypto: what a PEM, DER or JWK holds, and the same the other way round. What
// reads keys and what knows curves is evaluated when the first key is.

import { PKCS8_ED25519, SPKI_ED25519, bits, integer, octets, pem, sequence, tagged, unpem } from "./der.js";

const oid = (hex) => Buffer.from(hex, "hex");
const RSA = sequence(oid("06092a864886f70d010101"), oid("0500"));
const EC = oid("06072a8648ce3d0201");

/** By the identifier that a key names: Node.js's name, that of a JWK, bytes of a coordinate, the identifier in DER, the curve. */
const CURVES = {
  "1.2.840.10045.3.1.7": { name: "prime256v1", crv: "P-256", size: 32, oid: oid("06082a8648ce3d030107"), get: () => require("@noble/curves/nist.js").p256 },
  "1.3.132.0.34": { name: "secp384r1", crv: "P-384", size: 48, oid: oid("06052b81040022"), get: () => require("@noble/curves/nist.js").p384 },
  "1.3.132.0.35": { name: "secp521r1", crv: "P-521", size: 66, oid: oid("06052b81040023"), get: () => require("@noble/curves/nist.js").p521 },
  "1.3.132.0.10": { name: "secp256k1", crv: "secp256k1", size: 32, oid: oid("06052b8104000a"), get: () => require("@noble/curves/secp256k1.js").secp256k1 },
};

/** Of a JWK, and what parse-asn1 calls them. */
const RSA_FIELDS = { n: "modulus", e: "publicExponent", d: "privateExponent", p: "prime1", q: "prime2", dp: "exponent1", dq: "exponent2", qi: "coefficient" };

const base64url = (bytes) => Buffer.from(bytes).toString("base64url");
const fromBase64url = (text) => Buffer.from(String(text ?? ""), "base64url");
const padded = (bytes, size) => Buffer.concat([Buffer.alloc(Math.max(0, size - bytes.length)), bytes]);
export const bigOf = (bytes) => BigInt(`0x${Buffer.from(bytes).toString("hex") || "0"}`);
export function bytesOfBig(number, size) {
  const hex = number.toString(16);
  const bytes = Buffer.from(hex.length % 2 ? `0${hex}` : hex, "hex");
  return size === undefined ? bytes : padded(bytes, size);
}

const coded = (error, code) => Object.assign(error, { code });
// Libraries try a key first, and take what is none for a secret.
const undecodable = () => coded(new Error("error:1E08010C:DECODER routines::unsupported"), "ERR_OSSL_UNSUPPORTED");
const unfit = (what) => coded(new Error(`node:crypto's keys of ${what} can't work in a step: use RSA, P-256, P-384, P-521, secp256k1 or Ed25519`), "ERR_OSSL_UNSUPPORTED");

export const ed25519 = () => require("@noble/curves/ed25519.js").ed25519;

function curveBy(test, shown) {
  const found = Object.values(CURVES).find(test);
  if (found === undefined) throw unfit(`the curve ${shown}`);
  return found;
}

function ecOf(curve, secret, point) {
  if (secret === undefined) return { kind: "ec", curve, open: curve.get().Point.fromBytes(new Uint8Array(point)).toBytes(false) };
  const own = new Uint8Array(padded(secret, curve.size));
  return { kind: "ec", curve, secret: own, open: curve.get().getPublicKey(own, false) };
}

function edOf(secret, open) {
  const own = secret === undefined ? undefined : new Uint8Array(secret);
  return { kind: "ed25519", secret: own, open: own === undefined ? new Uint8Array(open) : ed25519().getPublicKey(own) };
}

function fromJwk(jwk) {
  const { kty, crv, d, x, y } = jwk;
  const secret = d === undefined ? undefined : fromBase64url(d);
  if (kty === "RSA") return { kind: "rsa", ...Object.fromEntries(Object.keys(RSA_FIELDS).filter((name) => jwk[name] !== undefined).map((name) => [name, bigOf(fromBase64url(jwk[name]))])) };
  if (kty === "OKP" && crv === "Ed25519") return edOf(secret, fromBase64url(x));
  if (kty !== "EC") throw unfit(`the kind ${crv ?? kty}`);
  const curve = curveBy((one) => one.crv === crv, crv);
  return ecOf(curve, secret, Buffer.concat([Buffer.from([4]), padded(fromBase64url(x), curve.size), padded(fromBase64url(y), curve.size)]));
}

function fromPem(text, passphrase) {
  const der = unpem(text);
  if (der === undefined) throw undecodable();
  const startsWith = (prefix, size) => der.length >= prefix.length + size && der.subarray(0, prefix.length).equals(prefix);
  if (startsWith(PKCS8_ED25519, 32)) return edOf(der.subarray(PKCS8_ED25519.length, PKCS8_ED25519.length + 32));
  if (startsWith(SPKI_ED25519, 32)) return edOf(undefined, der.subarray(SPKI_ED25519.length));
  let parsed;
  try {
    parsed = require("parse-asn1")(passphrase === undefined ? text : { key: text, passphrase });
  } catch (error) {
    throw coded(new Error(`the key can't be read: ${error.message}`, { cause: error }), "ERR_OSSL_UNSUPPORTED");
  }
  if (parsed.modulus !== undefined) {
    const known = Object.entries(RSA_FIELDS).filter(([, name]) => parsed[name] !== undefined);
    return { kind: "rsa", ...Object.fromEntries(known.map(([name, field]) => [name, BigInt(`0x${parsed[field].toString(16)}`)])) };
  }
  const named = (parsed.curve ?? parsed.data?.algorithm?.curve)?.join?.(".");
  if (named === undefined) throw unfit(`the kind ${parsed.type ?? "that it is"}`);
  const curve = curveBy((one) => one === CURVES[named], named);
  return parsed.privateKey === undefined ? ecOf(curve, undefined, parsed.data.subjectPublicKey.data) : ecOf(curve, parsed.privateKey);
}

const isBytes = (value) => ArrayBuffer.isView(value) || value instanceof ArrayBuffer;
const bytesOf = (value) => (ArrayBuffer.isView(value) ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : Buffer.from(value));

/** What a key holds, however it was given. */
function read(given, type) {
  if (given instanceof KeyObject) return given.parts;
  const { key, format, passphrase, type: kind } = isBytes(given) || typeof given === "string" ? { key: given } : (given ?? {});
  if (key instanceof KeyObject) return key.parts;
  if (format === "jwk" || (key !== null && typeof key === "object" && key.kty !== undefined)) return fromJwk(key);
  if (format === "der") {
    const label = { pkcs1: `RSA ${type.toUpperCase()} KEY`, pkcs8: "PRIVATE KEY", spki: "PUBLIC KEY", sec1: "EC PRIVATE KEY" }[kind ?? "spki"];
    return fromPem(pem(label, bytesOf(key)), passphrase);
  }
  return fromPem(isBytes(key) ? bytesOf(key).toString() : String(key), passphrase);
}

const isSecret = (parts) => (parts.kind === "rsa" ? parts.d : parts.secret) !== undefined;

function opened({ kind, n, e, curve, open }) {
  return kind === "rsa" ? { kind, n, e } : { kind, curve, open };
}

function toJwk(parts, secret) {
  if (parts.kind === "rsa") {
    const fields = secret ? Object.keys(RSA_FIELDS) : ["n", "e"];
    return { kty: "RSA", ...Object.fromEntries(fields.filter((name) => parts[name] !== undefined).map((name) => [name, base64url(bytesOfBig(parts[name]))])) };
  }
  const d = secret ? { d: base64url(parts.secret) } : {};
  if (parts.kind === "ed25519") return { kty: "OKP", crv: "Ed25519", x: base64url(parts.open), ...d };
  const { crv, size } = parts.curve;
  return { kty: "EC", crv, x: base64url(parts.open.subarray(1, 1 + size)), y: base64url(parts.open.subarray(1 + size)), ...d };
}

const version = integer(Buffer.from([0]));
const numbers = (parts, names) => names.map((name) => integer(bytesOfBig(parts[name])));

/** The key's label in a PEM, and its DER. */
function toDer(parts, secret, type) {
  const { kind, curve } = parts;
  if (!secret) {
    const key = kind === "rsa" ? sequence(...numbers(parts, ["n", "e"])) : undefined;
    if (type === "pkcs1" && key !== undefined) return ["RSA PUBLIC KEY", key];
    if (type !== undefined && type !== "spki") throw coded(new TypeError(`a public key of ${kind} is no ${type}`), "ERR_CRYPTO_INCOMPATIBLE_KEY_OPTIONS");
    if (kind === "ed25519") return ["PUBLIC KEY", Buffer.concat([SPKI_ED25519, parts.open])];
    return ["PUBLIC KEY", kind === "rsa" ? sequence(RSA, bits(key)) : sequence(sequence(EC, curve.oid), bits(parts.open))];
  }
  if (kind === "ed25519") {
    if (type === undefined || type === "pkcs8") return ["PRIVATE KEY", Buffer.concat([PKCS8_ED25519, parts.secret])];
  } else if (kind === "rsa") {
    if (parts.p === undefined) throw unfit("RSA without their primes");
    const key = sequence(version, ...numbers(parts, Object.keys(RSA_FIELDS)));
    if (type === "pkcs1") return ["RSA PRIVATE KEY", key];
    if (type === undefined || type === "pkcs8") return ["PRIVATE KEY", sequence(version, RSA, octets(key))];
  } else {
    const key = (...more) => sequence(integer(Buffer.from([1])), octets(parts.secret), ...more, tagged(0xa1, bits(parts.open)));
    if (type === "sec1") return ["EC PRIVATE KEY", key(tagged(0xa0, curve.oid))];
    if (type === undefined || type === "pkcs8") return ["PRIVATE KEY", sequence(version, sequence(EC, curve.oid), octets(key()))];
  }
  throw coded(new TypeError(`a private key of ${kind} is no ${type}`), "ERR_CRYPTO_INCOMPATIBLE_KEY_OPTIONS");
}

/** A key as Node.js gives it: libraries pass it on to createHmac or createSign. */
export class KeyObject {
  constructor(type, value) {
    this.type = type;
    const hidden = (name, get) => Object.defineProperty(this, name, { get, configurable: true, enumerable: false });
    if (type === "secret") {
      this.symmetricKeySize = value.length;
      hidden("value", () => value);
      return;
    }
    hidden("parts", () => value);
    this.asymmetricKeyType = value.kind;
    if (value.kind === "rsa") this.asymmetricKeyDetails = { modulusLength: value.n.toString(2).length, publicExponent: value.e };
    else this.asymmetricKeyDetails = value.kind === "ec" ? { namedCurve: value.curve.name } : {};
    // What packages that know no objects take for it.
    hidden("value", () => this.export({ format: "pem" }));
  }
  export({ format = this.type === "secret" ? "buffer" : "pem", type, cipher } = {}) {
    if (cipher !== undefined) throw new Error("node:crypto's encrypted keys can't be made in a step: export it without a cipher");
    if (this.type === "secret") return format === "jwk" ? { kty: "oct", k: base64url(this.value) } : Buffer.from(this.value);
    const secret = this.type === "private";
    if (format === "jwk") return toJwk(this.parts, secret);
    const [label, der] = toDer(this.parts, secret, type);
    return format === "der" ? der : pem(label, der);
  }
  equals(other) {
    const shown = (key) => JSON.stringify(key.export({ format: "jwk" }));
    return other instanceof KeyObject && this.type === other.type && shown(this) === shown(other);
  }
}

export const createSecretKey = (key, encoding) => new KeyObject("secret", typeof key === "string" ? Buffer.from(key, encoding) : Buffer.from(bytesOf(key)));

export function createPrivateKey(given) {
  const parts = read(given, "private");
  if (!isSecret(parts)) throw undecodable();
  return new KeyObject("private", parts);
}

/** Of a private key, its public half. */
export const createPublicKey = (given) => new KeyObject("public", opened(read(given, "public")));

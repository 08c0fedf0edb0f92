// `crypto.subtle` over node:crypto's stand-in: the engine's own imports keys as JWK alone,
// and breaks off when it signs. Only in components whose source names `subtle`.
//
// What is asked of it with an algorithm that it does not have is a NotSupportedError.

import { ed25519 } from "@noble/curves/ed25519.js";
import { p256, p384, p521 } from "@noble/curves/nist.js";
import parseKeys from "parse-asn1";

import { createCipheriv, createDecipheriv, createHmac, createSign, createVerify, hkdfSync, pbkdf2Sync, privateDecrypt, publicEncrypt, randomBytes, timingSafeEqual } from "../node/crypto.js";
import { PKCS8_ED25519, SPKI_ED25519, integer, pem, sequence } from "../node/der.js";

const own = globalThis.crypto.subtle;
const ownDigest = own.digest.bind(own);
const CURVES = { "P-256": [p256, 32, "1.2.840.10045.3.1.7"], "P-384": [p384, 48, "1.3.132.0.34"], "P-521": [p521, 66, "1.3.132.0.35"] };
/** What is signed is hashed already, and any `s` is valid (FIPS 186-5). */
const PLAIN = { prehash: false, lowS: false };
const BLOCKS = { "SHA-1": 64, "SHA-256": 64, "SHA-384": 128, "SHA-512": 128 };

const named = (name, message) => new DOMException(message, name);
const unsupported = (what) => named("NotSupportedError", `${what} can't work in a step; README.md of guest-sdk/js lists what can`);
const bytesOf = (data) => (ArrayBuffer.isView(data) ? Buffer.from(data.buffer, data.byteOffset, data.byteLength) : Buffer.from(data));
/** As WebCrypto gives bytes: a buffer of exactly that length. */
const given = (bytes) => new Uint8Array(bytes).buffer;
const base64url = (bytes) => Buffer.from(bytes).toString("base64url");
const fromBase64url = (text) => Buffer.from(String(text ?? ""), "base64url");
const nodeHash = (hash) => String(hash?.name ?? hash).toLowerCase().replace("sha-", "sha");

const NAMES = ["HMAC", "AES-CBC", "AES-CTR", "AES-GCM", "HKDF", "PBKDF2", "ECDSA", "ECDH", "Ed25519", "RSASSA-PKCS1-v1_5", "RSA-OAEP"];

/** An algorithm in the spelling of the standard, with its hash as an object. */
function normal(algorithm) {
  const all = typeof algorithm === "string" ? { name: algorithm } : { ...algorithm };
  const name = NAMES.find((known) => known.toLowerCase() === String(all.name).toLowerCase());
  if (name === undefined) throw unsupported(`crypto.subtle with ${all.name}`);
  if (all.hash !== undefined) all.hash = { name: String(all.hash.name ?? all.hash).toUpperCase() };
  return { ...all, name };
}

class CryptoKey {
  #value;
  constructor(type, algorithm, extractable, usages, value) {
    Object.assign(this, { type, algorithm, extractable, usages: [...usages] });
    this.#value = value;
  }
  static value(key) {
    return key.#value;
  }
  get [Symbol.toStringTag]() {
    return "CryptoKey";
  }
}
const valueOf = (key) => CryptoKey.value(key);

function allowed(key, usage) {
  if (!key.usages.includes(usage)) throw named("InvalidAccessError", `the key's usages do not include ${usage}`);
}

const RSA_FIELDS = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];
// What parse-asn1 calls them.
const RSA_PARSED = ["modulus", "publicExponent", "privateExponent", "prime1", "prime2", "exponent1", "exponent2", "coefficient"];

function importRsa(format, data) {
  if (format === "pkcs8") return ["private", { pem: pem("PRIVATE KEY", bytesOf(data)), der: bytesOf(data) }];
  if (format === "spki") return ["public", { pem: pem("PUBLIC KEY", bytesOf(data)), der: bytesOf(data) }];
  if (format !== "jwk") throw unsupported(`an RSA key as ${format}`);
  const secret = data.d !== undefined;
  const numbers = (secret ? RSA_FIELDS : ["n", "e"]).map((name) => integer(fromBase64url(data[name])));
  const der = sequence(...(secret ? [integer(Buffer.from([0]))] : []), ...numbers);
  return [secret ? "private" : "public", { pem: pem(secret ? "RSA PRIVATE KEY" : "RSA PUBLIC KEY", der) }];
}

function exportRsa(format, type, { pem: text, der }) {
  if (format !== "jwk") {
    if (der === undefined || (format === "spki") !== (type === "public")) throw unsupported(`an RSA key that was no ${format} as ${format}`);
    return given(der);
  }
  const parsed = parseKeys(text);
  const numbers = (type === "public" ? RSA_PARSED.slice(0, 2) : RSA_PARSED).map((name) => base64url(parsed[name].toArrayLike(Buffer)));
  return { kty: "RSA", ...Object.fromEntries(numbers.map((number, i) => [RSA_FIELDS[i], number])) };
}

function curveOf({ namedCurve }) {
  const found = CURVES[namedCurve];
  if (found === undefined) throw unsupported(`the curve ${namedCurve}`);
  const [curve, size, oid] = found;
  return { curve, size, oid };
}

/** A pair of which `secret` may be missing; points are uncompressed. */
const pairOf = (curve, secret) => ({ secret: new Uint8Array(secret), open: curve.getPublicKey(new Uint8Array(secret), false) });

function importEc(algorithm, format, data) {
  const { curve, size, oid } = curveOf(algorithm);
  const open = (point) => ["public", { open: curve.Point.fromBytes(new Uint8Array(point)).toBytes(false) }];
  const secret = (number) => ["private", pairOf(curve, Buffer.concat([Buffer.alloc(Math.max(0, size - number.length)), number]))];
  if (format === "raw") return open(bytesOf(data));
  if (format === "jwk") return data.d !== undefined ? secret(fromBase64url(data.d)) : open(Buffer.concat([Buffer.from([4]), fromBase64url(data.x), fromBase64url(data.y)]));
  const parsed = parseKeys(pem(format === "pkcs8" ? "PRIVATE KEY" : "PUBLIC KEY", bytesOf(data)));
  const named = format === "pkcs8" ? parsed.curve : parsed.data?.algorithm?.curve;
  if (named?.join(".") !== oid) throw new DOMException(`the key is not of ${algorithm.namedCurve}`, "DataError");
  return format === "pkcs8" ? secret(parsed.privateKey) : open(parsed.data.subjectPublicKey.data);
}

function exportEc(algorithm, format, type, { secret, open }) {
  const { size } = curveOf(algorithm);
  if (format === "raw" && type === "public") return given(open);
  if (format !== "jwk") throw unsupported(`a key of ${algorithm.namedCurve} as ${format}`);
  const jwk = { kty: "EC", crv: algorithm.namedCurve, x: base64url(open.subarray(1, 1 + size)), y: base64url(open.subarray(1 + size)) };
  return type === "public" ? jwk : { ...jwk, d: base64url(secret) };
}

function importEd(format, data) {
  const secret = (bytes) => ["private", { secret: new Uint8Array(bytes), open: ed25519.getPublicKey(new Uint8Array(bytes)) }];
  const open = (bytes) => ["public", { open: new Uint8Array(bytes) }];
  if (format === "jwk") return data.d !== undefined ? secret(fromBase64url(data.d)) : open(fromBase64url(data.x));
  if (format === "raw") return open(bytesOf(data));
  return format === "pkcs8" ? secret(bytesOf(data).subarray(PKCS8_ED25519.length)) : open(bytesOf(data).subarray(SPKI_ED25519.length));
}

function exportEd(format, type, { secret, open }) {
  if (format === "raw" && type === "public") return given(open);
  if (format === "spki" && type === "public") return given(Buffer.concat([SPKI_ED25519, open]));
  if (format === "pkcs8" && type === "private") return given(Buffer.concat([PKCS8_ED25519, secret]));
  if (format !== "jwk") throw unsupported(`a ${type} key of Ed25519 as ${format}`);
  const jwk = { kty: "OKP", crv: "Ed25519", x: base64url(open) };
  return type === "private" ? { ...jwk, d: base64url(secret) } : jwk;
}

/** The type of the key, its value and its algorithm. */
function imported(format, data, algorithm) {
  if (algorithm.name.startsWith("RSA")) {
    const [type, value] = importRsa(format, data);
    const { modulus, publicExponent } = parseKeys(value.pem);
    return [type, value, { ...algorithm, modulusLength: modulus.bitLength(), publicExponent: new Uint8Array(publicExponent.toArrayLike(Buffer)) }];
  }
  if (algorithm.name.startsWith("EC")) return [...importEc(algorithm, format, data), { name: algorithm.name, namedCurve: algorithm.namedCurve }];
  if (algorithm.name === "Ed25519") return [...importEd(format, data), { name: "Ed25519" }];
  if (format !== "raw" && format !== "jwk") throw unsupported(`a secret key as ${format}`);
  const value = format === "jwk" ? fromBase64url(data.k) : Buffer.from(bytesOf(data));
  if (algorithm.name.startsWith("AES")) {
    if (![16, 24, 32].includes(value.length)) throw named("DataError", "an AES key has 128, 192 or 256 bits");
    return ["secret", value, { name: algorithm.name, length: value.length * 8 }];
  }
  if (algorithm.name === "HMAC") return ["secret", value, { name: "HMAC", hash: algorithm.hash, length: value.length * 8 }];
  return ["secret", value, { name: algorithm.name }];
}

function crypt(algorithm, key, data, sealing) {
  const value = valueOf(key);
  const { name, iv, counter, additionalData, tagLength = 128 } = algorithm;
  if (name === "RSA-OAEP") {
    if (key.algorithm.hash?.name !== "SHA-1") throw unsupported(`RSA-OAEP with ${key.algorithm.hash?.name}`);
    return sealing ? publicEncrypt(value.pem, data) : privateDecrypt(value.pem, data);
  }
  const mode = { "AES-CBC": "cbc", "AES-CTR": "ctr", "AES-GCM": "gcm" }[name];
  if (mode === undefined) throw unsupported(`encrypting with ${name}`);
  const make = sealing ? createCipheriv : createDecipheriv;
  const cipher = make(`aes-${value.length * 8}-${mode}`, value, bytesOf(iv ?? counter));
  if (mode !== "gcm") return Buffer.concat([cipher.update(data), cipher.final()]);
  if (tagLength !== 128) throw unsupported(`AES-GCM with a tag of ${tagLength} bits`);
  if (additionalData !== undefined) cipher.setAAD(bytesOf(additionalData));
  if (sealing) return Buffer.concat([cipher.update(data), cipher.final(), cipher.getAuthTag()]);
  cipher.setAuthTag(data.subarray(-16));
  return Buffer.concat([cipher.update(data.subarray(0, -16)), cipher.final()]);
}

async function digested(hash, data) {
  return new Uint8Array(await ownDigest(hash, data));
}

async function derivedBits(algorithm, key, length) {
  const value = valueOf(key);
  if (algorithm.name === "PBKDF2") return pbkdf2Sync(value, bytesOf(algorithm.salt), algorithm.iterations, length / 8, nodeHash(algorithm.hash));
  if (algorithm.name === "HKDF") return Buffer.from(hkdfSync(nodeHash(algorithm.hash), value, bytesOf(algorithm.salt), bytesOf(algorithm.info), length / 8));
  if (algorithm.name !== "ECDH") throw unsupported(`deriving bits with ${algorithm.name}`);
  const { curve } = curveOf(key.algorithm);
  // The point's sign, then the coordinate that is shared.
  const shared = Buffer.from(curve.getSharedSecret(value.secret, valueOf(algorithm.public).open)).subarray(1);
  return length == null ? shared : shared.subarray(0, length / 8);
}

const subtle = {
  digest: (algorithm, data) => ownDigest(algorithm, data),
  async importKey(format, data, wanted, extractable, usages) {
    const [type, value, algorithm] = imported(format, data, normal(wanted));
    return new CryptoKey(type, algorithm, type === "public" || extractable, usages, value);
  },
  async exportKey(format, key) {
    if (!key.extractable) throw named("InvalidAccessError", "the key is not extractable");
    const { type, algorithm, usages } = key;
    const value = valueOf(key);
    const { name } = algorithm;
    const found = name.startsWith("RSA") ? exportRsa(format, type, value)
      : name.startsWith("EC") ? exportEc(algorithm, format, type, value)
      : name === "Ed25519" ? exportEd(format, type, value)
      : format === "raw" ? given(value) : { kty: "oct", k: base64url(value) };
    return format === "jwk" ? { ...found, ext: true, key_ops: [...usages] } : found;
  },
  async generateKey(wanted, extractable, usages) {
    const algorithm = normal(wanted);
    if (algorithm.name === "HMAC" || algorithm.name.startsWith("AES")) {
      const bits = algorithm.length ?? BLOCKS[algorithm.hash?.name] * 8;
      return subtle.importKey("raw", randomBytes(bits / 8), algorithm, extractable, usages);
    }
    if (algorithm.name.startsWith("RSA")) throw unsupported("making an RSA key");
    if (!algorithm.name.startsWith("EC") && algorithm.name !== "Ed25519") throw unsupported(`making a key for ${algorithm.name}`);
    const curve = algorithm.name === "Ed25519" ? ed25519 : curveOf(algorithm).curve;
    const pair = pairOf(curve, curve.utils.randomSecretKey());
    const of = (type, extractable, kept) => new CryptoKey(type, algorithm, extractable, usages.filter((usage) => kept.includes(usage)), pair);
    return { publicKey: of("public", true, ["verify"]), privateKey: of("private", extractable, ["sign", "deriveKey", "deriveBits"]) };
  },
  async sign(wanted, key, data) {
    allowed(key, "sign");
    const [algorithm, value, bytes] = [normal(wanted), valueOf(key), bytesOf(data)];
    if (algorithm.name === "HMAC") return given(createHmac(nodeHash(key.algorithm.hash), value).update(bytes).digest());
    if (algorithm.name === "RSASSA-PKCS1-v1_5") return given(createSign(`RSA-${nodeHash(key.algorithm.hash).toUpperCase()}`).update(bytes).sign(value.pem));
    if (algorithm.name === "Ed25519") return given(ed25519.sign(new Uint8Array(bytes), value.secret));
    if (algorithm.name !== "ECDSA") throw unsupported(`signing with ${algorithm.name}`);
    return given(curveOf(key.algorithm).curve.sign(await digested(algorithm.hash, bytes), value.secret, PLAIN));
  },
  async verify(wanted, key, signature, data) {
    allowed(key, "verify");
    const [algorithm, value, signed, bytes] = [normal(wanted), valueOf(key), bytesOf(signature), bytesOf(data)];
    if (algorithm.name === "HMAC") {
      const right = createHmac(nodeHash(key.algorithm.hash), value).update(bytes).digest();
      return right.length === signed.length && timingSafeEqual(right, signed);
    }
    if (algorithm.name === "RSASSA-PKCS1-v1_5") return createVerify(`RSA-${nodeHash(key.algorithm.hash).toUpperCase()}`).update(bytes).verify(value.pem, signed);
    const copy = new Uint8Array(signed);
    if (algorithm.name === "Ed25519") return copy.length === 64 && ed25519.verify(copy, new Uint8Array(bytes), value.open);
    if (algorithm.name !== "ECDSA") throw unsupported(`verifying with ${algorithm.name}`);
    const { curve, size } = curveOf(key.algorithm);
    return copy.length === 2 * size && curve.verify(copy, await digested(algorithm.hash, bytes), value.open, PLAIN);
  },
  async encrypt(wanted, key, data) {
    allowed(key, "encrypt");
    return given(crypt(normal(wanted), key, bytesOf(data), true));
  },
  async decrypt(wanted, key, data) {
    allowed(key, "decrypt");
    try {
      return given(crypt(normal(wanted), key, bytesOf(data), false));
    } catch (error) {
      throw error.name === "NotSupportedError" ? error : named("OperationError", "the data can't be decrypted with this key");
    }
  },
  async deriveBits(wanted, key, length) {
    return given(await derivedBits(normal(wanted), key, length));
  },
  async deriveKey(wanted, key, into, extractable, usages) {
    const target = normal(into);
    const bits = target.length ?? (BLOCKS[target.hash?.name] ?? 32) * 8;
    return subtle.importKey("raw", await derivedBits(normal(wanted), key, bits), target, extractable, usages);
  },
  wrapKey: () => Promise.reject(unsupported("crypto.subtle.wrapKey")),
  unwrapKey: () => Promise.reject(unsupported("crypto.subtle.unwrapKey")),
};

for (const [name, value] of Object.entries(subtle)) Object.defineProperty(own, name, { value, writable: true, configurable: true });
Object.defineProperty(globalThis, "CryptoKey", { value: CryptoKey, writable: true, configurable: true });

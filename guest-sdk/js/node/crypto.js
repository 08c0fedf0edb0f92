// node:crypto: hashes, HMACs, ciphers and signatures in JavaScript, by the packages that
// make up crypto-browserify; each is evaluated when it is first used. The engine's own
// `crypto` gives the random bytes.

import { KeyObject, createPrivateKey, createPublicKey, createSecretKey } from "./keys.js";
import { signatures } from "./signatures.js";

const { subtle } = globalThis.crypto;
export const webcrypto = globalThis.crypto;
export { subtle };
export const getRandomValues = (array) => globalThis.crypto.getRandomValues(array);

export function randomBytes(size, callback) {
  const bytes = Buffer.alloc(size);
  // 64 KiB are the most that one call gives.
  for (let at = 0; at < size; at += 65536) globalThis.crypto.getRandomValues(bytes.subarray(at, at + 65536));
  if (callback === undefined) return bytes;
  queueMicrotask(() => callback(null, bytes));
}

export function randomFillSync(buffer, offset = 0, size = buffer.byteLength - offset) {
  const view = new Uint8Array(buffer.buffer ?? buffer, (buffer.byteOffset ?? 0) + offset, size);
  view.set(randomBytes(size));
  return buffer;
}

export function randomFill(buffer, offset, size, callback) {
  const done = [offset, size, callback].find((value) => typeof value === "function");
  randomFillSync(buffer, typeof offset === "number" ? offset : 0, typeof size === "number" ? size : undefined);
  queueMicrotask(() => done(null, buffer));
}

export function randomUUID() {
  return globalThis.crypto.randomUUID();
}

export function randomInt(min, max, callback) {
  if (max === undefined || typeof max === "function") [min, max, callback] = [0, min, max];
  const range = max - min;
  if (!(Number.isSafeInteger(range) && range > 0)) throw new RangeError('The value of "max" is out of range');
  const most = Math.floor(2 ** 48 / range) * range;
  let drawn;
  do drawn = randomBytes(6).readUIntBE(0, 6);
  while (drawn >= most);
  const value = min + (drawn % range);
  if (callback === undefined) return value;
  queueMicrotask(() => callback(null, value));
}

export function timingSafeEqual(a, b) {
  const [left, right] = [a, b].map((one) => new Uint8Array(one.buffer ?? one, one.byteOffset ?? 0, one.byteLength));
  if (left.length !== right.length) throw Object.assign(new RangeError("Input buffers must have the same byte length"), { code: "ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH" });
  let different = 0;
  for (let i = 0; i < left.length; i++) different |= left[i] ^ right[i];
  return different === 0;
}

// Node.js 21 and later.
export function hash(algorithm, data, encoding = "hex") {
  const digest = createHash(algorithm).update(data);
  return encoding === "buffer" ? digest.digest() : digest.digest(encoding);
}

const raw = (key) => (key instanceof KeyObject ? key.value : key?.key instanceof KeyObject ? { ...key, key: key.key.value } : key);
export { KeyObject, createPrivateKey, createPublicKey, createSecretKey };

export const createHash = (algorithm) => copyable(() => require("create-hash/browser.js")(String(algorithm).replace(/^(?:rsa-)?(sha)-?(\d+)$/i, "$1$2")));

/** With the encoding that its package does not know. */
function withBase64url(hash) {
  const { digest } = hash;
  hash.digest = (encoding) => (encoding === "base64url" ? digest.call(hash).toString(encoding) : digest.call(hash, encoding));
  return hash;
}

/** A hash that can be copied in mid-stream, as Node.js' own can: what it is made of has no such thing. */
function copyable(make) {
  const hash = withBase64url(make());
  hash.copy = () => {
    const copy = copyable(make);
    // SHA is an object within a stream, MD5 and RIPEMD are the stream.
    const [from, to] = hash._hash ? [hash._hash, copy._hash] : [hash, copy];
    for (const [name, value] of Object.entries(from)) {
      if (Buffer.isBuffer(value)) to[name] = Buffer.from(value);
      else if (Array.isArray(value)) to[name] = [...value];
      else if (typeof value === "number" || typeof value === "boolean") to[name] = value;
    }
    return copy;
  };
  return hash;
}
export const createHmac = (algorithm, key) => withBase64url(require("create-hmac/browser.js")(algorithm, typeof raw(key) === "string" ? raw(key) : Buffer.from(raw(key))));

export const { Sign, Verify, createSign, createVerify, sign, verify } = signatures(createHash);

export const pbkdf2 = (...values) => require("pbkdf2/browser.js").pbkdf2(...values);
export const pbkdf2Sync = (...values) => require("pbkdf2/browser.js").pbkdf2Sync(...values);
export const createCipheriv = (algorithm, key, iv, options) => require("browserify-cipher/browser.js").createCipheriv(algorithm, raw(key), iv, options);
export const createDecipheriv = (algorithm, key, iv, options) => require("browserify-cipher/browser.js").createDecipheriv(algorithm, raw(key), iv, options);
export const getCiphers = () => require("browserify-cipher/browser.js").getCiphers();
export const getHashes = () => ["md5", "ripemd160", "sha1", "sha224", "sha256", "sha384", "sha512"];
export const createECDH = (curve) => require("create-ecdh/browser.js")(curve);
export const createDiffieHellman = (...values) => require("diffie-hellman/browser.js").createDiffieHellman(...values);
export const getDiffieHellman = (...values) => require("diffie-hellman/browser.js").getDiffieHellman(...values);

/** A key for encrypting, with the hash that the package has. */
function sealing(key) {
  const { oaepHash = "sha1" } = key ?? {};
  if (!/^sha-?1$/i.test(oaepHash)) throw new Error(`node:crypto's RSA-OAEP with ${oaepHash} can't work in a step: it has SHA-1 alone`);
  return raw(key);
}
export const publicEncrypt = (key, data) => require("public-encrypt/browser.js").publicEncrypt(sealing(key), data);
export const privateEncrypt = (key, data) => require("public-encrypt/browser.js").privateEncrypt(raw(key), data);
export const publicDecrypt = (key, data) => require("public-encrypt/browser.js").publicDecrypt(raw(key), data);
export const privateDecrypt = (key, data) => require("public-encrypt/browser.js").privateDecrypt(sealing(key), data);
export const constants = {
  RSA_PKCS1_PADDING: 1,
  RSA_NO_PADDING: 3,
  RSA_PKCS1_OAEP_PADDING: 4,
  RSA_PKCS1_PSS_PADDING: 6,
};

function without(name, instead) {
  return () => {
    throw new Error(`node:crypto's ${name} can't work in a step: ${instead}`);
  };
}
export const scrypt = without("scrypt", "use pbkdf2");
export const scryptSync = without("scryptSync", "use pbkdf2Sync");
export const generateKeyPair = without("generateKeyPair", "make keys outside, and connect them as an account");
export const generateKeyPairSync = without("generateKeyPairSync", "make keys outside, and connect them as an account");

/** RFC 5869. */
export function hkdfSync(digest, key, salt, info, length) {
  const bytes = (data) => (typeof data === "string" ? Buffer.from(data) : Buffer.from(raw(data)));
  const size = createHash(digest).digest().length;
  if (length > 255 * size) throw Object.assign(new RangeError("Invalid key length"), { code: "ERR_CRYPTO_INVALID_KEYLEN" });
  const salted = bytes(salt);
  const extracted = createHmac(digest, salted.length > 0 ? salted : Buffer.alloc(size)).update(bytes(key)).digest();
  const blocks = [];
  for (let last = Buffer.alloc(0); blocks.length * size < length; blocks.push(last)) {
    last = createHmac(digest, extracted).update(last).update(bytes(info)).update(Buffer.from([blocks.length + 1])).digest();
  }
  return new Uint8Array(Buffer.concat(blocks).subarray(0, length)).buffer;
}
export function hkdf(digest, key, salt, info, length, callback) {
  const derived = hkdfSync(digest, key, salt, info, length);
  queueMicrotask(() => callback(null, derived));
}

export default {
  webcrypto, subtle, getRandomValues, randomBytes, randomFillSync, randomFill, randomUUID, randomInt, timingSafeEqual, hash, KeyObject, createSecretKey,
  createPrivateKey, createPublicKey, createHash, createHmac, Sign, Verify, createSign, createVerify, sign, verify, pbkdf2, pbkdf2Sync, createCipheriv, createDecipheriv,
  getCiphers, getHashes, createECDH, createDiffieHellman, getDiffieHellman, publicEncrypt, privateEncrypt, publicDecrypt, privateDecrypt, constants, scrypt,
  scryptSync, generateKeyPair, generateKeyPairSync, hkdf, hkdfSync,
};

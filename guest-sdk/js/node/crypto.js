// node:crypto: hashes, HMACs, ciphers and signatures in JavaScript, by the packages that
// make up crypto-browserify; each is evaluated when it is first used. The engine's own
// `crypto` gives the random bytes.

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

/** A key as Node.js gives it: libraries pass it on to createHmac or createSign. */
class KeyObject {
  constructor(type, value) {
    this.type = type;
    this._value = value;
    this.symmetricKeySize = type === "secret" ? value.length : undefined;
    this.asymmetricKeyType = type === "secret" ? undefined : "rsa";
  }
  export() {
    return this._value;
  }
}

const raw = (key) => (key instanceof KeyObject ? key._value : key?.key instanceof KeyObject ? { ...key, key: key.key._value } : key);
export { KeyObject };
export const createSecretKey = (key, encoding) => new KeyObject("secret", typeof key === "string" ? Buffer.from(key, encoding) : Buffer.from(key));

function asymmetric(type, key) {
  const value = key?.key ?? key;
  // Libraries try this first, and take what is no PEM for a secret.
  if (!/-----BEGIN /.test(String(value))) throw Object.assign(new Error("error:1E08010C:DECODER routines::unsupported"), { code: "ERR_OSSL_UNSUPPORTED" });
  return new KeyObject(type, value);
}
export const createPrivateKey = (key) => asymmetric("private", key);
export const createPublicKey = (key) => asymmetric("public", key);

export const createHash = (algorithm) => copyable(() => require("create-hash/browser.js")(String(algorithm).replace(/^(sha)-(\d+)$/i, "$1$2")));

/** A hash that can be copied in mid-stream, as Node.js' own can: what it is made of has no such thing. */
function copyable(make) {
  const hash = make();
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
export const createHmac = (algorithm, key) => require("create-hmac/browser.js")(algorithm, typeof raw(key) === "string" ? raw(key) : Buffer.from(raw(key)));

// The beginning of a DigestInfo, by hash (RFC 8017, 9.2).
const DIGEST_INFO = {
  md5: "3020300c06082a864886f70d020505000410",
  sha1: "3021300906052b0e03021a05000414",
  sha224: "302d300d06096086480165030402040500041c",
  sha256: "3031300d060960864801650304020105000420",
  sha384: "3041300d060960864801650304020205000430",
  sha512: "3051300d060960864801650304020305000440",
};

function power(base, exponent, modulus) {
  let result = 1n;
  for (const bit of exponent.toString(2)) {
    result = (result * result) % modulus;
    if (bit === "1") result = (result * base) % modulus;
  }
  return result;
}

/** RSASSA-PKCS1-v1_5 by the engine's own big numbers: those of a package take seconds here. */
function signRsa(hash, digest, key) {
  const [n, d, p, q, dp, dq, inverse] = ["modulus", "privateExponent", "prime1", "prime2", "exponent1", "exponent2", "coefficient"].map((name) => BigInt(`0x${key[name].toString(16)}`));
  const size = Math.ceil(n.toString(16).length / 2);
  const info = Buffer.concat([Buffer.from(DIGEST_INFO[hash], "hex"), digest]);
  if (size < info.length + 11) throw new Error("the RSA key is too small for the digest");
  const message = BigInt(`0x0001${"ff".repeat(size - info.length - 3)}00${info.toString("hex")}`);
  let signed;
  if (p > 0n && q > 0n) {
    const [first, second] = [power(message % p, dp, p), power(message % q, dq, q)];
    signed = second + ((((first - second) * inverse) % p + p) % p) * q;
  } else {
    signed = power(message, d, n);
  }
  return Buffer.from(signed.toString(16).padStart(size * 2, "0"), "hex");
}

/** Signs RSA keys by `signRsa`; all others as the package does. */
function withRsa(algorithm, signing) {
  const hash = String(algorithm).toLowerCase().replace(/^rsa-|with.*$/g, "").replace("-", "");
  if (DIGEST_INFO[hash] === undefined) return signing;
  const { update, sign } = signing;
  const digest = createHash(hash);
  signing.update = (data, encoding) => {
    digest.update(data, encoding);
    update.call(signing, data, encoding);
    return signing;
  };
  signing.sign = (key, encoding) => {
    const parsed = require("parse-asn1")(key);
    if (parsed.modulus === undefined) return sign.call(signing, key, encoding);
    if (key.padding !== undefined && key.padding !== constants.RSA_PKCS1_PADDING) throw new Error("node:crypto's RSA-PSS can't work in a step: sign with PKCS#1 v1.5, such as RS256");
    const signature = signRsa(hash, digest.digest(), parsed);
    return encoding === undefined ? signature : signature.toString(encoding);
  };
  return signing;
}

function signer(create) {
  return (algorithm) => {
    const signer = create(algorithm);
    const { sign, verify } = signer;
    if (sign) signer.sign = (key, encoding) => sign.call(signer, raw(key), encoding);
    if (verify) signer.verify = (key, signature, encoding) => verify.call(signer, raw(key), signature, encoding);
    return signer;
  };
}
export const createSign = signer((algorithm) => withRsa(algorithm, require("browserify-sign/browser/index.js").createSign(algorithm)));
export const createVerify = signer((algorithm) => require("browserify-sign/browser/index.js").createVerify(algorithm));
export const sign = (algorithm, data, key) => createSign(algorithm).update(data).sign(key);
export const verify = (algorithm, data, key, signature) => createVerify(algorithm).update(data).verify(key, signature);

export const pbkdf2 = (...values) => require("pbkdf2/browser.js").pbkdf2(...values);
export const pbkdf2Sync = (...values) => require("pbkdf2/browser.js").pbkdf2Sync(...values);
export const createCipheriv = (algorithm, key, iv, options) => require("browserify-cipher/browser.js").createCipheriv(algorithm, raw(key), iv, options);
export const createDecipheriv = (algorithm, key, iv, options) => require("browserify-cipher/browser.js").createDecipheriv(algorithm, raw(key), iv, options);
export const getCiphers = () => require("browserify-cipher/browser.js").getCiphers();
export const getHashes = () => ["md5", "ripemd160", "sha1", "sha224", "sha256", "sha384", "sha512"];
export const createECDH = (curve) => require("create-ecdh/browser.js")(curve);
export const createDiffieHellman = (...values) => require("diffie-hellman/browser.js").createDiffieHellman(...values);
export const getDiffieHellman = (...values) => require("diffie-hellman/browser.js").getDiffieHellman(...values);
export const publicEncrypt = (key, data) => require("public-encrypt/browser.js").publicEncrypt(raw(key), data);
export const privateEncrypt = (key, data) => require("public-encrypt/browser.js").privateEncrypt(raw(key), data);
export const publicDecrypt = (key, data) => require("public-encrypt/browser.js").publicDecrypt(raw(key), data);
export const privateDecrypt = (key, data) => require("public-encrypt/browser.js").privateDecrypt(raw(key), data);
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
  createPrivateKey, createPublicKey, createHash, createHmac, createSign, createVerify, sign, verify, pbkdf2, pbkdf2Sync, createCipheriv, createDecipheriv,
  getCiphers, getHashes, createECDH, createDiffieHellman, getDiffieHellman, publicEncrypt, privateEncrypt, publicDecrypt, privateDecrypt, constants, scrypt,
  scryptSync, generateKeyPair, generateKeyPairSync, hkdf, hkdfSync,
};

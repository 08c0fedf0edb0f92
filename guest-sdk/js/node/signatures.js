// Signatures of node:crypto: RSASSA-PKCS1-v1_5 by the engine's own big numbers, since those of
// a package take seconds here, ECDSA and Ed25519 by @noble/curves.

import { EventEmitter } from "node:events";

import { bigOf, bytesOfBig, createPrivateKey, createPublicKey, ed25519 } from "./keys.js";

// The beginning of a DigestInfo, by hash (RFC 8017, 9.2).
const DIGEST_INFO = {
  md5: "3020300c06082a864886f70d020505000410",
  sha1: "3021300906052b0e03021a05000414",
  sha224: "302d300d06096086480165030402040500041c",
  sha256: "3031300d060960864801650304020105000420",
  sha384: "3041300d060960864801650304020205000430",
  sha512: "3051300d060960864801650304020305000440",
};
const PKCS1 = 1;

/** The hash that a signature's name names: sha256, RSA-SHA256, sha256WithRSAEncryption, ecdsa-with-SHA256. */
function hashOf(algorithm) {
  const hash = String(algorithm).toLowerCase().replace(/^rsa-|^ecdsa-with-|withrsaencryption$/g, "").replace("-", "");
  if (DIGEST_INFO[hash] === undefined) throw Object.assign(new Error(`Invalid digest: ${algorithm}`), { code: "ERR_CRYPTO_INVALID_DIGEST" });
  return hash;
}

export function power(base, exponent, modulus) {
  let result = 1n;
  for (const bit of exponent.toString(2)) {
    result = (result * result) % modulus;
    if (bit === "1") result = (result * base) % modulus;
  }
  return result;
}

/** What is signed, as a number of as many bytes as the modulus has. */
function encoded(hash, digest, size) {
  const info = Buffer.concat([Buffer.from(DIGEST_INFO[hash], "hex"), digest]);
  if (size < info.length + 11) throw new Error("the RSA key is too small for the digest");
  return BigInt(`0x0001${"ff".repeat(size - info.length - 3)}00${info.toString("hex")}`);
}

const sizeOf = ({ n }) => Math.ceil(n.toString(16).length / 2);

function signRsa(hash, digest, { n, d, p, q, dp, dq, qi }) {
  const size = sizeOf({ n });
  const message = encoded(hash, digest, size);
  let signed;
  if (p > 0n && q > 0n && dp > 0n && dq > 0n) {
    const [first, second] = [power(message % p, dp, p), power(message % q, dq, q)];
    signed = second + ((((first - second) * qi) % p + p) % p) * q;
  } else {
    signed = power(message, d, n);
  }
  return bytesOfBig(signed, size);
}

function verifyRsa(hash, digest, { n, e }, signature) {
  const size = sizeOf({ n });
  return signature.length === size && power(bigOf(signature), e, n) === encoded(hash, digest, size);
}

/** What is signed is hashed already, and any `s` is valid (FIPS 186-5). */
const ecdsa = (key) => ({ prehash: false, lowS: false, format: key?.dsaEncoding === "ieee-p1363" ? "compact" : "der" });

function plain(key, kind) {
  if (kind === "rsa" && key?.padding !== undefined && key.padding !== PKCS1) throw new Error("node:crypto's RSA-PSS can't work in a step: sign with PKCS#1 v1.5, such as RS256");
}

const bytes = (data, encoding) => (typeof data === "string" ? Buffer.from(data, encoding) : Buffer.from(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength));

function signDigest(hash, digest, key) {
  const { parts } = createPrivateKey(key);
  plain(key, parts.kind);
  if (parts.kind === "rsa") return signRsa(hash, digest, parts);
  if (parts.kind === "ec") return Buffer.from(parts.curve.get().sign(new Uint8Array(digest), parts.secret, ecdsa(key)));
  throw Object.assign(new Error("Unsupported crypto operation: sign with Ed25519 by crypto.sign(null, data, key)"), { code: "ERR_CRYPTO_UNSUPPORTED_OPERATION" });
}

function verifyDigest(hash, digest, key, signature) {
  const { parts } = createPublicKey(key);
  plain(key, parts.kind);
  if (parts.kind === "rsa") return verifyRsa(hash, digest, parts, signature);
  if (parts.kind !== "ec") throw Object.assign(new Error("Unsupported crypto operation: verify Ed25519 by crypto.verify(null, data, key, signature)"), { code: "ERR_CRYPTO_UNSUPPORTED_OPERATION" });
  try {
    return parts.curve.get().verify(new Uint8Array(signature), new Uint8Array(digest), parts.open, ecdsa(key));
  } catch {
    // Not of the form that a signature has.
    return false;
  }
}

/** A stream's end, as far as `update`, `write` and `pipe` need one. */
class Digesting extends EventEmitter {
  writable = true;
  constructor(algorithm, createHash) {
    super();
    this.hash = hashOf(algorithm);
    this.digest = createHash(this.hash);
  }
  update(data, encoding) {
    this.digest.update(bytes(data, encoding));
    return this;
  }
  write(chunk, encoding, callback) {
    this.update(chunk, typeof encoding === "string" ? encoding : undefined);
    [encoding, callback].find((value) => typeof value === "function")?.();
    return true;
  }
  end(chunk, encoding) {
    if (chunk !== undefined && typeof chunk !== "function") this.update(chunk, encoding);
    this.emit("finish");
    return this;
  }
}

/** `createSign` and its like, over `createHash`. */
export function signatures(createHash) {
  class Sign extends Digesting {
    sign(key, encoding) {
      const signed = signDigest(this.hash, this.digest.digest(), key);
      return encoding === undefined || encoding === "buffer" ? signed : signed.toString(encoding);
    }
  }
  class Verify extends Digesting {
    verify(key, signature, encoding) {
      return verifyDigest(this.hash, this.digest.digest(), key, bytes(signature, encoding));
    }
  }
  const answered = (work, callback) => {
    if (callback === undefined) return work();
    let value;
    try {
      value = work();
    } catch (error) {
      return queueMicrotask(() => callback(error));
    }
    queueMicrotask(() => callback(null, value));
  };
  /** Ed25519 hashes what it signs itself, and is asked for without a hash. */
  const isEd = (algorithm, create, key) => algorithm == null && create(key).asymmetricKeyType === "ed25519";
  return {
    Sign,
    Verify,
    createSign: (algorithm) => new Sign(algorithm, createHash),
    createVerify: (algorithm) => new Verify(algorithm, createHash),
    sign: (algorithm, data, key, callback) =>
      answered(() => {
        if (isEd(algorithm, createPrivateKey, key)) return Buffer.from(ed25519().sign(new Uint8Array(bytes(data)), createPrivateKey(key).parts.secret));
        return new Sign(algorithm ?? "sha256", createHash).update(data).sign(key);
      }, callback),
    verify: (algorithm, data, key, signature, callback) =>
      answered(() => {
        if (!isEd(algorithm, createPublicKey, key)) return new Verify(algorithm ?? "sha256", createHash).update(data).verify(key, signature);
        const signed = new Uint8Array(bytes(signature));
        return signed.length === 64 && ed25519().verify(signed, new Uint8Array(bytes(data)), createPublicKey(key).parts.open);
      }, callback),
  };
}

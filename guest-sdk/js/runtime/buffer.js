// `Buffer` with the encoding that its package lacks, base64url.

import { Buffer } from "node:buffer";

const isUrl = (encoding) => typeof encoding === "string" && encoding.toLowerCase() === "base64url";
/** Reading base64 takes both alphabets, with and without padding. */
const plain = (encoding) => (isUrl(encoding) ? "base64" : encoding);

const { from, byteLength, isEncoding, prototype } = Buffer;
const { toString, write, fill } = prototype;

function put(target, name, value) {
  Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false });
}

if (!isEncoding("base64url")) {
  put(Buffer, "from", (value, encoding, length) => from(value, plain(encoding), length));
  put(Buffer, "byteLength", (value, encoding) => byteLength(value, plain(encoding)));
  put(Buffer, "isEncoding", (encoding) => isUrl(encoding) || isEncoding(encoding));
  put(prototype, "toString", function (encoding, start, end) {
    if (!isUrl(encoding)) return arguments.length === 0 ? toString.call(this) : toString.call(this, encoding, start, end);
    return toString.call(this, "base64", start, end).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  });
  put(prototype, "write", function (text, ...values) {
    return write.call(this, text, ...values.map(plain));
  });
  put(prototype, "fill", function (value, ...values) {
    return fill.call(this, value, ...values.map(plain));
  });
}

export { Buffer };

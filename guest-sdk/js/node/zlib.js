// node:zlib by browserify-zlib, evaluated when it is first used.

import { lazyClass } from "./lazy.js";

const zlib = () => require("browserify-zlib");

const FUNCTIONS = [
  "deflate", "deflateSync", "createDeflate", "gzip", "gzipSync", "createGzip", "deflateRaw", "deflateRawSync", "createDeflateRaw", "unzip",
  "unzipSync", "createUnzip", "inflate", "inflateSync", "createInflate", "gunzip", "gunzipSync", "createGunzip", "inflateRaw", "inflateRawSync",
  "createInflateRaw",
];
const BROTLI = ["brotliCompress", "brotliCompressSync", "brotliDecompress", "brotliDecompressSync", "createBrotliCompress", "createBrotliDecompress"];

const functions = {};
for (const name of FUNCTIONS) functions[name] = (...values) => zlib()[name](...values);
for (const name of BROTLI) {
  functions[name] = () => {
    throw new Error(`node:zlib's ${name} can't work in a step: ask for gzip, or for no compression`);
  };
}

const CLASSES = ["Deflate", "Inflate", "Gzip", "Gunzip", "DeflateRaw", "InflateRaw", "Unzip"];
const classes = Object.fromEntries(CLASSES.map((name) => [name, lazyClass(() => zlib()[name])]));
export const { Deflate, Inflate, Gzip, Gunzip, DeflateRaw, InflateRaw, Unzip } = classes;

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

/** CRC-32 as gzip and zip have it (RFC 1952); in Node.js since 22.2. */
export function crc32(data, value = 0) {
  let crc = ~value;
  for (const byte of typeof data === "string" ? Buffer.from(data) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength)) crc = table[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

export const constants = {
  Z_NO_FLUSH: 0, Z_PARTIAL_FLUSH: 1, Z_SYNC_FLUSH: 2, Z_FULL_FLUSH: 3, Z_FINISH: 4, Z_BLOCK: 5, Z_OK: 0, Z_STREAM_END: 1, Z_NEED_DICT: 2, Z_ERRNO: -1,
  Z_STREAM_ERROR: -2, Z_DATA_ERROR: -3, Z_BUF_ERROR: -5, Z_NO_COMPRESSION: 0, Z_BEST_SPEED: 1, Z_BEST_COMPRESSION: 9, Z_DEFAULT_COMPRESSION: -1,
  Z_DEFAULT_STRATEGY: 0, Z_DEFAULT_CHUNK: 16384, Z_DEFAULT_WINDOWBITS: 15, Z_DEFAULT_MEMLEVEL: 8, Z_DEFAULT_LEVEL: -1,
  BROTLI_OPERATION_PROCESS: 0, BROTLI_OPERATION_FLUSH: 1, BROTLI_OPERATION_FINISH: 2, BROTLI_PARAM_QUALITY: 1,
};

export const {
  deflate, deflateSync, createDeflate, gzip, gzipSync, createGzip, deflateRaw, deflateRawSync, createDeflateRaw, unzip, unzipSync, createUnzip,
  inflate, inflateSync, createInflate, gunzip, gunzipSync, createGunzip, inflateRaw, inflateRawSync, createInflateRaw, brotliCompress,
  brotliCompressSync, brotliDecompress, brotliDecompressSync, createBrotliCompress, createBrotliDecompress,
} = functions;
export const { Z_SYNC_FLUSH, Z_FINISH, Z_NO_FLUSH, Z_BEST_COMPRESSION, Z_BEST_SPEED, Z_DEFAULT_COMPRESSION } = constants;

export default { ...constants, ...functions, ...classes, crc32, constants };

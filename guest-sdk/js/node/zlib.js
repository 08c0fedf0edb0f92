// node:zlib by browserify-zlib, with promises where Node.js has callbacks that `promisify` knows.

import zlib from "browserify-zlib";

const brotli = (name) => () => {
  throw new Error(`node:zlib's ${name} can't work in a step: ask for gzip, or for no compression`);
};
export const brotliCompress = brotli("brotliCompress");
export const brotliCompressSync = brotli("brotliCompressSync");
export const brotliDecompress = brotli("brotliDecompress");
export const brotliDecompressSync = brotli("brotliDecompressSync");
export const createBrotliCompress = brotli("createBrotliCompress");
export const createBrotliDecompress = brotli("createBrotliDecompress");
const BROTLI = { BROTLI_OPERATION_PROCESS: 0, BROTLI_OPERATION_FLUSH: 1, BROTLI_OPERATION_FINISH: 2, BROTLI_PARAM_QUALITY: 1 };
export const constants = { ...Object.fromEntries(Object.entries(zlib).filter(([, value]) => typeof value === "number")), ...BROTLI };
export const {
  Deflate, Inflate, Gzip, Gunzip, DeflateRaw, InflateRaw, Unzip, createDeflate, createInflate, createDeflateRaw, createInflateRaw, createGzip, createGunzip,
  createUnzip, deflate, deflateSync, gzip, gzipSync, deflateRaw, deflateRawSync, unzip, unzipSync, inflate, inflateSync, gunzip, gunzipSync, inflateRaw,
  inflateRawSync, Z_SYNC_FLUSH, Z_FINISH, Z_NO_FLUSH, Z_BEST_COMPRESSION, Z_DEFAULT_COMPRESSION,
} = zlib;
export default { ...zlib, constants, brotliCompress, brotliCompressSync, brotliDecompress, brotliDecompressSync, createBrotliCompress, createBrotliDecompress };

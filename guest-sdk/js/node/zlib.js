// node:zlib by browserify-zlib, evaluated when it is first used.

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

export default { ...constants, ...functions, constants };

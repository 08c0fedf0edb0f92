// node:stream: the readable-stream package, with the bridges to web streams that it lacks.

import stream from "readable-stream/lib/stream.js";

const { Readable, Writable, Duplex } = stream;

Readable.fromWeb = function fromWeb(source, options) {
  const reader = source.getReader();
  return new Readable({
    ...options,
    async read() {
      try {
        const { done, value } = await reader.read();
        if (done) this.push(null);
        else this.push(value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value);
      } catch (error) {
        this.destroy(error);
      }
    },
    destroy(error, callback) {
      reader.cancel(error ?? undefined).then(() => callback(error), () => callback(error));
    },
  });
};

Readable.toWeb = function toWeb(source) {
  const chunks = source[Symbol.asyncIterator]();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await chunks.next();
        if (done) controller.close();
        else controller.enqueue(typeof value === "string" ? new TextEncoder().encode(value) : value);
      } catch (error) {
        controller.error(error);
      }
    },
    cancel(reason) {
      source.destroy(reason instanceof Error ? reason : undefined);
    },
  });
};

Writable.toWeb = function toWeb(target) {
  return new WritableStream({
    write: (chunk) => new Promise((resolve, reject) => target.write(chunk, (error) => (error ? reject(error) : resolve()))),
    close: () => new Promise((resolve, reject) => target.end((error) => (error ? reject(error) : resolve()))),
    abort: (reason) => void target.destroy(reason instanceof Error ? reason : new Error(String(reason))),
  });
};

Writable.fromWeb = function fromWeb(target) {
  const writer = target.getWriter();
  return new Writable({
    write: (chunk, _encoding, callback) => void writer.write(chunk).then(() => callback(), callback),
    final: (callback) => void writer.close().then(() => callback(), callback),
  });
};

export default stream;
export { Readable, Writable, Duplex };
export const { Transform, PassThrough, Stream, addAbortSignal, finished, pipeline, promises, compose, destroy } = stream;
export const isReadable = (value) => Boolean(value?.readable);
export const isErrored = (value) => Boolean(value?.errored);
export const isDisturbed = (value) => Boolean(value?.readableDidRead);
export const getDefaultHighWaterMark = (objectMode) => (objectMode ? 16 : 16384);

// What the engine's own classes of the web lack of what Node.js has.

function put(target, name, value) {
  Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false });
}

/** Decodes as the chunks come, each byte of a character in its turn. */
class TextDecoderStream {
  constructor(label, options) {
    const decoder = new TextDecoder(label, options);
    const { readable, writable } = new TransformStream({
      transform(chunk, controller) {
        const text = decoder.decode(chunk, { stream: true });
        if (text !== "") controller.enqueue(text);
      },
      flush(controller) {
        const text = decoder.decode();
        if (text !== "") controller.enqueue(text);
      },
    });
    Object.assign(this, { readable, writable, encoding: decoder.encoding, fatal: decoder.fatal, ignoreBOM: decoder.ignoreBOM });
  }
}

class TextEncoderStream {
  constructor() {
    const encoder = new TextEncoder();
    const { readable, writable } = new TransformStream({ transform: (chunk, controller) => controller.enqueue(encoder.encode(String(chunk))) });
    Object.assign(this, { readable, writable, encoding: "utf-8" });
  }
}

/** Two ends that hand each other's messages over, as libraries use to come back later. */
class MessagePort extends EventTarget {
  #other;
  onmessage = null;
  static pair() {
    const [one, two] = [new MessagePort(), new MessagePort()];
    [one.#other, two.#other] = [two, one];
    return [one, two];
  }
  postMessage(data) {
    const to = this.#other;
    if (to === undefined) return;
    setTimeout(() => {
      const event = Object.assign(new Event("message"), { data });
      to.onmessage?.(event);
      to.dispatchEvent(event);
    }, 0);
  }
  close() {
    this.#other = undefined;
  }
  start() {}
  ref() {}
  unref() {}
}
class MessageChannel {
  constructor() {
    [this.port1, this.port2] = MessagePort.pair();
  }
}

const LACKING = { TextDecoderStream, TextEncoderStream, MessagePort, MessageChannel };

/** A copy with the type that its bytes were sent with. */
async function blob() {
  const bytes = await this.arrayBuffer();
  return new Blob([bytes], { type: this.headers.get("content-type") ?? "" });
}

export function installWeb() {
  for (const [name, value] of Object.entries(LACKING)) if (globalThis[name] === undefined) put(globalThis, name, value);
  if (URL.canParse === undefined) {
    put(URL, "canParse", (url, base) => {
      try {
        return Boolean(new URL(url, base));
      } catch {
        return false;
      }
    });
  }
  if (URL.parse === undefined) put(URL, "parse", (url, base) => (URL.canParse(url, base) ? new URL(url, base) : null));
  const { abort } = AbortSignal;
  put(AbortSignal, "abort", (reason = new DOMException("This operation was aborted", "AbortError")) => abort.call(AbortSignal, reason));
  for (const { prototype } of [Response, Request]) put(prototype, "blob", blob);
}

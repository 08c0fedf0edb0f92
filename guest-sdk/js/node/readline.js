// node:readline: lines of a stream. There is no terminal.

import { EventEmitter } from "node:events";
import { StringDecoder } from "node:string_decoder";

export class Interface extends EventEmitter {
  #lines = [];
  #waiting = [];
  #open = "";
  #iterated = false;
  constructor(input, output) {
    super();
    const options = input?.input === undefined ? { input, output } : input;
    if (options.input === process.stdin || options.input === undefined) throw new Error("node:readline can't read a terminal in a step: give it a stream, or take the input as a prop");
    this.input = options.input;
    this.output = options.output;
    this.terminal = false;
    this.closed = false;
    const decoder = new StringDecoder("utf8");
    const take = (text) => {
      const lines = (this.#open + text).split(/\r\n|\n|\r(?!$)/);
      this.#open = lines.pop();
      for (const line of lines) this.#give(line);
    };
    this.input.on("data", (chunk) => take(typeof chunk === "string" ? chunk : decoder.write(chunk)));
    this.input.on("end", () => {
      take(decoder.end());
      const last = this.#open.replace(/\r$/, "");
      this.#open = "";
      if (last !== "") this.#give(last);
      this.close();
    });
    this.input.on("error", (error) => {
      for (const { reject } of this.#waiting.splice(0)) reject(error);
      this.failed = error;
    });
  }
  #give(line) {
    if (this.closed) return;
    const next = this.#waiting.shift();
    if (next !== undefined) next.resolve({ done: false, value: line });
    else if (this.listenerCount("line") === 0 || this.#iterated) this.#lines.push(line);
    this.emit("line", line);
  }
  get line() {
    return this.#open;
  }
  close() {
    if (this.closed) return;
    this.closed = true;
    this.input.pause();
    for (const { resolve } of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
    this.emit("close");
  }
  pause() {
    this.input.pause();
    return this;
  }
  resume() {
    this.input.resume();
    return this;
  }
  setPrompt() {}
  prompt() {}
  write() {}
  question() {
    throw new Error("node:readline's question can't work in a step: it has no terminal; take the input as a prop");
  }
  [Symbol.asyncIterator]() {
    this.#iterated = true;
    return {
      next: () => {
        if (this.#lines.length > 0) return Promise.resolve({ done: false, value: this.#lines.shift() });
        if (this.failed !== undefined) return Promise.reject(this.failed);
        if (this.closed) return Promise.resolve({ done: true, value: undefined });
        return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
      },
      return: () => {
        this.close();
        return Promise.resolve({ done: true, value: undefined });
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }
}

export const createInterface = (input, output) => new Interface(input, output);
export default { Interface, createInterface };

// node:process: no variables, no arguments, no exit.

import { EventEmitter } from "node:events";

const started = performance.now();

function hrtime(since) {
  const now = performance.now() - started;
  let [seconds, nanoseconds] = [Math.floor(now / 1000), Math.floor((now % 1000) * 1e6)];
  if (since) {
    seconds -= since[0];
    nanoseconds -= since[1];
    if (nanoseconds < 0) [seconds, nanoseconds] = [seconds - 1, nanoseconds + 1e9];
  }
  return [seconds, nanoseconds];
}
hrtime.bigint = () => BigInt(Math.floor((performance.now() - started) * 1e6));

function output(level) {
  let open = "";
  return Object.assign(new EventEmitter(), {
    isTTY: false,
    columns: 80,
    writable: true,
    fd: level === "info" ? 1 : 2,
    write(chunk, encoding, callback) {
      const lines = (open + String(chunk)).split("\n");
      open = lines.pop();
      for (const line of lines) console[level](line);
      (typeof encoding === "function" ? encoding : callback)?.();
      return true;
    },
    end() {
      if (open !== "") console[level](open);
      open = "";
    },
  });
}

const process = Object.assign(new EventEmitter(), {
  [Symbol.toStringTag]: "process",
  title: "node",
  // What libraries choose their code by: the Node.js whose API this follows.
  version: "v20.20.0",
  versions: { node: "20.20.0" },
  release: { name: "node" },
  arch: "wasm32",
  platform: "linux",
  pid: 1,
  ppid: 0,
  env: {},
  argv: ["node", "step"],
  argv0: "node",
  execArgv: [],
  execPath: "/node",
  exitCode: undefined,
  browser: false,
  config: { variables: {} },
  features: {},
  stdout: output("info"),
  stderr: output("error"),
  stdin: Object.assign(new EventEmitter(), { isTTY: false, fd: 0, read: () => null, resume() {}, pause() {}, setEncoding() {} }),
  cwd: () => "/tmp",
  chdir() {},
  umask: () => 0o22,
  getuid: () => 1000,
  getgid: () => 1000,
  geteuid: () => 1000,
  getegid: () => 1000,
  uptime: () => performance.now() / 1000,
  hrtime,
  memoryUsage: Object.assign(() => ({ rss: 0, heapTotal: 0, heapUsed: 0, external: 0, arrayBuffers: 0 }), { rss: () => 0 }),
  cpuUsage: () => ({ user: 0, system: 0 }),
  resourceUsage: () => ({}),
  nextTick: (callback, ...values) => queueMicrotask(() => callback(...values)),
  emitWarning: (warning) => console.warn(`Warning: ${warning?.message ?? warning}`),
  binding() {
    throw new Error("process.binding can't work in a step");
  },
  exit() {
    throw new Error("process.exit can't work in a step: return from run, or end the workflow with $.flow.exit");
  },
  abort() {
    throw new Error("process.abort can't work in a step: throw an error");
  },
  kill() {
    throw new Error("process.kill can't work in a step: it starts no programs");
  },
});

export default process;
export const {
  title, version, versions, release, arch, platform, pid, ppid, env, argv, argv0, execArgv, execPath, config, features, stdout, stderr, stdin, cwd, chdir, umask,
  uptime, memoryUsage, cpuUsage, nextTick, emitWarning, exit, abort, kill, on, once, off, emit,
} = process;
export { hrtime };

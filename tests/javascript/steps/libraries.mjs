// What code of the component API commonly reaches for, each answering under its name.

import crypto from "crypto";
import fs from "fs";
import { readFile } from "node:fs/promises";
import https from "https";
import path from "path";
import { PassThrough, Readable } from "stream";
import { pipeline } from "stream/promises";
import { promisify } from "util";
import zlib from "zlib";
import { ConfigurationError, axios, getFileStreamAndMetadata } from "@pipedream/platform";
import plainAxios from "axios";
import NodeFormData from "form-data";
import lodash from "lodash";
import nodeFetch from "node-fetch";
import { v4, validate } from "uuid";

const URL_ECHO = "https://api.libraries.example/echo";

async function textOf(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const checks = {
  async platform_axios($) {
    const echo = await axios($, { method: "POST", url: `${URL_ECHO}?x=1`, params: { q: "w", none: undefined }, data: { a: 1, none: undefined } });
    return [echo.target, echo.body];
  },
  async platform_axios_error($) {
    try {
      await axios($, { url: "https://api.libraries.example/missing" });
    } catch (error) {
      return [error.response.status, error.message];
    }
  },
  async platform_full_response($) {
    const { status, data } = await axios($, { url: URL_ECHO, returnFullResponse: true });
    return [status, data.method];
  },
  platform_configuration_error: () => new ConfigurationError("wrong") instanceof Error,
  async platform_file_stream() {
    const { stream, metadata } = await getFileStreamAndMetadata("https://api.libraries.example/text");
    return [await textOf(stream), metadata.size, metadata.contentType];
  },
  async platform_file_stream_of_unknown_length() {
    const { headers } = await fetch("https://api.libraries.example/chunked.txt");
    const { stream, metadata } = await getFileStreamAndMetadata("https://api.libraries.example/chunked.txt");
    return [headers.get("content-length"), await textOf(stream), metadata.size, metadata.contentType, metadata.name];
  },
  async platform_file_stream_of_tmp() {
    fs.writeFileSync("/tmp/given.csv", "a,é");
    const { stream, metadata } = await getFileStreamAndMetadata("/tmp/given.csv");
    const absent = await getFileStreamAndMetadata("/tmp/none.csv").catch((error) => error.message);
    return [await textOf(stream), metadata.size, metadata.contentType, metadata.name, metadata.lastModified instanceof Date, absent];
  },
  async platform_file_stream_uploaded($) {
    fs.writeFileSync("/tmp/to-send.txt", "from a file");
    const uploaded = [];
    for (const from of ["https://api.libraries.example/text", "https://api.libraries.example/chunked.txt", "/tmp/to-send.txt"]) {
      const { stream, metadata } = await getFileStreamAndMetadata(from);
      const form = new NodeFormData();
      form.append("file", stream, { contentType: metadata.contentType, knownLength: metadata.size, filename: metadata.name });
      const { body, headers } = await axios($, { method: "POST", url: URL_ECHO, headers: form.getHeaders(), data: form });
      const [, filename, type, text] = /filename="(.+?)"\r\nContent-Type: (.+?)\r\n\r\n([^]*?)\r\n--/.exec(body) ?? [body];
      uploaded.push([headers["content-type"].split(";")[0], filename, type, text]);
    }
    return uploaded;
  },
  async axios_params() {
    return (await plainAxios.get(URL_ECHO, { params: { list: [1, 2], text: "x y" } })).data.target;
  },
  async axios_basic() {
    return (await plainAxios.get(URL_ECHO, { auth: { username: "u", password: "p" } })).data.headers.authorization;
  },
  async axios_urlencoded() {
    const { data } = await plainAxios.post(URL_ECHO, new URLSearchParams({ a: "1", b: "2 3" }));
    return [data.headers["content-type"].split(";")[0], data.body];
  },
  async axios_arraybuffer() {
    const { data } = await plainAxios.get("https://api.libraries.example/text", { responseType: "arraybuffer" });
    return [Buffer.isBuffer(data), data.toString("base64")];
  },
  async axios_stream_to_tmp() {
    const { data } = await plainAxios.get("https://api.libraries.example/text", { responseType: "stream" });
    await pipeline(data, fs.createWriteStream("/tmp/download.txt"));
    return fs.readFileSync("/tmp/download.txt", "utf8");
  },
  async axios_redirect() {
    return (await plainAxios.get("https://api.libraries.example/redirect")).data.target;
  },
  async axios_cancelled() {
    const controller = new AbortController();
    controller.abort();
    try {
      await plainAxios.get(URL_ECHO, { signal: controller.signal });
    } catch (error) {
      return error.code;
    }
  },
  async axios_several() {
    const answers = await Promise.all([1, 2, 3].map((n) => plainAxios.get(`${URL_ECHO}?n=${n}`)));
    return answers.map(({ data }) => data.target);
  },
  async fetch_json() {
    const response = await fetch(URL_ECHO, { method: "PUT", body: JSON.stringify({ a: 1 }), headers: { "content-type": "application/json" } });
    return [response.status, (await response.json()).body];
  },
  async fetch_redirect() {
    return (await (await fetch("https://api.libraries.example/redirect")).json()).target;
  },
  async fetch_stream() {
    const chunks = [];
    for await (const chunk of (await fetch("https://api.libraries.example/text")).body) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  },
  async fetch_refused() {
    try {
      await fetch("https://elsewhere.example/");
    } catch (error) {
      return error.message;
    }
  },
  async node_fetch() {
    return (await (await nodeFetch(URL_ECHO, { method: "POST", body: "from node-fetch" })).json()).body;
  },
  node_https: () =>
    new Promise((resolve, reject) => {
      const request = https.request("https://api.libraries.example/echo", { method: "POST", headers: { "X-Own": "1" } }, (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("data", (chunk) => (body += chunk));
        response.on("end", () => resolve([response.statusCode, JSON.parse(body).body]));
      });
      request.on("error", reject);
      request.write("one ");
      request.end("two");
    }),
  async form_data($) {
    await fs.promises.writeFile("/tmp/upload.txt", "from a file");
    const form = new NodeFormData();
    form.append("file", fs.createReadStream("/tmp/upload.txt"));
    form.append("name", "value");
    const echo = await axios($, { method: "POST", url: URL_ECHO, headers: form.getHeaders(), data: form });
    return [echo.headers["content-type"].split(";")[0], /filename="upload.txt"/.test(echo.body), /from a file/.test(echo.body), /name="name"/.test(echo.body)];
  },
  async form_data_of_the_web() {
    const form = new FormData();
    form.append("file", new Blob(["from a blob"]), "b.txt");
    const byFetch = await (await fetch(URL_ECHO, { method: "POST", body: form })).json();
    const byAxios = (await plainAxios.post(URL_ECHO, form)).data;
    return [byFetch, byAxios].map(({ body }) => /from a blob/.test(body));
  },
  lodash: () => lodash.chunk(lodash.range(3), 2),
  uuid: () => validate(v4()) && v4() !== v4(),
  hash: () => ["md5", "sha1", "sha256", "sha512"].map((name) => crypto.createHash(name).update("a").digest("hex").slice(0, 8)),
  hmac: () => crypto.createHmac("sha256", "key").update("message").digest("base64"),
  cipher() {
    const [key, iv] = [Buffer.alloc(32, 1), Buffer.alloc(16, 2)];
    const cipher = crypto.createCipheriv("aes-256-cbc", key, iv);
    const sealed = Buffer.concat([cipher.update("secret", "utf8"), cipher.final()]);
    const decipher = crypto.createDecipheriv("aes-256-cbc", key, iv);
    return Buffer.concat([decipher.update(sealed), decipher.final()]).toString();
  },
  random: () => [crypto.randomBytes(8).length, crypto.randomUUID().length, crypto.randomInt(5) < 5, globalThis.crypto.getRandomValues(new Uint8Array(4)).length],
  async subtle() {
    return Buffer.from(await globalThis.crypto.subtle.digest("SHA-256", new TextEncoder().encode("a"))).toString("hex").slice(0, 8);
  },
  async tmp() {
    fs.mkdirSync("/tmp/a/b", { recursive: true });
    fs.writeFileSync(path.join("/tmp", "a", "b", "c.txt"), "here");
    const read = await readFile("/tmp/a/b/c.txt", "utf8");
    return [read, fs.existsSync("/etc/passwd"), fs.readdirSync("/tmp/a"), fs.statSync("/tmp/a/b/c.txt").size];
  },
  async streams() {
    const through = new PassThrough();
    Readable.from(["a", "b"]).pipe(through);
    const chunks = [];
    for await (const chunk of through) chunks.push(chunk.toString());
    const web = await new Response(new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode("web")); c.close(); } }).pipeThrough(new TransformStream())).text();
    return [chunks.join(""), web];
  },
  async zlib() {
    const packed = await promisify(zlib.gzip)("packed");
    return [zlib.gunzipSync(packed).toString(), zlib.inflateSync(zlib.deflateSync("flat")).toString()];
  },
  url: () => [new URL("/b?c=d e", "https://a.example").href, new URLSearchParams({ a: "1&2" }).toString()],
  buffer: () => [Buffer.from("héllo").toString("base64"), Buffer.from("68c3a9", "hex").toString(), new TextDecoder().decode(new TextEncoder().encode("é"))],
  async timers() {
    const order = [];
    setImmediate(() => order.push("immediate"));
    const interval = setInterval(() => {}, 1000);
    interval.unref();
    clearInterval(interval);
    process.nextTick(() => order.push("tick"));
    await new Promise((resolve) => setTimeout(resolve, 20));
    return order;
  },
  environment: () => [Object.keys(process.env).length, process.platform, typeof window],
  english: () => [new Date(0).toLocaleDateString("en-US", { year: "numeric", month: "long", day: "numeric" }), (1234567.5).toLocaleString(), "é".normalize("NFD").length],
};

export default defineComponent({
  async run({ $ }) {
    const found = {};
    for (const [name, check] of Object.entries(checks)) {
      try {
        found[name] = await check($);
      } catch (error) {
        found[name] = `${error.name}: ${error.message}\n${error.stack}`;
      }
    }
    return found;
  },
});

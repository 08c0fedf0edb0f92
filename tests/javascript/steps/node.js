// What code finds in Node.js and the engine of a step lacks. A name of a check is a key of the answer.

import crypto from "crypto";
import dns from "dns";
import fs from "fs";
import readline from "readline";
import vm from "vm";
import { promisify } from "util";

import axios from "axios";

const HOST = "https://api.node.example";
const DATA = Buffer.from("data");

/** The message of what it throws. */
const thrown = (work) => {
  try {
    return `nothing: ${work()}`;
  } catch (error) {
    return error.message;
  }
};
const spki = (key) => crypto.createPublicKey(key).export({ type: "spki", format: "pem" });

/** Of names that the SDK has, too. */
class SourceError extends Error {
  name = this.constructor.name;
}
class CallSite {}

const checks = {
  names: () => [new SourceError().name, SourceError.name, new CallSite().constructor.name],
  call_sites() {
    const { prepareStackTrace } = Error;
    Error.prepareStackTrace = (_error, sites) => sites;
    const target = {};
    Error.captureStackTrace(target);
    const [sites, [captured]] = [new Error().stack, target.stack];
    Error.prepareStackTrace = prepareStackTrace;
    const written = new Error().stack.split("\n")[1].trim();
    return [sites[0].getFunctionName(), captured.getFileName(), captured.getLineNumber() < sites[0].getLineNumber(), written.startsWith("at call_sites (")];
  },
  async lines() {
    fs.writeFileSync("/tmp/lines", "one\r\ntwo\nthree");
    const read = () => readline.createInterface({ input: fs.createReadStream("/tmp/lines"), crlfDelay: Infinity });
    const told = [];
    await new Promise((resolve) => read().on("line", (line) => told.push(line)).on("close", resolve));
    return [await Array.fromAsync(read()), told];
  },
  on_use: () => [thrown(() => vm.runInNewContext("1")), thrown(() => dns.lookup("a.example", () => {}))].map((message) => /vm|dns/.test(message)),
  promised_timers: async () => [await promisify(setTimeout)(1, "later"), await promisify(setImmediate)("soon")],
  async body_of_a_get() {
    const { data } = await axios.get(`${HOST}/echo`, { data: { query: "é".repeat(3000) } });
    return [data.method, data.headers["content-length"], data.headers["content-type"], data.body.length];
  },
  async body_of_a_get_that_is_redirected() {
    const { data } = await axios.get(`${HOST}/redirect`, { data: "again" });
    return [data.target, data.body];
  },
  body_of_a_get_by_fetch: () => fetch(HOST, { body: "x" }).catch((error) => error.message),
  sets_of_characters: () => ["aéz".replace(/[\p{L}--[a-z]]/v, "-"), /[\p{L}&&\p{ASCII}]/v.test("é")],
  urls: () => [URL.canParse("a"), URL.canParse("b", HOST)],
  aborted: () => [AbortSignal.abort().aborted, AbortSignal.abort().reason.name],
  async text_of_chunks() {
    const bytes = new TextEncoder().encode("é€");
    const chunks = new ReadableStream({
      start(controller) {
        for (const byte of bytes) controller.enqueue(new Uint8Array([byte]));
        controller.close();
      },
    });
    return (await Array.fromAsync(chunks.pipeThrough(new TextDecoderStream()))).join("");
  },
  async response() {
    const response = await fetch(`${HOST}/redirect`);
    return [response.redirected, (await response.blob()).type];
  },
  async channel() {
    const { port1, port2 } = new MessageChannel();
    const got = new Promise((resolve) => (port2.onmessage = ({ data }) => resolve(data)));
    port1.postMessage("over");
    return got;
  },
  responses_as_values: async () => [await axios.get(`${HOST}/text`), await fetch(`${HOST}/text`)],
  base64url: () => crypto.createHash("sha256").update("a").digest("base64url"),
  signatures: ({ rsa, ...keys }) => {
    const names = ["SHA256", "sha256", "RSA-SHA256"].map((name) => crypto.createSign(name).update(DATA).sign(rsa.secret, "base64"));
    return [
      names.every((signature) => signature === rsa.signature),
      crypto.verify("sha256", DATA, keys.ec.open, Buffer.from(keys.ec.signature, "base64")),
      crypto.verify("sha256", DATA, keys.ec.open, crypto.sign("sha256", DATA, keys.ec.secret)),
      crypto.verify("sha256", Buffer.from("other"), keys.ec.open, crypto.sign("sha256", DATA, keys.ec.secret)),
      crypto.sign("sha256", DATA, { key: keys.ec.secret, dsaEncoding: "ieee-p1363" }).length,
      crypto.sign(null, DATA, keys.ed.secret).toString("base64") === keys.ed.signature,
      crypto.verify(null, DATA, keys.ed.open, Buffer.from(keys.ed.signature, "base64")),
    ];
  },
  keys: (keys) => Object.values(keys).map(({ secret, open }) => [spki(secret) === open, crypto.createPrivateKey(secret).export({ type: "pkcs8", format: "pem" }) === secret]),
  kinds: (keys) => Object.values(keys).map(({ secret }) => [crypto.createPrivateKey(secret).asymmetricKeyType, crypto.createPublicKey(secret).export({ format: "jwk" }).d === undefined]),
  never_silently: ({ rsa }) => [
    thrown(() => crypto.sign("sha256", DATA, { key: rsa.secret, padding: crypto.constants.RSA_PKCS1_PSS_PADDING })),
    thrown(() => crypto.publicEncrypt({ key: rsa.open, oaepHash: "sha256" }, DATA)),
  ].map((message) => message.includes("can't work in a step")),
  zones: () => [
    new Date(0).toLocaleString("en-US", { timeZone: "America/New_York" }),
    new Date(Date.UTC(2031, 6, 4, 12)).toLocaleString("en-US", { timeZone: "Europe/Berlin", hour: "numeric", timeZoneName: "shortOffset" }),
    new Date(0).toLocaleTimeString("en-GB", { timeZone: "Asia/Kolkata" }),
    Intl.supportedValuesOf("timeZone").includes("Europe/Kyiv"),
    thrown(() => new Date(0).toLocaleString("en-US", { timeZone: "Mars/Olympus" })),
  ],
  locales: () => [
    ...["en-CA", "sv-SE", "en-GB", "de-DE", "fr-FR"].map((locale) => new Date(0).toLocaleDateString(locale)),
    new Date(0).toLocaleDateString("de", { dateStyle: "full" }),
    (1234.5).toLocaleString("de"),
    thrown(() => new Date(0).toLocaleDateString("ja-JP")).includes("dayjs"),
  ],
  order_of_texts: () => [
    ["z", "a", "A", "é", "b"].sort((x, y) => x.localeCompare(y)),
    "a".localeCompare("A", undefined, { sensitivity: "base" }),
    Math.sign("a".localeCompare("á")),
    Math.sign(new Intl.Collator(undefined, { numeric: true }).compare("item10", "item2")),
    Math.sign(new Intl.Collator().compare("item10", "item2")),
  ],
};

export default {
  props: { keys: "object" },
  async run() {
    const found = {};
    for (const [name, check] of Object.entries(checks)) {
      try {
        found[name] = await check(this.keys);
      } catch (error) {
        found[name] = `${error.name}: ${error.message}\n${error.stack}`;
      }
    }
    return found;
  },
};

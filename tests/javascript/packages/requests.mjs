// Clients, files and cryptography as code of registries uses them, each answering under its name.

import crypto from "crypto";
import fs from "fs";
import os from "os";
import path from "path";
import { Readable } from "stream";
import { pipeline } from "stream/promises";
import { promisify } from "util";
import axios from "axios";
import axiosRetry from "axios-retry";
import NodeFormData from "form-data";
import { FormData as OtherFormData, File as OtherFile } from "formdata-node";
import fse from "fs-extra";
import got from "got";
import { GraphQLClient, gql } from "graphql-request";
import { SignJWT, importPKCS8, importSPKI, jwtVerify } from "jose";
import jwt from "jsonwebtoken";
import JSZip from "jszip";
import ky from "ky";
import needle from "needle";
import request from "request-promise";
import superagent from "superagent";
import tmp from "tmp-promise";
import { request as undici } from "undici";

const HOST = "https://api.packages.example";
const ECHO = `${HOST}/echo`;

const text = async (stream) => Buffer.concat(await Array.fromAsync(stream, (chunk) => Buffer.from(chunk))).toString();

const checks = {
  async got() {
    const echo = await got.post(ECHO, { json: { a: 1 }, searchParams: { q: 1 } }).json();
    return [echo.target, echo.body];
  },
  async got_stream_to_tmp() {
    await pipeline(got.stream(`${HOST}/text`), fs.createWriteStream("/tmp/got.txt"));
    return fs.readFileSync("/tmp/got.txt", "utf8");
  },
  async got_error() {
    try {
      await got(`${HOST}/missing`, { retry: { limit: 0 } });
    } catch (error) {
      return [error.name, error.response.statusCode];
    }
  },
  ky: async () => (await ky.post(ECHO, { json: { a: 1 } }).json()).body,
  async superagent() {
    fs.writeFileSync("/tmp/attached.txt", "attached");
    const { body } = await superagent.post(ECHO).auth("u", "p").field("a", "b").attach("file", "/tmp/attached.txt");
    return [body.headers.authorization, /attached/.test(body.body)];
  },
  async undici() {
    const { statusCode, body } = await undici(ECHO, { method: "POST", body: "x" });
    return [statusCode, (await body.json()).body];
  },
  request: async () => (await request({ uri: ECHO, method: "POST", json: { a: 1 }, qs: { q: 1 }, auth: { bearer: "t" } })).headers.authorization,
  needle: async () => (await needle("post", ECHO, { a: 1 }, { json: true })).body.body,
  graphql_request: async () => (await new GraphQLClient(`${HOST}/graphql`).request(gql`query Q($id: ID!) { item(id: $id) { id } }`, { id: 1 })).echo.variables,
  async axios_retry() {
    const client = axios.create();
    axiosRetry(client, { retries: 3, retryDelay: () => 1 });
    return (await client.get(`${HOST}/busy-at-first`)).data;
  },
  async form_data_of_a_package() {
    const form = new OtherFormData();
    form.set("file", new OtherFile(["of a package"], "p.txt"));
    const { body } = await (await fetch(ECHO, { method: "POST", body: form })).json();
    return [/of a package/.test(body), /filename="p.txt"/.test(body)];
  },

  async download_and_upload() {
    const { data } = await axios.get(`${HOST}/text`, { responseType: "stream" });
    const file = path.join(os.tmpdir(), "download.bin");
    await pipeline(data, fs.createWriteStream(file));
    const form = new NodeFormData();
    form.append("file", fs.createReadStream(file), { filename: "up.bin", knownLength: fs.statSync(file).size });
    const length = form.getLengthSync();
    const echo = (await axios.post(ECHO, form, { headers: { ...form.getHeaders(), "Content-Length": length } })).data;
    return [/plain text/.test(echo.body), /filename="up.bin"/.test(echo.body), echo.headers["content-length"] === String(length)];
  },
  async upload_of_a_stream() {
    fs.writeFileSync("/tmp/put.bin", "put");
    const byAxios = await axios.put(ECHO, fs.createReadStream("/tmp/put.bin"));
    const byFetch = await fetch(ECHO, { method: "PUT", duplex: "half", body: Readable.toWeb(fs.createReadStream("/tmp/put.bin")) });
    return [byAxios.data.body, (await byFetch.json()).body, (await fs.openAsBlob("/tmp/put.bin")).size];
  },
  async files() {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "keyhole-"));
    const [first, second] = [path.join(folder, "a"), path.join(folder, "b")];
    fs.writeFileSync(first, Buffer.from([104, 105]));
    await fs.promises.appendFile(first, "!");
    const { size, mtime } = await fs.promises.stat(first);
    const [entry] = await fs.promises.readdir(folder, { withFileTypes: true });
    await fs.promises.rename(first, second);
    const handle = await fs.promises.open(second);
    const whole = await handle.readFile("utf8");
    await handle.close();
    const part = await text(fs.createReadStream(second, { start: 1, end: 1 }));
    await promisify(fs.unlink)(second);
    await fs.promises.rm(folder, { recursive: true, force: true });
    return [size, mtime instanceof Date, entry.isFile(), whole, part, fs.existsSync(folder)];
  },
  async files_that_are_not_there() {
    const codes = [];
    for (const call of [() => fs.readFileSync("/tmp/none"), () => fs.promises.access("/tmp/none"), () => text(fs.createReadStream("/tmp/none"))]) {
      try {
        await call();
      } catch (error) {
        codes.push(error.code);
      }
    }
    return codes;
  },
  async files_by_packages() {
    const { path: name, cleanup } = await tmp.file();
    await fse.outputJson(name, { a: 1 });
    const read = await fse.readJson(name);
    await cleanup();
    return [read, fs.existsSync(name)];
  },
  relative_paths() {
    fs.writeFileSync("relative.txt", "here");
    return [process.cwd(), fs.readFileSync("/tmp/relative.txt", "utf8")];
  },
  async zip() {
    const zip = new JSZip();
    zip.file("a.txt", "zipped");
    const bytes = await zip.generateAsync({ type: "nodebuffer", compression: "DEFLATE" });
    return (await JSZip.loadAsync(bytes)).file("a.txt").async("string");
  },

  jsonwebtoken() {
    const options = { algorithm: "RS256", noTimestamp: true };
    const secret = jwt.verify(jwt.sign({ a: 1 }, "secret", { noTimestamp: true }), "secret");
    return [secret, jwt.verify(jwt.sign({ a: 2 }, this.key, options), this.publicKey)];
  },
  async jose() {
    const token = await new SignJWT({ a: 1 }).setProtectedHeader({ alg: "RS256" }).sign(await importPKCS8(this.key, "RS256"));
    return (await jwtVerify(token, await importSPKI(this.publicKey, "RS256"))).payload;
  },
  webhook_signature() {
    const signature = crypto.createHmac("sha256", "key").update("message").digest("hex");
    return crypto.timingSafeEqual(Buffer.from(signature), Buffer.from(signature));
  },
  async subtle_hmac() {
    const { subtle } = globalThis.crypto;
    const key = await subtle.importKey("raw", new TextEncoder().encode("key"), { name: "HMAC", hash: "SHA-256" }, false, ["sign", "verify"]);
    const signature = await subtle.sign("HMAC", key, new TextEncoder().encode("message"));
    // The same as node:crypto's, which RFC 4231 holds to.
    const same = Buffer.from(signature).equals(crypto.createHmac("sha256", "key").update("message").digest());
    return [same, await subtle.verify("HMAC", key, signature, new TextEncoder().encode("another"))];
  },
  async subtle_aes() {
    const { subtle } = globalThis.crypto;
    // NIST's GCM test case 14: a key, an IV and a block of zeros.
    const key = await subtle.importKey("raw", new Uint8Array(32), "AES-GCM", false, ["encrypt", "decrypt"]);
    const algorithm = { name: "AES-GCM", iv: new Uint8Array(12) };
    const sealed = await subtle.encrypt(algorithm, key, new Uint8Array(16));
    const opened = await subtle.decrypt(algorithm, key, sealed);
    return [Buffer.from(sealed).toString("hex"), new Uint8Array(opened).every((byte) => byte === 0)];
  },
  async subtle_elliptic() {
    const { subtle } = globalThis.crypto;
    const found = [];
    for (const [make, use] of [[{ name: "ECDSA", namedCurve: "P-256" }, { name: "ECDSA", hash: "SHA-256" }], ["Ed25519", "Ed25519"]]) {
      const { privateKey, publicKey } = await subtle.generateKey(make, true, ["sign", "verify"]);
      const again = await subtle.importKey("jwk", await subtle.exportKey("jwk", publicKey), make, true, ["verify"]);
      const signature = await subtle.sign(use, privateKey, Buffer.from("message"));
      found.push([signature.byteLength, await subtle.verify(use, again, signature, Buffer.from("message")), await subtle.verify(use, again, signature, Buffer.from("another"))]);
    }
    return found;
  },
  async derived_keys() {
    const { subtle } = globalThis.crypto;
    // RFC 5869, A.3; RFC 6070's first, for SHA-256.
    const key = await subtle.importKey("raw", new Uint8Array(22).fill(11), "HKDF", false, ["deriveBits"]);
    const bits = await subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: new Uint8Array() }, key, 336);
    const word = await subtle.importKey("raw", Buffer.from("password"), "PBKDF2", false, ["deriveBits"]);
    const stretched = await subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt: Buffer.from("salt"), iterations: 1 }, word, 256);
    return [bits, stretched].map((bytes) => Buffer.from(bytes).toString("hex").slice(0, 16));
  },
  base64url: () => [Buffer.from("?>ü").toString("base64url"), Buffer.from("Pz7DvA", "base64url").toString(), Buffer.isEncoding("base64url")],
  unicode_properties: () => ["Ünïcode, 1 2".match(/\p{L}+/u)[0], /^[\p{Lu}\d]+$/u.test("ÜÉ1"), /\P{L}/u.exec("aß-")[0], new RegExp("\\p{Script=Greek}", "u").test("λ")],
};

export default defineComponent({
  props: { key: "string", publicKey: "string" },
  async run() {
    const found = {};
    for (const [name, check] of Object.entries(checks)) {
      try {
        found[name] = await check.call(this);
      } catch (error) {
        found[name] = `${error.name}: ${error.message}\n${error.stack}`;
      }
    }
    return found;
  },
});

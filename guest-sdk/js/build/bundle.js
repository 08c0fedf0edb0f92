// The author's file, its packages and the runtime as one module, by esbuild.

import { basename, dirname, extname, join, sep } from "node:path";
import { existsSync, readFileSync } from "node:fs";

import * as esbuild from "esbuild";

import { IMPOSSIBLE, LATE, UNDICI, builtinName, standIn, whole } from "./builtins.js";
import { installManifest, installNamed } from "./packages.js";
import { Problems, problem } from "./problem.js";
import { manifestsAbove } from "./roots.js";
import { declared } from "./sloppy.js";

/** Packages that the tool chain brings: code of the component API may use them without a package.json. */
const PROVIDED = new Set(["@pipedream/platform", "axios"]);

/** Packages that are known not to work: what to use instead. */
const UNFIT = {
  "@google-cloud/firestore": "gRPC needs sockets; use the REST API, such as by the @googleapis packages",
  "@google-cloud/pubsub": "gRPC needs sockets; use the REST API, such as by the @googleapis packages",
  "@grpc/grpc-js": "gRPC needs sockets; use the REST API, such as by the @googleapis packages",
  "aws-sdk": "use the packages of the AWS SDK for JavaScript v3, such as @aws-sdk/client-s3",
  "basic-ftp": "a step has no sockets; use a service with an HTTP API",
  "better-sqlite3": "it is native code; keep data in a service, or in a data_store prop",
  "cassandra-driver": "a step has no sockets; use an HTTP API of the database",
  "discord.js": "a step has no sockets; use @discordjs/rest",
  "firebase-admin": "gRPC needs sockets; use the REST API, such as by the @googleapis packages",
  "neo4j-driver": "a step has no sockets; use an HTTP API of the database",
  "node-ssh": "a step has no sockets; use a service with an HTTP API",
  "puppeteer-core": "a step starts no browser; use a service that runs one",
  "ssh2-sftp-client": "a step has no sockets; use a service with an HTTP API",
  amqplib: "a step has no sockets; use the broker's HTTP API, such as its REST proxy",
  bcrypt: "it is native code; use bcryptjs",
  canvas: "it is native code; use a service that makes images",
  ftp: "a step has no sockets; use a service with an HTTP API",
  imap: "a step has no sockets; use the mail service's HTTP API",
  imapflow: "a step has no sockets; use the mail service's HTTP API",
  ioredis: "a step has no sockets; use an HTTP API of the database",
  kafkajs: "a step has no sockets; use the broker's HTTP API, such as its REST proxy",
  mongodb: "a step has no sockets; use MongoDB's Data API, or a service in front of it",
  mongoose: "a step has no sockets; use an HTTP API of the database",
  mqtt: "a step has no sockets; use the broker's HTTP API, such as its REST proxy",
  mssql: "a step has no sockets; use an HTTP API of the database",
  mysql: "a step has no sockets; use an HTTP API of the database",
  mysql2: "a step has no sockets; use an HTTP API of the database",
  nodemailer: "a step has no sockets; use a mail service's HTTP API, such as SendGrid's",
  oracledb: "a step has no sockets; use an HTTP API of the database",
  pg: "a step has no sockets; use an HTTP API of the database",
  playwright: "a step starts no browser; use a service that runs one",
  puppeteer: "a step starts no browser; use a service that runs one",
  redis: "a step has no sockets; use an HTTP API of the database",
  sharp: "it is native code; use a service that makes images",
  "snowflake-sdk": "a step has no sockets; use Snowflake's SQL API",
  sqlite3: "it is native code; keep data in a service, or in a data_store prop",
  ssh2: "a step has no sockets; use a service with an HTTP API",
  tedious: "a step has no sockets; use an HTTP API of the database",
  ws: "a step has no sockets; use fetch",
};

/** Those of them that have parts which work, such as one that composes a message. */
const PARTS_FIT = new Set(["nodemailer"]);

const BARE = /^(?:@[^/@]+\/)?[^./@][^/@]*/;

/** Packages whose CommonJS is in a bundle whole, and beside their ES modules: of those, what a step needs is enough. */
const LIGHTER_AS_MODULES = /^@(aws-sdk|smithy)\//;

/** Whether a source uses `crypto.subtle`, of which the engine has the digests alone. */
const SUBTLE = /\bsubtle\s*[.,}[?]/;

/** Whether a source asks for a time zone. */
const ZONED = /\btimeZone\b/;

/** `name`, `version` and the rest of `name@version/path`. */
function parts(specifier) {
  const [name] = BARE.exec(specifier) ?? [];
  if (name === undefined) return undefined;
  const [, version, path = ""] = /^(?:@([^/]+))?(\/.*)?$/.exec(specifier.slice(name.length)) ?? [];
  return { name, version, path };
}

/**
 * What `found`, a file of a package that holds its code as CommonJS and as ES modules, has as ES modules. An author
 * may import all of a CommonJS package as its default, too.
 */
function asModules(found, authors) {
  const path = found.path.replace(`${sep}dist-cjs${sep}`, `${sep}dist-es${sep}`);
  if (path === found.path || !existsSync(path)) return found;
  return authors ? { path, namespace: "keyhole-modules", sideEffects: false } : { ...found, path };
}

function plugin(state) {
  const { roots, sdk } = state;
  return {
    name: "keyhole",
    setup(build) {
      const { resolve } = build;
      const own = (path, kind) => resolve(path, { resolveDir: sdk, kind, pluginData: { plain: true } });

      build.onResolve({ filter: /^(keyhole:step|wasi:http)\// }, ({ path }) => ({ path, external: true }));
      build.onResolve({ filter: /^undici$/ }, () => ({ path: UNDICI }));
      build.onResolve({ filter: /^@keyhole\/sdk$/ }, () => ({ path: join(sdk, "index.js") }));

      build.onResolve({ filter: /^[^./]/ }, async ({ path, importer, kind, resolveDir, pluginData }) => {
        if (pluginData?.plain || kind === "entry-point") return undefined;
        const authors = importer !== "" && roots.isAuthors(importer);
        const builtin = builtinName(path);
        // A package of the same name as a built-in, asked for with a slash, is the package.
        if (builtin !== undefined) {
          const instead = IMPOSSIBLE[builtin];
          if (instead !== undefined && authors && !LATE.has(builtin)) return { errors: [{ text: `node:${builtin} can't work in a step`, notes: [{ text: instead }] }] };
          const found = standIn(builtin);
          if (found === undefined) {
            if (authors) return { errors: [{ text: `node:${builtin} can't work in a step`, notes: [{ text: "README.md of guest-sdk/js lists what can" }] }] };
            return { path: builtin, namespace: "keyhole-missing" };
          }
          const file = found.startsWith("/") ? { path: found } : await own(found, kind);
          if (!file.path || importer === file.path) return file;
          if (kind === "require-call") return { path: `${file.path}.cjs`, namespace: "keyhole-required", pluginData: { file: file.path } };
          // Of the tool chain's own files, each names what it knows to be there.
          return roots.isTools(importer) ? file : { path: builtin, namespace: "keyhole-builtin", pluginData: { file: file.path } };
        }
        const wanted = parts(path);
        if (wanted === undefined || path.startsWith("#")) return undefined;
        const { name, version, path: rest } = wanted;
        if (authors && UNFIT[name] !== undefined && !(rest !== "" && PARTS_FIT.has(name))) return { errors: [{ text: `the package ${name} can't work in a step`, notes: [{ text: UNFIT[name] }] }] };
        const plain = name + rest;
        const tried = await resolve(plain, { resolveDir, kind, importer, pluginData: { plain: true } });
        const lighter = (found) => (LIGHTER_AS_MODULES.test(name) ? asModules(found, authors) : found);
        if (tried.errors.length === 0 && version === undefined) return lighter(tried);
        // The fault of a package's own import is its author's, unless it is optional to it.
        if (!authors && !importer.includes("/node_modules/") && !roots.isTools(importer)) return tried;
        if (!authors) return { path: plain, namespace: "keyhole-missing" };

        for (const folder of state.folders(importer)) {
          const found = await resolve(plain, { resolveDir: folder, kind, pluginData: { plain: true } });
          if (found.errors.length === 0) return lighter(found);
        }
        if (version === undefined && PROVIDED.has(name)) return own(plain, kind);
        state.missing.set(name, { version, importer });
        return { path: plain, namespace: "keyhole-missing" };
      });

      // `require` of a built-in gives what its default export is here.
      build.onLoad({ filter: /.*/, namespace: "keyhole-required" }, ({ pluginData }) => ({
        contents: `const whole = require(${JSON.stringify(pluginData.file)}); module.exports = whole.__esModule && whole.default !== undefined ? whole.default : whole;`,
        loader: "js",
        resolveDir: sdk,
      }));

      // An import by name gets every name that Node.js has: a package may import what it never calls.
      build.onLoad({ filter: /.*/, namespace: "keyhole-builtin" }, async ({ path, pluginData }) => ({
        contents: await whole(path, pluginData.file),
        loader: "js",
        resolveDir: sdk,
      }));

      // An import that does not resolve but is never reached, as `try { require("x") } catch {}`.
      build.onLoad({ filter: /.*/, namespace: "keyhole-missing" }, ({ path }) => ({
        contents: `throw Object.assign(new Error(${JSON.stringify(`Cannot find module '${path}': it was not there when the step was built`)}), { code: "MODULE_NOT_FOUND" });`,
        loader: "js",
      }));

      build.onLoad({ filter: /.*/, namespace: "keyhole-modules" }, ({ path }) => ({
        contents: `import * as all from ${JSON.stringify(path)}; export * from ${JSON.stringify(path)}; export default all;`,
        loader: "js",
        resolveDir: dirname(path),
      }));

      build.onLoad({ filter: /\.node$/ }, ({ path }) => ({
        errors: [{ text: `${roots.shown(path)} is native code, which can't work in a step`, notes: [{ text: "use a package in JavaScript, or a service with an HTTP API" }] }],
      }));

      build.onLoad({ filter: /.*/, namespace: "file" }, ({ path }) => {
        state.inputs.add(path);
        if (!roots.allows(path)) {
          return { errors: [{ text: `${path} lies outside of the step's source, ${roots.root}`, notes: [{ text: "put it in there, or make a package.json in the folder that holds both" }] }] };
        }
        if (roots.isTools(path) || !/\.[cm]?[jt]sx?$/.test(path)) return undefined;
        const text = readFileSync(path, "utf8");
        state.subtle ||= SUBTLE.test(text);
        state.zoned ||= ZONED.test(text);
        const contents = /\.c?js$/.test(path) ? declared(text) : undefined;
        return contents === undefined ? undefined : { contents, loader: "js" };
      });
    },
  };
}

function asProblems(errors, roots) {
  return new Problems(
    errors.map(({ text, location, notes }) => {
      const found = /^Could not resolve "(.*)"$/.exec(text);
      return {
        message: found ? `there is no file for the import "${found[1]}"` : text,
        place: location ? `${join(roots.root, roots.shown(join(process.cwd(), location.file)))}:${location.line}:${location.column + 1}` : undefined,
        help: notes?.find((note) => note.text !== "" && !note.text.startsWith("You can mark"))?.text,
      };
    }),
  );
}

/** Bytes of the bundle by the package that they are of, the most first; the tool chain's own aside. */
function sizes({ outputs }, roots) {
  const { inputs } = Object.values(outputs).find(({ inputs }) => Object.keys(inputs).length > 0);
  const packages = new Map();
  for (const [file, { bytesInOutput }] of Object.entries(inputs)) {
    if (roots.isTools(join(process.cwd(), file))) continue;
    const name = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1];
    if (name !== undefined) packages.set(name, (packages.get(name) ?? 0) + bytesInOutput);
  }
  return [...packages].sort(([, a], [, b]) => b - a).map(([name, bytes]) => ({ name, bytes }));
}

/** Bundles `entry`. Gives back the code, its map, and the files that went in. */
export async function bundle({ entry, sdk, roots, cache }) {
  const installed = new Map();
  const state = {
    roots,
    sdk,
    inputs: new Set(),
    missing: new Map(),
    subtle: false,
    zoned: false,
    folders: () => [...installed.values()],
  };
  const name = basename(entry, extname(entry));
  const source = (subtle) => [
    `import ${JSON.stringify(join(sdk, "runtime/globals.js"))};`,
    subtle ? `import ${JSON.stringify(join(sdk, "runtime/subtle.js"))};` : "",
    `import * as author from ${JSON.stringify(entry)};`,
    `import { announce, serve } from ${JSON.stringify(join(sdk, "runtime/component.js"))};`,
    `export const { definition, configure, run } = serve(author, ${JSON.stringify(name)});`,
    `announce(definition());`,
  ].join("\n");

  for (;;) {
    state.inputs.clear();
    state.missing.clear();
    const { subtle } = state;
    let built;
    try {
      built = await esbuild.build({
        stdin: { contents: source(subtle), resolveDir: dirname(entry), sourcefile: "keyhole:entry", loader: "js" },
        absWorkingDir: process.cwd(),
        bundle: true,
        write: false,
        outfile: join(process.cwd(), "source.js"),
        format: "esm",
        platform: "neutral",
        target: "esnext",
        // As Node.js: what a default import gives depends on it.
        mainFields: ["main", "module"],
        conditions: ["node"],
        sourcemap: "external",
        metafile: true,
        sourcesContent: false,
        legalComments: "none",
        charset: "utf8",
        logLevel: "silent",
        treeShaking: true,
        // Two of one name in one bundle are told apart by another; code looks at an error's name, and a class's.
        keepNames: true,
        minifyWhitespace: true,
        minifySyntax: true,
        // A literal that may have \p{…} becomes a call, which runtime/unicode.js answers.
        supported: { "regexp-sticky-and-unicode-flags": false, "regexp-set-notation": false },
        define: {
          global: "globalThis",
          "process.env.NODE_ENV": '"production"',
          "import.meta.url": '"file:///step/step.js"',
          "import.meta.dirname": '"/step"',
          "import.meta.filename": '"/step/step.js"',
          __dirname: '"/step"',
          __filename: '"/step/step.js"',
        },
        loader: { ".txt": "text", ".md": "text", ".html": "text", ".csv": "text", ".graphql": "text", ".node": "empty" },
        plugins: [plugin(state)],
      });
    } catch (error) {
      if (!Array.isArray(error.errors)) throw error;
      throw asProblems(error.errors, roots);
    }
    if (state.missing.size === 0 && state.subtle !== subtle) continue;
    if (state.missing.size === 0) {
      const [map, code] = ["source.js.map", "source.js"].map((file) => built.outputFiles.find(({ path }) => basename(path) === file).text);
      const authors = [...state.inputs].filter((file) => roots.isAuthors(file));
      // Also those that are not there: one that appears changes what is installed.
      const manifests = new Set(authors.flatMap((file) => manifestsAbove(dirname(file), roots.root)).flatMap((file) => [file, file.replace(/package\.json$/, "package-lock.json")]));
      return { code, map: JSON.parse(map), zoned: state.zoned, inputs: [...state.inputs], manifests: [...manifests], packages: sizes(built.metafile, roots), folder: process.cwd() };
    }
    for (const [missing, { version, importer }] of state.missing) {
      const manifest = manifestsAbove(dirname(importer), roots.root).find((file) => existsSync(file));
      let folder;
      if (manifest !== undefined && version === undefined && !installed.has(manifest)) {
        folder = installManifest(cache, manifest);
        if (folder !== undefined) installed.set(manifest, folder);
      }
      if (folder === undefined || !existsSync(join(folder, "node_modules", missing))) {
        const key = `${missing}@${version ?? ""}`;
        if (installed.has(key)) throw problem(`the package ${missing} has no file for what is imported from it`, { place: roots.shown(importer), help: "see which paths the package exports" });
        folder = installNamed(cache, missing, version, importer);
        installed.set(key, folder);
      }
      roots.add(folder);
    }
  }
}

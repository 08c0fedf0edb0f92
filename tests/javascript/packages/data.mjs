// Packages that parse, format and schedule, each answering under its name.

import fs from "node:fs";

import { ConfigurationError } from "@pipedream/platform";
import Ajv from "ajv";
import retry from "async-retry";
import Bottleneck from "bottleneck";
import { load } from "cheerio";
import { parse as parseCsv } from "csv-parse/sync";
import { stringify } from "csv-stringify/sync";
import { format, parseISO } from "date-fns";
import dayjs from "dayjs";
import utc from "dayjs/plugin/utc.js";
import { XMLBuilder, XMLParser } from "fast-xml-parser";
import handlebars from "handlebars";
import { convert } from "html-to-text";
import iconv from "iconv-lite";
import * as yaml from "js-yaml";
import { parsePhoneNumber } from "libphonenumber-js";
import get from "lodash.get";
import { DateTime } from "luxon";
import { marked } from "marked";
import mime from "mime-types";
import moment from "moment";
import { nanoid } from "nanoid";
import pLimit from "p-limit";
import Papa from "papaparse";
import qs from "qs";
import queryString from "query-string";
import sanitizeHtml from "sanitize-html";
import showdown from "showdown";
import slugify from "slugify";
import Turndown from "turndown";
import validator from "validator";
import { parseStringPromise } from "xml2js";
import { z } from "zod";

dayjs.extend(utc);

const checks = {
  configuration_error: () => new ConfigurationError("wrong").name,
  ajv: () => new Ajv().validate({ type: "object", required: ["a"] }, { a: 1 }),
  async async_retry() {
    let tries = 0;
    return retry(() => {
      if (++tries < 3) throw new Error("again");
      return tries;
    }, { minTimeout: 1, factor: 1 });
  },
  async bottleneck() {
    const limiter = new Bottleneck({ minTime: 1, maxConcurrent: 1 });
    return Promise.all([1, 2].map((n) => limiter.schedule(async () => n)));
  },
  cheerio: () => load("<ul><li class=a>x</li></ul>")("li.a").text(),
  csv: () => [parseCsv("a,b\n1,2", { columns: true }), stringify([[1, "x,y"]]), Papa.parse("a,b\n1,2", { header: true }).data, Papa.unparse([{ a: 1 }])],
  dates: () => [
    format(parseISO("2024-01-02"), "d MMM yyyy"),
    dayjs.utc(0).add(1, "day").format("YYYY-MM-DD"),
    DateTime.fromISO("2024-01-02T03:04:05Z", { zone: "utc" }).plus({ days: 1 }).toISODate(),
    moment.utc(0).add(1, "month").format("MMMM Do YYYY"),
  ],
  xml: async () => [new XMLParser({ ignoreAttributes: false }).parse('<a b="1"><c>2</c></a>'), new XMLBuilder().build({ a: { b: 1 } }), await parseStringPromise("<a><b>1</b></a>", { explicitArray: false })],
  text: () => [handlebars.compile("{{a}}!")({ a: "x" }), convert("<p>a</p><p>b</p>"), marked.parse("*a*"), new showdown.Converter().makeHtml("# a"), new Turndown().turndown("<b>a</b>"), sanitizeHtml("<b>a</b><script>b</script>"), slugify("Ünder Score", { lower: true })],
  encodings: () => [iconv.decode(Buffer.from([0xe9]), "latin1"), qs.stringify({ a: [1, 2], b: { c: 3 } }), queryString.parse("a=1&b=2"), yaml.load("a: [1, 2]"), mime.lookup("a.pdf")],
  checks: () => [parsePhoneNumber("+14155552671").country, validator.isEmail("a@b.co"), z.object({ a: z.string().email() }).safeParse({ a: "no" }).success, get({ a: [1] }, "a[0]")],
  async limits() {
    const limit = pLimit(1);
    return [await Promise.all([1, 2].map((n) => limit(async () => n))), nanoid().length, nanoid() === nanoid()];
  },
  // One file that grows, then many: a quarter of the 256 MiB that a run has by itself.
  full_disk() {
    const piece = Buffer.alloc(1 << 20, 1);
    const fill = (name) => {
      for (let count = 0; ; count++) {
        try {
          fs.appendFileSync(name(count), piece);
        } catch (error) {
          return [error.code, count];
        }
      }
    };
    const one = fill(() => "/tmp/one");
    fs.unlinkSync("/tmp/one");
    return [one, fill((count) => `/tmp/${count}`)];
  },
};

export default defineComponent({
  async run() {
    const found = {};
    for (const [name, check] of Object.entries(checks)) {
      try {
        found[name] = await check();
      } catch (error) {
        found[name] = `${error.name}: ${error.message}\n${error.stack}`;
      }
    }
    return found;
  },
});

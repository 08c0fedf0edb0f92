// The time zones, for the bundles that ask for one: the engine of a step has no such tables,
// Node.js has.

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const MINUTE = 60_000;
const STEP = 8 * 24 * 60;
/** Rules are taken to go on as in the years before, which repeat with the weekdays after 28 years. */
const [FIRST, LAST] = [Date.UTC(1970) / MINUTE, Date.UTC(2038) / MINUTE];

/** Names of today whose zone Node.js lists under an older one, and short ones that are still in use. */
const NAMES = [
  "Africa/Asmara", "America/Argentina/Buenos_Aires", "America/Indiana/Indianapolis", "America/Kentucky/Louisville", "America/Nuuk", "Asia/Ho_Chi_Minh",
  "Asia/Kathmandu", "Asia/Kolkata", "Asia/Yangon", "Atlantic/Faroe", "Europe/Kyiv", "Pacific/Kanton", "US/Alaska", "US/Arizona", "US/Central", "US/Eastern",
  "US/Hawaii", "US/Mountain", "US/Pacific", "EST5EDT", "CST6CDT", "MST7MDT", "PST8PDT", "CET", "EET", "MET", "WET", "EST", "MST", "HST",
];

function isZone(name) {
  try {
    return Boolean(new Intl.DateTimeFormat("en-US", { timeZone: name }));
  } catch {
    return false;
  }
}

/** Minutes east of UTC from the beginning, then each change: minutes since the one before, and the new offset. */
function changes(name) {
  process.env.TZ = name;
  const offset = (minute) => -new Date(minute * MINUTE).getTimezoneOffset();
  const found = [offset(FIRST).toString(36)];
  let [before, last] = [offset(FIRST), FIRST];
  for (let at = FIRST; at < LAST; at += STEP) {
    const next = offset(at + STEP);
    if (next === before) continue;
    let [low, high] = [at, at + STEP];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (offset(middle) === before) low = middle;
      else high = middle;
    }
    found.push((high - last).toString(36), next.toString(36));
    [before, last] = [next, high];
  }
  return found.join(" ");
}

/** `EST EDT`, of the zones for which English has such names. */
function shortNames(name) {
  const format = new Intl.DateTimeFormat("en-US", { timeZone: name, timeZoneName: "short" });
  const [winter, summer] = [0, 6].map((month) => format.formatToParts(Date.UTC(2024, month, 15)).find(({ type }) => type === "timeZoneName").value);
  return /^(GMT|UTC)/.test(winter) ? undefined : `${winter} ${summer}`;
}

function made() {
  const names = [...new Set([...Intl.supportedValuesOf("timeZone"), ...NAMES])].filter(isZone).sort();
  const kept = process.env.TZ;
  const [rules, zones] = [[], {}];
  for (const name of names) {
    const rule = [changes(name), shortNames(name)].filter((part) => part !== undefined).join(";");
    if (!rules.includes(rule)) rules.push(rule);
    zones[name] = rules.indexOf(rule);
  }
  if (kept === undefined) delete process.env.TZ;
  else process.env.TZ = kept;
  return JSON.stringify({ zones, rules });
}

/** A statement that comes before the bundle. Making the tables takes a second: they are kept in `cache`. */
export function zones(cache) {
  const file = join(cache, `zones-1-${process.versions.tz}.json`);
  if (!existsSync(file)) {
    writeFileSync(`${file}.${process.pid}`, made());
    renameSync(`${file}.${process.pid}`, file);
  }
  return `globalThis.__keyholeZones=${JSON.stringify(readFileSync(file, "utf8"))};`;
}

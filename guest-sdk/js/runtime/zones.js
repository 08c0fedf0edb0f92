// Time zones by the tables that the build leaves in `globalThis.__keyholeZones`, in bundles
// whose source names `timeZone`. They are read when the first zone is asked for.

const MINUTE = 60_000;
const FIRST = Date.UTC(1970) / MINUTE;
const LAST = Date.UTC(2038) / MINUTE;
/** Minutes after which the days of the year fall on the same weekdays. */
const CYCLE = (28 * 365 + 7) * 24 * 60;
const UTC = { name: "UTC", at: () => 0, short: ["UTC", "UTC"] };

const text = globalThis.__keyholeZones;
delete globalThis.__keyholeZones;
let tables;
const known = new Map();

function read() {
  tables ??= text === undefined ? { zones: {}, rules: [] } : JSON.parse(text);
  return tables;
}

/** `+05:30`, as minutes. */
function fixed(name) {
  const match = /^([+-])(\d\d):?(\d\d)?$/.exec(name);
  return match === null ? undefined : (match[1] === "-" ? -1 : 1) * (Number(match[2]) * 60 + Number(match[3] ?? 0));
}

function made(name, rule) {
  const [changes, short] = rule.split(";");
  const [start, ...rest] = changes.split(" ").map((number) => parseInt(number, 36));
  const [times, offsets] = [[], [start]];
  for (let i = 0, last = FIRST; i < rest.length; i += 2) {
    times.push((last += rest[i]));
    offsets.push(rest[i + 1]);
  }
  const at = (milliseconds) => {
    let minute = Math.floor(milliseconds / MINUTE);
    while (minute >= LAST) minute -= CYCLE;
    let [low, high] = [0, times.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] <= minute) low = middle + 1;
      else high = middle;
    }
    return offsets[low];
  };
  return { name, at, short: short?.split(" ") };
}

/** The zone of a name, with the minutes that it is east of UTC at a time. */
export function zoneOf(name) {
  if (name === undefined || /^(utc|gmt|etc\/(utc|gmt|uct|zulu)|zulu)$/i.test(name)) return UTC;
  const east = fixed(String(name));
  if (east !== undefined) return { name: String(name), at: () => east };
  const wanted = String(name).toLowerCase();
  let zone = known.get(wanted);
  if (zone !== undefined) return zone;
  const { zones, rules } = read();
  const found = Object.keys(zones).find((one) => one.toLowerCase() === wanted);
  if (found === undefined) {
    const instead = text === undefined ? ". The step has no time zones, since its source does not name `timeZone`" : "";
    throw new RangeError(`Invalid time zone specified: ${name}${instead}`);
  }
  zone = made(found, rules[zones[found]]);
  known.set(wanted, zone);
  return zone;
}

export const zoneNames = () => ["UTC", ...Object.keys(read().zones)];

const two = (number) => String(number).padStart(2, "0");

/** The zone's name at a time, in the styles of `timeZoneName`; `known` where people know it by its letters. */
export function zoneName(zone, milliseconds, style, known) {
  const east = zone.at(milliseconds);
  const year = new Date(milliseconds).getUTCFullYear();
  const standard = Math.min(zone.at(Date.UTC(year, 0, 15)), zone.at(Date.UTC(year, 6, 15)));
  if (style === "short" && known && zone.short !== undefined) return zone.short[east > standard ? 1 : 0];
  if (east === 0) return zone === UTC && !style.endsWith("Offset") ? (style === "long" ? "Coordinated Universal Time" : "UTC") : "GMT";
  const [hours, minutes] = [Math.floor(Math.abs(east) / 60), Math.abs(east) % 60];
  const sign = east < 0 ? "-" : "+";
  if (style === "longOffset" || style === "long") return `GMT${sign}${two(hours)}:${two(minutes)}`;
  return `GMT${sign}${hours}${minutes === 0 ? "" : `:${two(minutes)}`}`;
}

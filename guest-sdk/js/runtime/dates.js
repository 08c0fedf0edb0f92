// `Intl.DateTimeFormat`: the locales of locales.js, the time zones of zones.js.

import { localeOf } from "./locales.js";
import { zoneName, zoneOf } from "./zones.js";

export const COMPONENTS = ["weekday", "year", "month", "day", "hour", "minute", "second", "fractionalSecondDigits", "dayPeriod", "dateStyle", "timeStyle"];
const TIMES = ["hour", "minute", "second", "fractionalSecondDigits"];

const two = (number) => String(number).padStart(2, "0");

/** What `dateStyle` and `timeStyle` stand for. */
function components(options, { name }) {
  const { dateStyle, timeStyle, ...own } = options;
  const plain = { year: "numeric", month: "numeric", day: "numeric" };
  const long = { year: "numeric", month: "long", day: "numeric" };
  const dates = { full: { weekday: "long", ...long }, long, medium: { ...long, month: "short" }, short: plain };
  // As each locale has it.
  if (name.startsWith("en-US") || name === "en") dates.short = { ...plain, year: "2-digit" };
  if (name.startsWith("de")) [dates.medium, dates.short] = [{ year: "numeric", month: "2-digit", day: "2-digit" }, { year: "2-digit", month: "2-digit", day: "2-digit" }];
  const time = { hour: "numeric", minute: "2-digit" };
  const times = { full: { ...time, second: "2-digit", timeZoneName: "long" }, long: { ...time, second: "2-digit", timeZoneName: "short" }, medium: { ...time, second: "2-digit" }, short: time };
  const found = { ...own, ...dates[dateStyle], ...times[timeStyle] };
  if (COMPONENTS.every((one) => found[one] === undefined)) Object.assign(found, plain);
  return found;
}

export class DateTimeFormat {
  constructor(locales, options = {}) {
    this.options = options ?? {};
    this.locale = localeOf(locales);
    this.zone = zoneOf(this.options.timeZone);
  }
  format = (date = Date.now()) =>
    this.formatToParts(date)
      .map((part) => part.value)
      .join("");
  formatToParts(date = Date.now()) {
    const time = Number(date);
    if (Number.isNaN(new Date(time).getTime())) throw new RangeError("Invalid time value");
    // The zone's clock, read off one that shows UTC.
    const at = new Date(time + this.zone.at(time) * 60_000);
    const wanted = components(this.options, this.locale);
    const parts = this.#date(at, wanted);
    const clock = this.#time(at, wanted);
    if (parts.length > 0 && clock.length > 0) parts.push({ type: "literal", value: this.#glue(wanted, parts.length) });
    parts.push(...clock);
    if (wanted.timeZoneName !== undefined) {
      if (parts.length > 0) parts.push({ type: "literal", value: clock.length > 0 ? " " : (this.locale.zoneGlue ?? ", ") });
      parts.push({ type: "timeZoneName", value: zoneName(this.zone, time, wanted.timeZoneName, /^en(-US|-CA)?$/.test(this.locale.name)) });
    }
    return parts;
  }
  formatRange(from, to) {
    return `${this.format(from)} – ${this.format(to)}`;
  }
  #glue(wanted, before) {
    const { name, glue, spelledGlue = glue, after } = this.locale;
    // A weekday alone.
    if (before === 1 && wanted.weekday !== undefined && after.weekday === ", ") return " ";
    if (!["full", "long"].includes(this.options.dateStyle) && wanted.month !== "long") return ["long", "short"].includes(wanted.month) ? spelledGlue : glue;
    return { en: " at ", de: " um ", fr: " à ", sv: " kl. " }[name.slice(0, 2)];
  }
  #date(at, wanted) {
    const { locale } = this;
    const spell = wanted.month === "long" || wanted.month === "short" || wanted.month === "narrow";
    const year = at.getUTCFullYear();
    const shown = wanted.era !== undefined && year <= 0 ? 1 - year : year;
    const alone = [wanted.year, wanted.month, wanted.day].filter((one) => one !== undefined).length === 1;
    const digits = (value, style) => (style === "2-digit" || (!spell && !alone && locale.two && !(locale.monthFirst !== undefined && !wanted.year)) ? two(value) : String(value));
    const month = at.getUTCMonth();
    const names = { long: locale.months, short: locale.short, narrow: locale.months.map((one) => one[0].toUpperCase()) }[wanted.month];
    const values = {
      y: wanted.year && { type: "year", value: wanted.year === "2-digit" ? two(shown % 100) : String(shown) },
      m: wanted.month && { type: "month", value: spell ? names[month] : digits(month + 1, wanted.month) },
      d: wanted.day && { type: "day", value: digits(at.getUTCDate(), wanted.day) },
    };
    const parts = [];
    if (wanted.weekday) {
      const day = at.getUTCDay();
      const value = { long: locale.days[day], short: locale.shortDays[day], narrow: locale.days[day][0].toUpperCase() }[wanted.weekday];
      parts.push({ type: "weekday", value });
    }
    const order = [...(spell ? locale.spelled : locale.order)].filter((key) => values[key]);
    // Without its year, or without its day, a date in digits is another one in some languages.
    const bare = !spell && order.length === 2;
    if (bare && locale.monthFirst !== undefined && !values.y) order.reverse();
    const separator = bare && !values.y ? (locale.monthFirst ?? locale.separator) : bare && !values.d && locale.separator === "." ? "/" : locale.separator;
    for (const [index, key] of order.entries()) {
      const before = order[index - 1];
      if (before === undefined) {
        const glue = !spell && !locale.two ? ", " : locale.after[wanted.weekday === "long" ? "weekday" : "shortWeekday"];
        if (parts.length > 0) parts.push({ type: "literal", value: glue });
      } else {
        parts.push({ type: "literal", value: spell ? locale.after[before] : separator });
      }
      parts.push(values[key]);
    }
    // In German a day without its year keeps its point.
    if (!spell && locale.separator === "." && order.length === 2 && order[1] === "m") parts.push({ type: "literal", value: "." });
    if (wanted.era !== undefined) {
      const names = { long: ["Before Christ", "Anno Domini"], short: ["BC", "AD"], narrow: ["B", "A"] }[wanted.era];
      parts.push({ type: "literal", value: " " }, { type: "era", value: names[year > 0 ? 1 : 0] });
    }
    return parts;
  }
  #halved(wanted) {
    if (wanted.hour12 !== undefined) return Boolean(wanted.hour12);
    return wanted.hourCycle === undefined ? !this.locale.full : /^h1[12]$/.test(wanted.hourCycle);
  }
  #time(at, wanted) {
    const parts = [];
    const names = TIMES.filter((name) => wanted[name] !== undefined);
    const half = this.#halved(wanted);
    const hours = at.getUTCHours();
    const shownHour = half ? hours % 12 || 12 : hours;
    const values = {
      hour: wanted.hour === "2-digit" || !half ? two(shownHour) : String(shownHour),
      minute: names.length === 1 ? String(at.getUTCMinutes()) : two(at.getUTCMinutes()),
      second: names.length === 1 ? String(at.getUTCSeconds()) : two(at.getUTCSeconds()),
      fractionalSecondDigits: String(at.getUTCMilliseconds()).padStart(3, "0").slice(0, wanted.fractionalSecondDigits),
    };
    for (const name of names) {
      const fraction = name === "fractionalSecondDigits";
      if (parts.length > 0) parts.push({ type: "literal", value: fraction ? this.locale.point : ":" });
      parts.push({ type: fraction ? "fractionalSecond" : name, value: values[name] });
    }
    if (!half && names.length === 1 && names[0] === "hour" && this.locale.hour !== undefined) parts.push({ type: "literal", value: this.locale.hour });
    if (half && wanted.hour !== undefined) parts.push({ type: "literal", value: " " }, { type: "dayPeriod", value: this.locale.half[hours < 12 ? 0 : 1] });
    return parts;
  }
  resolvedOptions() {
    const wanted = components(this.options, this.locale);
    const halved = wanted.hour === undefined ? {} : { hourCycle: this.#halved(wanted) ? "h12" : "h23", hour12: this.#halved(wanted) };
    return { locale: this.locale.name, calendar: "gregory", numberingSystem: "latn", timeZone: this.zone.name, ...halved, ...Object.fromEntries(Object.entries(wanted).filter(([name]) => !["timeZone", "hour12", "hourCycle"].includes(name))) };
  }
}

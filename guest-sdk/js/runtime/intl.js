// The engine has no `Intl`. This much of it is enough for code that asks for the time zone,
// or formats in English: locale en-US, time zone UTC. Whatever is asked beyond that is
// given in these, and the table in README.md says so.

const LOCALE = "en-US";
const COMPONENTS = ["weekday", "year", "month", "day", "hour", "minute", "second", "dateStyle", "timeStyle"];

function group(text) {
  const [whole, fraction] = text.split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

class NumberFormat {
  constructor(_locales, options = {}) {
    this.options = options;
  }
  format(value) {
    const { style, currency, minimumFractionDigits, maximumFractionDigits, useGrouping = true } = this.options;
    const percent = style === "percent";
    const money = style === "currency";
    const least = minimumFractionDigits ?? (money ? 2 : 0);
    const most = Math.max(least, maximumFractionDigits ?? (money ? 2 : percent ? 0 : 3));
    const number = Number(value) * (percent ? 100 : 1);
    if (!Number.isFinite(number)) return Number.isNaN(number) ? "NaN" : number < 0 ? "-∞" : "∞";
    let [whole, fraction = ""] = Math.abs(number).toFixed(most).split(".");
    while (fraction.length > least && fraction.endsWith("0")) fraction = fraction.slice(0, -1);
    let text = fraction === "" ? whole : `${whole}.${fraction}`;
    if (useGrouping) text = group(text);
    if (money) text = `${{ USD: "$", EUR: "€", GBP: "£", JPY: "¥" }[currency] ?? `${currency} `}${text}`;
    return `${number < 0 ? "-" : ""}${text}${percent ? "%" : ""}`;
  }
  resolvedOptions() {
    return { locale: LOCALE, numberingSystem: "latn", style: "decimal", ...this.options };
  }
}

const MONTHS = "January February March April May June July August September October November December".split(" ");
const DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");
const two = (number) => String(number).padStart(2, "0");

class DateTimeFormat {
  constructor(_locales, options = {}) {
    const zone = options.timeZone;
    if (zone !== undefined && !/^(utc|gmt|etc\/(utc|gmt)|\+00:00)$/i.test(zone)) {
      throw new RangeError(`time zone ${zone} is not known in a step: it has UTC alone. Use a library with its own zones`);
    }
    this.options = options;
  }
  format(date = new Date()) {
    return this.formatToParts(date)
      .map((part) => part.value)
      .join("");
  }
  formatToParts(date = new Date()) {
    const at = new Date(date);
    if (Number.isNaN(at.getTime())) throw new RangeError("Invalid time value");
    const { options } = this;
    const styles = { full: ["long", "long"], long: [undefined, "long"], medium: [undefined, "short"], short: [undefined, "numeric"] };
    const [weekday, month] = options.dateStyle ? styles[options.dateStyle] : [options.weekday, options.month];
    const any = COMPONENTS.some((name) => options[name] !== undefined);
    const dated = !any || options.dateStyle !== undefined;
    const wants = (name) => dated || options[name] !== undefined;
    const parts = [];
    const literal = (value) => parts.push({ type: "literal", value });
    const add = (type, value) => parts.push({ type, value: String(value) });
    const digits = (name, value) => (options[name] === "2-digit" ? two(value % 100) : value);
    const shownMonth = month ?? (dated ? "numeric" : undefined);
    if (weekday) add("weekday", weekday === "long" ? DAYS[at.getUTCDay()] : DAYS[at.getUTCDay()].slice(0, 3));
    const spell = shownMonth === "long" || shownMonth === "short";
    const sections = [];
    if (shownMonth) {
      const name = MONTHS[at.getUTCMonth()];
      const number = at.getUTCMonth() + 1;
      const value = shownMonth === "long" ? name : shownMonth === "short" ? name.slice(0, 3) : shownMonth === "2-digit" ? two(number) : number;
      sections.push(["month", value]);
    }
    if (wants("day")) sections.push(["day", digits("day", at.getUTCDate())]);
    if (wants("year")) sections.push(["year", digits("year", at.getUTCFullYear())]);
    for (const [index, [type, value]] of sections.entries()) {
      if (index > 0) literal(spell ? (type === "year" ? ", " : " ") : "/");
      else if (parts.length) literal(", ");
      add(type, value);
    }
    const timed = options.timeStyle !== undefined;
    if (timed || options.hour !== undefined || options.minute !== undefined || options.second !== undefined) {
      const half = options.hour12 ?? options.hourCycle !== "h23";
      if (parts.length) literal(", ");
      const hour = half ? at.getUTCHours() % 12 || 12 : at.getUTCHours();
      const clock = [];
      if (timed || options.hour !== undefined) clock.push(["hour", half && options.hour !== "2-digit" ? hour : two(hour)]);
      if (timed || options.minute !== undefined) clock.push(["minute", two(at.getUTCMinutes())]);
      if ((timed && options.timeStyle !== "short") || options.second !== undefined) clock.push(["second", two(at.getUTCSeconds())]);
      for (const [index, [type, value]] of clock.entries()) {
        if (index > 0) literal(":");
        add(type, value);
      }
      if (half && (timed || options.hour !== undefined)) {
        literal(" ");
        add("dayPeriod", at.getUTCHours() < 12 ? "AM" : "PM");
      }
    }
    return parts;
  }
  resolvedOptions() {
    return { locale: LOCALE, calendar: "gregory", numberingSystem: "latn", ...this.options, timeZone: "UTC" };
  }
}

class PluralRules {
  constructor(_locales, options = {}) {
    this.options = options;
  }
  select(number) {
    if (this.options.type !== "ordinal") return number === 1 ? "one" : "other";
    const [tens, ones] = [number % 100, number % 10];
    if (ones === 1 && tens !== 11) return "one";
    if (ones === 2 && tens !== 12) return "two";
    return ones === 3 && tens !== 13 ? "few" : "other";
  }
}

class Collator {
  constructor(_locales, options = {}) {
    const fold = (text) => (options.sensitivity === "base" || options.sensitivity === "accent" ? String(text).toLowerCase() : String(text));
    this.compare = (a, b) => {
      if (options.numeric && Number(a) !== Number(b) && !Number.isNaN(Number(a) - Number(b))) return Number(a) - Number(b);
      const [left, right] = [fold(a), fold(b)];
      return left < right ? -1 : left > right ? 1 : 0;
    };
  }
  resolvedOptions() {
    return { locale: LOCALE };
  }
}

class ListFormat {
  constructor(_locales, options = {}) {
    this.word = options.type === "disjunction" ? "or" : "and";
  }
  format(list) {
    const items = [...list];
    if (items.length < 3) return items.join(` ${this.word} `);
    return `${items.slice(0, -1).join(", ")}, ${this.word} ${items.at(-1)}`;
  }
}

export function installIntl() {
  if (globalThis.Intl !== undefined) return;
  const formats = { NumberFormat, DateTimeFormat, PluralRules, Collator, ListFormat };
  const Intl = { getCanonicalLocales: (locales) => [locales ?? LOCALE].flat() };
  for (const [name, Format] of Object.entries(formats)) {
    Format.supportedLocalesOf = () => [LOCALE];
    // Callable without `new`, as the language has it.
    Intl[name] = new Proxy(Format, { apply: (_target, _this, values) => new Format(...values) });
  }
  Object.defineProperty(globalThis, "Intl", { value: Intl, writable: true, configurable: true, enumerable: false });
  const dated = (defaults) =>
    function toLocale(locales, options) {
      const chosen = COMPONENTS.some((name) => options?.[name] !== undefined);
      return new DateTimeFormat(locales, chosen ? options : { ...defaults, ...options }).format(this);
    };
  const date = { year: "numeric", month: "numeric", day: "numeric" };
  const time = { hour: "numeric", minute: "2-digit", second: "2-digit" };
  Date.prototype.toLocaleDateString = dated(date);
  Date.prototype.toLocaleTimeString = dated(time);
  Date.prototype.toLocaleString = dated({ ...date, ...time });
  Number.prototype.toLocaleString = function toLocaleString(locales, options) {
    return new NumberFormat(locales, options).format(this);
  };
}

// The engine has no `Intl`. This much of it is enough for most code: what it lacks is an
// error or not there, and the table in README.md says so.

import { COMPONENTS, DateTimeFormat } from "./dates.js";
import { localeOf, supported } from "./locales.js";
import { zoneNames } from "./zones.js";

const LOCALE = "en-US";

class NumberFormat {
  constructor(locales, options = {}) {
    this.locale = localeOf(locales);
    this.options = options ?? {};
  }
  format = (value) => {
    const { group, point, minus = "-", behind, behindPercent = behind } = this.locale;
    const { style, currency, minimumFractionDigits, maximumFractionDigits, useGrouping = true } = this.options;
    const percent = style === "percent";
    const money = style === "currency";
    const least = minimumFractionDigits ?? (money ? 2 : 0);
    const most = Math.max(least, maximumFractionDigits ?? (money ? 2 : percent ? 0 : 3));
    const number = Number(value) * (percent ? 100 : 1);
    if (!Number.isFinite(number)) return Number.isNaN(number) ? "NaN" : number < 0 ? "-∞" : "∞";
    let [whole, fraction = ""] = Math.abs(number).toFixed(most).split(".");
    while (fraction.length > least && fraction.endsWith("0")) fraction = fraction.slice(0, -1);
    if (useGrouping) whole = whole.replace(/\B(?=(\d{3})+(?!\d))/g, group);
    let text = fraction === "" ? whole : `${whole}${point}${fraction}`;
    const sign = { USD: "$", EUR: "€", GBP: "£", JPY: "¥" }[currency];
    if (money) text = behind !== undefined ? `${text}${behind}${sign ?? currency}` : `${sign ?? `${currency}\u00a0`}${text}`;
    return `${number < 0 ? minus : ""}${text}${percent ? `${behindPercent ?? ""}%` : ""}`;
  };
  resolvedOptions() {
    return { locale: this.locale.name, numberingSystem: "latn", style: "decimal", ...this.options };
  }
}

/** Those that write in English, since no other language's rules are there. */
function english(locales, what) {
  const [tag = LOCALE] = [locales ?? LOCALE].flat();
  if (!/^en\b/.test(String(tag))) throw new RangeError(`${what} of the locale ${tag} is not there in a step, which has that of English alone`);
}

class PluralRules {
  constructor(locales, options = {}) {
    english(locales, "Intl.PluralRules");
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
  constructor(locales, options = {}) {
    english(locales, "Intl.ListFormat");
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
  const Intl = {
    getCanonicalLocales: (locales) => [locales ?? []].flat(),
    supportedValuesOf: (key) => (key === "timeZone" ? zoneNames() : key === "calendar" ? ["gregory"] : key === "numberingSystem" ? ["latn"] : []),
  };
  for (const [name, Format] of Object.entries(formats)) {
    Format.supportedLocalesOf = supported;
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

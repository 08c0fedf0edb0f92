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

const ASCII = /^[\0-\x7f]*$/;
const decomposed = (text) => (ASCII.test(text) ? text : text.normalize("NFD"));
const LETTERS = { ß: "ss", æ: "ae", œ: "oe", ø: "o", đ: "d", ł: "l" };
function bare(text) {
  if (ASCII.test(text)) return text.toLowerCase();
  return decomposed(text).replace(/[\u0300-\u036f]/g, "").toLowerCase().replace(/[ßæœøđł]/g, (letter) => LETTERS[letter]);
}
/** Punctuation stands before digits, and those before letters. */
const classOf = (part) => (/^[0-9]/.test(part) ? 1 : /^[\s!-/:-@[-`{-~]/.test(part) ? 0 : 2);
const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** Whatever marks and case. */
function byLetters(a, b, numeric) {
  const [left, right] = [a, b].map((text) => bare(text).match(numeric ? /[0-9]+|[^0-9]/g : /[^]/g) ?? []);
  for (let at = 0; at < Math.min(left.length, right.length); at++) {
    const classes = order(classOf(left[at]), classOf(right[at]));
    if (classes !== 0) return classes;
    const isNumber = numeric && classOf(left[at]) === 1;
    const parts = isNumber ? order(BigInt(left[at]), BigInt(right[at])) : order(left[at], right[at]);
    if (parts !== 0) return parts;
  }
  return order(left.length, right.length);
}

/** Of letters that are the same, the small one first. */
function byCase(a, b) {
  const [left, right] = [decomposed(a), decomposed(b)];
  for (let at = 0; at < Math.min(left.length, right.length); at++) {
    if (left[at] !== right[at] && left[at].toLowerCase() === right[at].toLowerCase()) return left[at] === left[at].toLowerCase() ? -1 : 1;
  }
  return 0;
}

class Collator {
  constructor(_locales, options) {
    const { sensitivity = "variant", numeric = false, ignorePunctuation = false } = options ?? {};
    const read = (text) => (ignorePunctuation ? String(text).replace(/[\s!-/:-@[-`{-~]/g, "") : String(text));
    this.compare = (one, other) => {
      const [a, b] = [read(one), read(other)];
      if (a === b) return 0;
      const letters = byLetters(a, b, numeric);
      if (letters !== 0 || sensitivity === "base") return letters;
      const marks = sensitivity === "case" ? 0 : order(decomposed(a).toLowerCase(), decomposed(b).toLowerCase());
      return marks !== 0 || sensitivity === "accent" ? marks : byCase(a, b);
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
  String.prototype.localeCompare = function localeCompare(that, locales, options) {
    return new Collator(locales, options).compare(this, that);
  };
  Number.prototype.toLocaleString = function toLocaleString(locales, options) {
    return new NumberFormat(locales, options).format(this);
  };
}

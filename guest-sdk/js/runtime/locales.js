// The locales in which a step writes dates and numbers. Another is an error: what was
// written in English would pass for right.

const words = (text) => text.split(" ");
const EN = {
  months: words("January February March April May June July August September October November December"),
  short: words("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"),
  days: words("Sunday Monday Tuesday Wednesday Thursday Friday Saturday"),
  shortDays: words("Sun Mon Tue Wed Thu Fri Sat"),
};

/**
 * `order` of a date in digits and `two` if day and month always have two; `spelled` is the order with the
 * month's name and what stands after day, month and weekday; `glue` stands before the time, `hour`
 * after an hour alone.
 */
const LOCALES = {
  "en-US": { ...EN, order: "mdy", separator: "/", spelled: "mdy", after: { d: ", ", m: " ", weekday: ", ", shortWeekday: ", " }, glue: ", ", half: ["AM", "PM"], group: ",", point: "." },
  "en-CA": { ...EN, order: "ymd", separator: "-", two: true, spelled: "mdy", after: { d: ", ", m: " ", weekday: ", ", shortWeekday: ", " }, glue: ", ", half: ["a.m.", "p.m."], group: ",", point: "." },
  "en-GB": { ...EN, short: words("Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec"), order: "dmy", separator: "/", two: true, spelled: "dmy", after: { d: " ", m: " ", weekday: ", ", shortWeekday: ", " }, glue: ", ", half: ["am", "pm"], full: true, group: ",", point: "." },
  de: {
    months: words("Januar Februar März April Mai Juni Juli August September Oktober November Dezember"),
    short: words("Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez."),
    days: words("Sonntag Montag Dienstag Mittwoch Donnerstag Freitag Samstag"),
    shortDays: words("So Mo Di Mi Do Fr Sa"),
    order: "dmy", separator: ".", spelled: "dmy", after: { d: ". ", m: " ", weekday: ", ", shortWeekday: "., " }, glue: ", ", hour: " Uhr", half: ["AM", "PM"], full: true, group: ".", point: ",", behind: "\u00a0",
  },
  fr: {
    months: words("janvier février mars avril mai juin juillet août septembre octobre novembre décembre"),
    short: words("janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc."),
    days: words("dimanche lundi mardi mercredi jeudi vendredi samedi"),
    shortDays: words("dim. lun. mar. mer. jeu. ven. sam."),
    order: "dmy", separator: "/", two: true, spelled: "dmy", after: { d: " ", m: " ", weekday: " ", shortWeekday: " " }, glue: " ", spelledGlue: ", ", zoneGlue: " ", hour: " h", half: ["AM", "PM"], full: true, group: "\u202f", point: ",", behind: "\u00a0", behindPercent: "\u202f",
  },
  sv: {
    months: words("januari februari mars april maj juni juli augusti september oktober november december"),
    short: words("jan. feb. mars apr. maj juni juli aug. sep. okt. nov. dec."),
    days: words("söndag måndag tisdag onsdag torsdag fredag lördag"),
    shortDays: words("sön mån tis ons tors fre lör"),
    order: "ymd", separator: "-", two: true, spelled: "dmy", after: { d: " ", m: " ", weekday: " ", shortWeekday: " " }, glue: " ", zoneGlue: " ", monthFirst: "/", half: ["fm", "em"], full: true, group: "\u00a0", point: ",", minus: "−", behind: "\u00a0",
  },
};

/** Which of them stands for others of the same language. */
const ALSO = { en: "en-US", "en-US-POSIX": "en-US", "en-AU": "en-GB", "en-IE": "en-GB", "en-NZ": "en-GB", "de-DE": "de", "fr-FR": "fr", "sv-SE": "sv" };

const plain = (tag) => String(tag).replace(/-u-.*$/, "");

/** The first of the locales asked for that a step has, under the name that was asked for. */
export function localeOf(asked) {
  const tags = [asked ?? "en-US"].flat();
  if (tags.length === 0) tags.push("en-US");
  for (const tag of tags) {
    const name = plain(tag);
    if (!/^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$/.test(name)) throw new RangeError(`Incorrect locale information provided`);
    const found = LOCALES[name] ?? LOCALES[ALSO[name]];
    if (found !== undefined) return { ...found, name };
  }
  throw new RangeError(`the locale ${plain(tags[0])} is not there in a step, which has ${Object.keys(LOCALES).join(", ")}: format by a library that brings its own, such as dayjs, date-fns or numeral`);
}

export const supported = (tags) => [tags ?? []].flat().filter((tag) => plain(tag) in LOCALES || plain(tag) in ALSO);

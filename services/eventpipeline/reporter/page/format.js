// How values are written: numbers and dates as the reader's locale has them, words in the page's English.

const integer = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 3 });
const fine = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
const tenth = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const cents = { minimumFractionDigits: 2, maximumFractionDigits: 6 };
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always" });

export const NONE = "–";

const known = (value) => value !== null && value !== undefined;

export const count = (value) => (known(value) ? integer.format(value) : NONE);
export const compact = (value) => (known(value) ? short.format(value) : NONE);
export const decimal = (value) => (known(value) ? fine.format(value) : NONE);
export const rate = (value) => (known(value) ? (value < 10 ? tenth : integer).format(value) : NONE);

/** An amount, given as a decimal string and never made a float: Intl formats the digits of a string as they are. */
export function money(amount, currency = null) {
  if (!known(amount)) return NONE;
  const text = new Intl.NumberFormat(undefined, cents).format(amount);
  return currency ? `${text} ${currency}` : text;
}

/** A share of 0 to 1; what is small but not nothing does not become 0 %. */
export function percent(share) {
  if (!known(share)) return NONE;
  const digits = share > 0 && share < 0.001 ? { maximumSignificantDigits: 1 } : { maximumFractionDigits: 1 };
  return new Intl.NumberFormat(undefined, { style: "percent", ...digits }).format(share);
}

const UNITS = [
  [86400, "day"],
  [3600, "hour"],
  [60, "minute"],
  [1, "second"],
];

const unitOf = (seconds) => UNITS.find(([size]) => seconds >= size) ?? UNITS.at(-1);

export function duration(seconds) {
  if (!known(seconds)) return NONE;
  const [size, unit] = unitOf(seconds);
  const value = seconds < 10 ? Math.round(seconds * 10) / 10 : Math.floor(seconds / size);
  return new Intl.NumberFormat("en", { style: "unit", unit, unitDisplay: "long" }).format(value);
}

export function ago(seconds) {
  const [size, unit] = unitOf(Math.max(0, seconds));
  return relative.format(-Math.floor(Math.max(0, seconds) / size), unit);
}

/** The same for what is renewed all the time: it says "just now" as long as all is well. */
export const agoCalmly = (seconds) => (seconds < 5 ? "just now" : ago(seconds));

export function bytes(value) {
  if (!known(value)) return NONE;
  const power = value < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(value) / 10));
  return `${tenth.format(value / 1024 ** power)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

/** `{seconds, minutes, dates, full}`: formatters of epoch seconds; in UTC for buckets that are days in UTC. */
export function times(timeZone) {
  const make = (options) => {
    const format = new Intl.DateTimeFormat(undefined, { ...options, timeZone });
    return (seconds) => format.format(seconds * 1000);
  };
  const hm = { hour: "2-digit", minute: "2-digit" };
  return {
    seconds: make({ ...hm, second: "2-digit" }),
    minutes: make(hm),
    dates: make({ month: "short", day: "numeric" }),
    years: make({ year: "numeric", month: "short", day: "numeric" }),
    full: make({ month: "short", day: "numeric", ...hm }),
  };
}

/** `averageWatchTime` → `Average watch time`. */
export function words(key) {
  const text = key
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .replace(/[_.]/g, " ")
    .toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

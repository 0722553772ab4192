const LOCALE = "en";

export function number(value, digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value.toLocaleString(LOCALE, { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "negative" });
}

// Three significant digits at most, with a unit of thousands.
export function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return `${(value / 1e6).toFixed(size >= 1e7 ? 0 : 1)} M`;
  if (size >= 1e4) return `${(value / 1e3).toFixed(size >= 1e5 ? 0 : 1)} k`;
  if (size >= 100 || Number.isInteger(value)) return number(value);
  return number(value, size >= 10 ? 1 : 2);
}

export function bytes(value) {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)} GB`;
  return value >= 1e6 ? `${(value / 1e6).toFixed(value >= 1e7 ? 0 : 1)} MB` : `${number(value / 1e3)} kB`;
}

export const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);

export function seconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value < 1) return `${number(1000 * value)} ms`;
  if (value < 100) return `${number(value, value < 10 ? 1 : 0)} s`;
  return span(value);
}

export const millis = (value) => (value === null || value === undefined ? "–" : value >= 1000 ? seconds(value / 1000) : `${number(value, value > 0 && value < 10 ? 1 : 0)} ms`);

// A length of time in words of one unit.
export function span(value) {
  const size = Math.abs(value);
  for (const [unit, of] of [["d", 86400], ["h", 3600], ["min", 60]]) if (size >= 2 * of) return `${number(value / of)} ${unit}`;
  return `${number(value)} s`;
}

export function ago(at, now = Date.now()) {
  const passed = (now - at) / 1000;
  return passed < 2 ? "just now" : `${span(passed)} ago`;
}

export const clock = (at) => new Date(at).toLocaleTimeString(LOCALE, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

export const day = (at) => new Date(at).toLocaleString(LOCALE, { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", hour12: false });

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

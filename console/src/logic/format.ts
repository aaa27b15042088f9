/** Numbers as people read them. Everything that may be missing shows as a dash. */

const DASH = "–";
const GAP = "\u00a0"; // a number never parts from its unit

type Maybe = number | null | undefined;

function known(value: Maybe): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

export function seconds(value: Maybe): string {
  if (!known(value)) return DASH;
  if (value > 0 && value < 0.0005) return `<1${GAP}ms`;
  if (Math.abs(value) < 0.9995) return `${Math.round(value * 1000)}${GAP}ms`;
  if (value < 99.95) return `${value.toFixed(value < 9.995 ? 2 : 1)}${GAP}s`;
  return `${Math.floor(Math.round(value) / 60)}${GAP}min ${Math.round(value) % 60}${GAP}s`;
}

export function joules(value: Maybe): string {
  if (!known(value)) return DASH;
  if (value === 0) return `0${GAP}J`;
  if (Math.abs(value) < 0.9995) return `${threeDigits(value * 1000)}${GAP}mJ`;
  if (value < 999.5) return `${threeDigits(value)}${GAP}J`;
  return `${threeDigits(value / 1000)}${GAP}kJ`;
}

export function dollars(value: Maybe): string {
  if (!known(value)) return DASH;
  if (value === 0) return "free";
  return value < 0.01 ? `$${value.toPrecision(2)}` : `$${value.toFixed(2)}`;
}

export function share(value: Maybe): string {
  return known(value) ? `${Math.round(value * 100)}${GAP}%` : DASH;
}

/** A probability, with two decimals. */
export function quality(value: Maybe): string {
  if (!known(value)) return DASH;
  return value.toFixed(2);
}

export function bitrate(value: Maybe): string {
  if (!known(value)) return DASH;
  if (value >= 1e9) return `${threeDigits(value / 1e9)}${GAP}Gbit/s`;
  if (value >= 1e6) return `${threeDigits(value / 1e6)}${GAP}Mbit/s`;
  return `${threeDigits(value / 1e3)}${GAP}kbit/s`;
}

export function count(value: number, one: string, many: string): string {
  return `${value} ${value === 1 ? one : many}`;
}

export function clock(epochSeconds: number): string {
  const date = new Date(epochSeconds * 1000);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
}

function threeDigits(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2).replace(/\.0+$/, "");
}

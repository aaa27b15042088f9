// Draws what a prompt says, roughly, and writes it as a PNG: enough to develop the page without a gateway.
import { deflateSync, crc32 } from "node:zlib";

const COLOURS = {
  red: [214, 57, 49], green: [47, 158, 68], blue: [38, 99, 214], yellow: [242, 196, 37],
  orange: [240, 135, 36], purple: [137, 72, 186], white: [250, 250, 250], black: [22, 22, 26],
  gray: [128, 130, 136], navy: [24, 34, 84], pink: [238, 130, 170],
};
const SHAPES = {
  circle: (x, y, r) => Math.hypot(x, y) - r,
  square: (x, y, r) => Math.max(Math.abs(x), Math.abs(y)) - r * 0.88,
  triangle: (x, y, r) => Math.max(Math.abs(x) * 0.866 + y * -0.5 - r * 0.3, y - r * 0.75 - 0, -y - r) * 1,
  cross: (x, y, r) => Math.min(
    Math.max(Math.abs(x) - r, Math.abs(y) - r * 0.33), Math.max(Math.abs(x) - r * 0.33, Math.abs(y) - r)),
};
const PLACES = {
  1: [[32, 32]],
  "left of": [[19, 32], [46, 32]], "right of": [[46, 32], [19, 32]],
  above: [[32, 18], [32, 46]], below: [[32, 46], [32, 18]],
};
export const WORDS = [
  ...Object.keys(COLOURS), ...Object.keys(SHAPES), "small", "large", "left", "right", "of", "above", "below", "both",
  "on", "a", "an", "background", "and",
];

export function unknownWords(prompt) {
  return prompt.toLowerCase().split(/[^a-z]+/).filter((word) => word && !WORDS.includes(word));
}

function sceneOf(prompt) {
  const text = prompt.toLowerCase();
  const background = COLOURS[/on (?:a )?(\w+)(?: background)?$/.exec(text)?.[1]] ?? [232, 232, 228];
  const found = [...text.matchAll(/(small |large )?(\w+) (circle|square|triangle|cross)/g)];
  const relation = found.length > 1 ? (/(left of|right of|above|below)/.exec(text)?.[1] ?? "left of") : 1;
  const places = [...PLACES[relation]];
  if (found.length > 2) places.splice(0, 3, [18, 20], [46, 20], [32, 47]);
  const items = found.slice(0, 3).map(([, size, colour, shape], i) => ({
    colour: COLOURS[colour] ?? [200, 60, 60], shape: SHAPES[shape], at: places[i],
    r: (size === "small " ? 7 : size === "large " ? 16 : 11) * (found.length > 1 ? 0.9 : 1.25),
  }));
  return { background, items };
}

/** RGB bytes, with `noise` from 0 (clean) to 1. */
export function draw(prompt, noise, seed, side = 64) {
  const { background, items } = sceneOf(prompt);
  const random = generator(seed);
  const out = Buffer.alloc(side * side * 3);
  for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) {
    let colour = background;
    for (const item of items) {
      const cover = Math.min(1, Math.max(0, 0.5 - item.shape(x + 0.5 - item.at[0], y + 0.5 - item.at[1], item.r)));
      colour = colour.map((c, k) => c + (item.colour[k] - c) * cover);
    }
    for (let k = 0; k < 3; k++) {
      const grain = 128 + (random() + random() + random() - 1.5) * 150;
      out[(y * side + x) * 3 + k] = Math.max(0, Math.min(255, colour[k] * (1 - noise) + grain * noise));
    }
  }
  return out;
}

function generator(seed) {
  let a = seed >>> 0 || 1;
  return () => {
    a = (Math.imul(a ^ (a >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    return ((a ^ (a >>> 13)) >>> 0) / 2 ** 32;
  };
}

export function png(rgb, side = 64) {
  const rows = Buffer.alloc(side * (side * 3 + 1));
  for (let y = 0; y < side; y++) rgb.copy(rows, y * (side * 3 + 1) + 1, y * side * 3, (y + 1) * side * 3);
  const head = Buffer.alloc(13);
  head.writeUInt32BE(side, 0);
  head.writeUInt32BE(side, 4);
  head.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([
    Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk("IHDR", head), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(name, data) {
  const body = Buffer.concat([Buffer.from(name), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE(crc32(body), body.length + 4);
  return out;
}

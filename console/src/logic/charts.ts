/** The options of the four charts. Points carry the id of their picture, so that a click can tell its story. */

import { TIERS, type Item, type Tier } from "../types";
import { clock, joules, quality, seconds } from "./format";
import { energyOf, mean, quantile, rolling } from "./stats";

export interface Palette {
  tiers: Record<Tier, string>;
  ink: string;
  muted: string;
  line: string;
  panel: string;
  bad: string;
}

interface Point {
  id: string;
  name: string;
  value: [number, number];
  late: boolean;
  tier: Tier;
}

type Show = (value: number) => string;
const WINDOW = 20;
const MINUTE_MS = 60_000;

export function latencyChart(items: readonly Item[], palette: Palette): object {
  const points = pointsOf(items, (item) => [item.created * 1000, item.actual?.total_s]);
  return overTime(points, palette, seconds, [
    line("P50", rolling(pairs(points), WINDOW, (v) => quantile(v, 0.5)), palette.ink),
    line("P95", rolling(pairs(points), WINDOW, (v) => quantile(v, 0.95)), palette.muted, "dashed"),
  ]);
}

export function qualityChart(items: readonly Item[], palette: Palette): object {
  const points = pointsOf(items, (item) => [item.created * 1000, item.quality_estimate]);
  const option = overTime(points, palette, quality, [line("mean", rolling(pairs(points), WINDOW, mean), palette.ink)]);
  return { ...option, yAxis: { ...axis(palette, quality), min: 0, max: 1, interval: 0.25 } };
}

export function energyChart(items: readonly Item[], palette: Palette): object {
  const points = pointsOf(items, (item) => [item.created * 1000, energyOf(item.actual)]);
  return overTime(points, palette, joules, [line("mean", rolling(pairs(points), WINDOW, mean), palette.ink)]);
}

export function predictionChart(items: readonly Item[], palette: Palette): object {
  const points = pointsOf(items, (item) => [item.predicted?.total_s, item.actual?.total_s]);
  const { step, end } = ticks(Math.max(...points.flatMap((point) => point.value), 0.01));
  const side = { ...axis(palette, seconds), min: 0, max: end, interval: step, nameGap: 26, nameLocation: "middle", nameTextStyle: { color: palette.muted } };
  return {
    ...frame(palette, seconds, (x) => `predicted ${seconds(x)}, actual`, " "),
    grid: { left: 62, right: 14, top: 12, bottom: 42 },
    xAxis: { ...side, name: "predicted" },
    yAxis: { ...side, name: "actual", nameGap: 46 },
    series: [line("exact", [[0, 0], [end, end]], palette.muted, "dashed"), ...scatter(points, palette)],
  };
}

/** A round step that reaches `most` in three to six strides, so that both axes can have the same marks. */
export function ticks(most: number): { step: number; end: number } {
  const rough = most / 5;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((digit) => digit * unit >= rough) ?? 10) * unit;
  return { step, end: step * Math.ceil(most / step) };
}

/** Finished pictures, oldest first, that have both coordinates. */
function pointsOf(items: readonly Item[], at: (item: Item) => [number | null | undefined, number | null | undefined]): Point[] {
  return items
    .filter((item) => item.status === "finished")
    .flatMap((item) => {
      const [x, y] = at(item);
      if (x == null || y == null || !item.tier) return [];
      const name = `${item.node} · ${item.model} × ${item.steps} · ${item.prompt}`;
      return [{ id: item.id, name, value: [x, y] as [number, number], late: item.met_deadline === false, tier: item.tier }];
    })
    .reverse();
}

function pairs(points: readonly Point[]): (readonly [number, number])[] {
  return points.map((point) => point.value);
}

function overTime(points: readonly Point[], palette: Palette, show: Show, lines: object[]): object {
  return {
    ...frame(palette, show, (x) => clock(x / 1000)),
    grid: { left: 56, right: 14, top: 12, bottom: 26 },
    xAxis: {
      type: "time", ...span(points), splitNumber: 4, axisLine: { lineStyle: { color: palette.line } }, axisTick: { show: false },
      axisLabel: { color: palette.muted, hideOverlap: true, formatter: (value: number) => clock(value / 1000) },
    },
    yAxis: { ...axis(palette, show), min: 0 },
    series: [...scatter(points, palette), ...lines],
  };
}

/** At least a minute, so that the first few points do not stand on a scale of days. */
function span(points: readonly Point[]): { min?: number; max?: number } {
  const [first, last] = [points[0]?.value[0], points.at(-1)?.value[0]];
  if (first === undefined || last === undefined) return {};
  const spare = Math.max(0, MINUTE_MS - (last - first));
  return { min: first - spare, max: last };
}

function axis(palette: Palette, show: Show): object {
  return {
    type: "value", splitNumber: 4, axisLine: { show: false }, axisTick: { show: false },
    axisLabel: { color: palette.muted, hideOverlap: true, formatter: (value: number) => (value === 0 ? "0" : show(value)) },
    splitLine: { lineStyle: { color: palette.line } },
  };
}

function scatter(points: readonly Point[], palette: Palette): object[] {
  return TIERS.map((tier) => ({
    type: "scatter", id: tier, name: tier, symbolSize: 7, z: 3,
    data: points.filter((point) => point.tier === tier).map(({ id, name, value, late }) => ({
      id, name, value,
      itemStyle: late
        ? { color: "transparent", borderColor: palette.bad, borderWidth: 1.8, opacity: 1 }
        : { color: palette.tiers[tier], opacity: 0.72 },
    })),
  }));
}

function line(name: string, data: [number, number][], color: string, type = "solid"): object {
  return { type: "line", id: name, name, data, showSymbol: false, silent: true, z: 2, lineStyle: { color, width: 1.6, type, opacity: 0.75 }, tooltip: { show: false } };
}

function frame(palette: Palette, show: Show, where: Show, join = " · "): object {
  return {
    animation: false,
    textStyle: { fontFamily: "system-ui, sans-serif" },
    tooltip: {
      trigger: "item", confine: true, backgroundColor: palette.panel, borderColor: palette.line, padding: [6, 9],
      textStyle: { color: palette.ink, fontSize: 12 },
      formatter: (hit: { name: string; value: [number, number] }) => tip([hit.name, `${where(hit.value[0])}${join}${show(hit.value[1])}`]),
    },
  };
}

/** As nodes, not as markup: a prompt is someone else's text. */
function tip(lines: string[]): HTMLElement {
  const box = document.createElement("div");
  lines.forEach((text) => {
    const row = document.createElement("div");
    row.className = "tip";
    row.textContent = text;
    box.append(row);
  });
  return box;
}

/** The form as typed, and the request that it means. */

import { TIERS, type Offer, type Tier } from "../types";

export interface Form {
  prompt: string;
  deadline: string;
  deadlineUnit: "ms" | "s";
  energy_j: string;
  floor: number; // 0 is no floor
  model: string; // "auto" or a name
  steps: string; // "auto" or a whole number
  origin: string; // "" leaves it to the gateway
  tiers: Tier[];
  pictures: number;
  nodes: string[]; // empty is any; set only by taking an offer
}

export const BLANK: Form = {
  prompt: "",
  deadline: "",
  deadlineUnit: "s",
  energy_j: "",
  floor: 0,
  model: "auto",
  steps: "auto",
  origin: "",
  tiers: [...TIERS],
  pictures: 1,
  nodes: [],
};

export type FieldErrors = Partial<Record<"prompt" | "deadline" | "energy_j" | "steps" | "tiers", string>>;

export const MAX_STEPS = 1000;

export function check(form: Form): FieldErrors {
  const errors: FieldErrors = {};
  if (!form.prompt.trim()) errors.prompt = "Say what to draw.";
  if (form.deadline.trim() && !(positive(form.deadline) > 0)) errors.deadline = "A positive number, or empty.";
  if (form.energy_j.trim() && !(positive(form.energy_j) > 0)) errors.energy_j = "A positive number, or empty.";
  const steps = Number(form.steps);
  if (form.steps !== "auto" && !(Number.isInteger(steps) && steps >= 1 && steps <= MAX_STEPS)) {
    errors.steps = "A whole number from 1, or auto.";
  }
  if (form.tiers.length === 0) errors.tiers = "At least one tier.";
  return errors;
}

/** The seed is always sent: it makes the picture repeatable and lets the page recognise its own request. */
export function requestBody(form: Form, seed: number): Record<string, unknown> {
  const edgegen: Record<string, unknown> = { seed };
  const deadline = positive(form.deadline);
  if (deadline > 0) edgegen.deadline_ms = form.deadlineUnit === "s" ? Math.round(deadline * 1000) : deadline;
  if (positive(form.energy_j) > 0) edgegen.max_energy_j = positive(form.energy_j);
  if (form.floor > 0) edgegen.min_quality = form.floor;
  if (form.steps !== "auto") edgegen.steps = Number(form.steps);
  if (form.origin) edgegen.origin = form.origin;
  if (form.tiers.length < TIERS.length) edgegen.tiers = TIERS.filter((tier) => form.tiers.includes(tier));
  if (form.nodes.length > 0) edgegen.nodes = form.nodes;
  const several = form.pictures > 1 ? { n: form.pictures } : {};
  return { prompt: form.prompt.trim(), model: form.model, size: "auto", ...several, edgegen };
}

/** The form after taking the gateway's best offer: limits are loosened as far as it needs, never tightened. */
export function takeOffer(form: Form, offer: Offer): Form {
  const limit_s = roundUp(offer.total_s * 1.25);
  const asked_s = positive(form.deadline) * (form.deadlineUnit === "ms" ? 0.001 : 1);
  const energy_j = positive(form.energy_j);
  return {
    ...form,
    ...(asked_s > 0 && asked_s < limit_s ? { deadline: String(limit_s), deadlineUnit: "s" as const } : {}),
    ...(energy_j > 0 && energy_j < offer.energy_j ? { energy_j: String(roundUp(offer.energy_j * 1.25)) } : {}),
    floor: Math.min(form.floor, Math.floor(offer.quality * 20) / 20),
    model: offer.model,
    steps: String(offer.steps),
    nodes: [offer.node],
    tiers: [...TIERS],
  };
}

/** Up to two significant digits. */
function roundUp(value: number): number {
  if (!(value > 0)) return 0;
  const unit = 10 ** (Math.floor(Math.log10(value)) - 1);
  return Number((Math.ceil(value / unit - 1e-9) * unit).toPrecision(2));
}

function positive(text: string): number {
  const value = Number(text.trim().replace(",", "."));
  return text.trim() && Number.isFinite(value) && value > 0 ? value : NaN;
}

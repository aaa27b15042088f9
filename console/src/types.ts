/** What the gateway's HTTP interface says, as far as the page reads it. */

export type Tier = "device" | "edge" | "cloud";
export const TIERS: readonly Tier[] = ["device", "edge", "cloud"];

export type Status = "waiting" | "running" | "finished" | "failed" | "refused" | "cancelled";

/** Seconds, joules and dollars; null is "without bound", as of a node that cannot be reached. */
export interface Split {
  upload_s: number | null;
  queue_s: number | null;
  load_s: number | null;
  generate_s: number | null;
  download_s: number | null;
  total_s: number | null;
  device_energy_j: number | null;
  node_energy_j: number | null;
  money_usd: number | null;
}

/** One picture: what was asked, what was decided, what happened. Early events carry only some of it. */
export interface Item {
  id: string;
  prompt: string;
  created: number;
  status: Status;
  category?: string | null;
  node?: string | null;
  tier?: Tier | null;
  model?: string | null;
  steps?: number | null;
  seed?: number | null;
  origin?: string | null;
  reason?: string | null;
  policy?: string | null;
  predicted?: Split | null;
  actual?: Split | null;
  quality_estimate?: number | null;
  deadline_s?: number | null;
  met_deadline?: boolean | null;
  image_url?: string | null;
  emulated?: string[] | null;
  error?: string | { message?: string; code?: string } | null;
}

export interface Link {
  uplink_bps?: number | null;
  downlink_bps?: number | null;
  rtt_s?: number | null;
}

export interface Running {
  id: string;
  model: string;
  step: number;
  steps: number;
}

export interface NodeView {
  name: string;
  tier: Tier;
  models: string[];
  resident: string[];
  queue: number;
  running: Running[];
  backlog_s: number;
  utilisation: number;
  alive: boolean;
  paced: boolean;
  emulated: string[];
  energy_j: number;
  finished: number;
  link: Link | null;
}

/** What one key took since the gateway began. */
export interface KeyUsage {
  key: string;
  requests: number;
  refused: number;
  pictures: number;
  energy_j: number;
  cost_usd: number;
  under_way: number;
}

export interface Grammar {
  words: string[];
  categories: string[];
  examples: Record<string, string[]>;
}

export interface Alternative {
  node: string;
  model: string;
  steps: number;
  predicted: Split | null;
  quality_estimate: number | null;
  feasible: boolean;
  why_not: string | null;
}

export interface Plan {
  policy: string;
  decision: Decision | null; // null: nothing keeps every limit
  predicted: Split | null;
  quality_estimate: number | null;
  reason: string;
  alternatives: Alternative[];
  offer?: Offer | null;
}

export interface Decision {
  node: string;
  tier: Tier;
  model: string;
  steps: number;
}

/** The nearest thing that can be done, sent with a refusal. */
export interface Offer {
  node: string;
  model: string;
  steps: number;
  total_s: number;
  quality: number;
  energy_j: number;
}

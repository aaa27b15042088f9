/** The alternatives of a plan in the order in which they are worth reading. */

import type { Alternative, Plan } from "../types";

export function isChosen(plan: Plan, row: Alternative): boolean {
  const { node, model, steps } = plan.decision;
  return row.node === node && row.model === model && row.steps === steps;
}

/** The chosen one, then what was possible, then what was not; better quality first, then quicker. */
export function ranked(plan: Plan): Alternative[] {
  const rank = (row: Alternative) => (isChosen(plan, row) ? 0 : row.feasible ? 1 : 2);
  return [...plan.alternatives].sort(
    (a, b) =>
      rank(a) - rank(b) || b.quality_estimate - a.quality_estimate || a.predicted.total_s - b.predicted.total_s,
  );
}

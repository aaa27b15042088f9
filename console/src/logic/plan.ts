/** The choices of a plan in the order in which they are worth reading. */

import type { Alternative, Plan } from "../types";

export function isChosen(plan: Plan, row: Alternative): boolean {
  const chosen = plan.decision;
  return chosen !== null && row.node === chosen.node && row.model === chosen.model && row.steps === chosen.steps;
}

/** The chosen one, then what was possible, then what was not; better quality first, then quicker. */
export function ranked(plan: Plan): Alternative[] {
  const rank = (row: Alternative) => (isChosen(plan, row) ? 0 : row.feasible ? 1 : 2);
  return withChosen(plan).sort(
    (a, b) =>
      rank(a) - rank(b) ||
      (b.quality_estimate ?? 0) - (a.quality_estimate ?? 0) ||
      (a.predicted?.total_s ?? 1e9) - (b.predicted?.total_s ?? 1e9),
  );
}

/** Alternatives may or may not contain the decision itself; the table always does. */
function withChosen(plan: Plan): Alternative[] {
  const { decision, predicted, quality_estimate, alternatives } = plan;
  if (!decision || alternatives.some((row) => isChosen(plan, row))) return [...alternatives];
  const { node, model, steps } = decision;
  return [{ node, model, steps, predicted, quality_estimate, feasible: true, why_not: null }, ...alternatives];
}

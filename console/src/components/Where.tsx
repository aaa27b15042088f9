import type { Tier } from "../types";

/** A node's name in its tier's colour; the tier is also said in words for those who cannot see the colour. */
export function Where({ node, tier }: { node: string; tier: Tier | null | undefined }) {
  return (
    <span className={`where tier-${tier ?? "none"}`} title={tier ? `${node} (${tier})` : node}>
      <span className="dot" aria-hidden="true" />
      {node}
      {tier && <span className="visually-hidden"> ({tier})</span>}
    </span>
  );
}

export function Emulated({ what }: { what: readonly string[] | null | undefined }) {
  if (!what || what.length === 0) return null;
  return (
    <span className="badge" title={"Pictures are really made here; this is imitated from declared figures"}>
      emulated: {what.join(", ")}
    </span>
  );
}

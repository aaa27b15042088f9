import { clauses } from "../logic/story";
import type { Tier } from "../types";

/** Why it was decided so: what was chosen in one line, what was passed over below it. */
export function Reason({ text, tier }: { text: string; tier: Tier | null | undefined }) {
  const [first, ...others] = clauses(text);
  return (
    <div className={`reason tier-${tier ?? "none"}`}>
      <p>{first}</p>
      {others.length > 0 && (
        <ul>
          {others.map((clause) => (
            <li key={clause}>{clause}</li>
          ))}
        </ul>
      )}
    </div>
  );
}

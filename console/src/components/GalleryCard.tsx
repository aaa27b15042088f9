import { memo } from "react";

import { quality, seconds } from "../logic/format";
import { errorText } from "../logic/state";
import { useStore } from "../live/store";
import type { Item } from "../types";
import { Picture } from "./Picture";
import { Verdict } from "./Story";
import { Where } from "./Where";

/** One picture and its decision in a few words; the whole story is one click away. */
export const Card = memo(function Card({ item, tell }: { item: Item; tell: (id: string) => void }) {
  return (
    <button type="button" className={`card tier-${item.tier ?? "none"} is-${item.status}`} onClick={() => tell(item.id)}>
      <span className="thumb">
        {item.status === "finished" && item.image_url ? (
          <Picture url={item.image_url} alt={item.prompt} />
        ) : item.status === "waiting" || item.status === "running" ? (
          <Making id={item.id} />
        ) : (
          <span className="why-not">
            <b>{item.status}</b>
            {item.status === "finished" ? "The gateway no longer keeps this picture." : errorText(item)}
          </span>
        )}
      </span>
      <span className="card-text">
        <span className="card-prompt">{item.prompt}</span>
        <span className="card-line">
          {item.node ? <Where node={item.node} tier={item.tier} /> : <span className="muted">nowhere</span>}
          {item.model && (
            <span className="muted">
              {item.model} × {item.steps}
            </span>
          )}
        </span>
        <span className="card-line">
          {item.actual && <span>{seconds(item.actual.total_s)}</span>}
          {item.quality_estimate != null && <span className="muted">quality {quality(item.quality_estimate)}</span>}
          {item.status === "finished" && item.met_deadline === false && <Verdict item={item} />}
        </span>
      </span>
    </button>
  );
});

function Making({ id }: { id: string }) {
  const at = useStore((state) => state.progress.get(id));
  return (
    <span className="making">
      {at?.preview && <img src={`data:image/png;base64,${at.preview}`} alt="" />}
      <span>{at ? `step ${at.step} of ${at.steps}` : "waiting"}</span>
    </span>
  );
}

import { useState } from "react";

import { FILTERS, matches, type Filter } from "../logic/filter";
import { useStore } from "../live/store";
import { Card } from "./GalleryCard";

const FIRST = 14; // two rows on a desk
const MORE = 28;

export function Gallery({ tell }: { tell: (id: string) => void }) {
  const items = useStore((state) => state.items);
  const [filter, setFilter] = useState<Filter>("all");
  const [shown, setShown] = useState(FIRST);
  const wanted = items.filter((item) => matches(item, filter));
  return (
    <section className="gallery" aria-labelledby="gallery-title">
      <div className="section-head">
        <h2 id="gallery-title">Gallery</h2>
        <div className="segments" role="group" aria-label="Show">
          {FILTERS.map((name) => (
            <button key={name} type="button" aria-pressed={filter === name} onClick={() => setFilter(name)}>
              {name} <span className="muted">{items.filter((item) => matches(item, name)).length}</span>
            </button>
          ))}
        </div>
      </div>
      {wanted.length === 0 && <p className="muted none">Nothing here yet.</p>}
      <ul className="cards">
        {wanted.slice(0, shown).map((item) => (
          <li key={item.id}>
            <Card item={item} tell={tell} />
          </li>
        ))}
      </ul>
      {wanted.length > shown && (
        <button type="button" className="quiet more" onClick={() => setShown(shown + MORE)}>
          Show {Math.min(MORE, wanted.length - shown)} more
        </button>
      )}
    </section>
  );
}

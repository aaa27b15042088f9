import { useEffect, useState } from "react";

import { call, key } from "../live/api";

interface Props {
  url: string;
  alt: string;
}

/** A picture of the gateway. An <img> cannot send a key, so with one the bytes are fetched here. */
export function Picture({ url, alt }: Props) {
  const [fetched, setFetched] = useState<string | null>(null);
  const direct = !key.get() || url.startsWith("data:");
  useEffect(() => {
    if (direct) return;
    let made: string | null = null;
    let gone = false;
    call(url)
      .then((response) => response.blob())
      .then((blob) => {
        if (gone) return;
        made = URL.createObjectURL(blob);
        setFetched(made);
      })
      .catch(() => undefined);
    return () => {
      gone = true;
      if (made) URL.revokeObjectURL(made);
    };
  }, [url, direct]);
  const source = direct ? relative(url) : fetched;
  return source ? <img src={source} alt={alt} decoding="async" /> : <span className="no-image" aria-label={alt} />;
}

/** "/v1/…" means below the page's own address, which may itself be below a path. */
function relative(url: string): string {
  return url.startsWith("/") ? new URL(url.slice(1), document.baseURI).href : url;
}

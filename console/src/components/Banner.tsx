import { useEffect, useState } from "react";

import { retryNow } from "../live/feed";
import { useStore } from "../live/store";

export function Banner() {
  const connection = useStore((state) => state.connection);
  const needKey = useStore((state) => state.needKey);
  const now_ms = useClock(connection.kind === "lost");
  if (connection.kind !== "lost" || needKey) return null;
  const wait_s = Math.max(0, Math.ceil((connection.retryAt_ms - now_ms) / 1000));
  return (
    <div className="banner" role="alert">
      <span>
        The connection to the gateway is lost. What you see may be old.
        <span aria-hidden="true"> Trying again {wait_s > 0 ? `in ${wait_s} s` : "now"}.</span>
      </span>
      <button type="button" className="quiet" onClick={retryNow}>
        Try now
      </button>
    </div>
  );
}

function useClock(running: boolean): number {
  const [now_ms, setNow] = useState(Date.now());
  useEffect(() => {
    if (!running) return;
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [running]);
  return Math.max(now_ms, 0);
}

import { lazy, Suspense, useEffect, useState } from "react";

import { Banner } from "./components/Banner";
import { Compose } from "./components/Compose";
import { Fleet } from "./components/Fleet";
import { Gallery } from "./components/Gallery";
import { Header } from "./components/Header";
import { KeyDialog } from "./components/KeyDialog";
import { Stage } from "./components/Stage";
import { StoryDialog } from "./components/StoryDialog";
import { Watch } from "./components/Watch";
import { useAsk } from "./components/useAsk";
import { follow } from "./live/feed";
import { useStore } from "./live/store";

// The charts' library is two thirds of the page's bytes; everything else works before it has arrived.
const Charts = lazy(() => import("./components/Charts"));

export function App() {
  const ask = useAsk();
  const [told, tell] = useState<string | null>(null); // the picture whose story is open
  const needKey = useStore((state) => state.needKey);
  useEffect(() => {
    const gone = new AbortController();
    void follow(gone.signal);
    return () => gone.abort();
  }, []);
  return (
    <>
      <Header />
      <Banner />
      <main>
        <div className="ask">
          <Compose ask={ask} />
          <Stage ask={ask} tell={tell} />
        </div>
        <Fleet tell={tell} />
        <Watch tell={tell} />
        <Gallery tell={tell} />
        <Suspense fallback={<section className="charts" aria-busy="true" />}>
          <Charts tell={tell} />
        </Suspense>
      </main>
      <StoryDialog id={told} close={() => tell(null)} />
      {needKey && <KeyDialog />}
    </>
  );
}

import { clock, count, dollars, joules } from "../logic/format";
import type { Happening } from "../logic/happenings";
import { predictionError } from "../logic/stats";
import { useStore } from "../live/store";

const SHOWN = 12; // lines; the rest scroll

/** What changes while pictures are made, and who pays for them. */
export function Watch({ tell }: { tell: (id: string) => void }) {
  return (
    <div className="watch">
      <Happenings tell={tell} />
      <Keys />
    </div>
  );
}

function Happenings({ tell }: { tell: (id: string) => void }) {
  const happenings = useStore((state) => state.happenings);
  return (
    <section aria-labelledby="happenings-title">
      <div className="section-head">
        <h2 id="happenings-title">As it happens</h2>
        <span className="muted">nodes that join and leave, pictures that change their steps or their node</span>
      </div>
      <ol className="panel happenings" aria-live="polite" style={{ "--lines": SHOWN } as React.CSSProperties}>
        {happenings.length === 0 && <li className="muted">nothing yet</li>}
        {happenings.map((one, i) => (
          <Line key={happenings.length - i} one={one} tell={tell} />
        ))}
      </ol>
    </section>
  );
}

function Line({ one, tell }: { one: Happening; tell: (id: string) => void }) {
  const { id } = one;
  return (
    <li className={`is-${one.what}`}>
      <time>{clock(one.at_s)}</time> <b>{one.what}</b>{" "}
      {id === null ? <span>{one.text}</span> : <button type="button" onClick={() => tell(id)}>{one.text}</button>}
    </li>
  );
}

function Keys() {
  const usage = useStore((state) => state.usage);
  const error = predictionError(useStore((state) => state.items));
  return (
    <section aria-labelledby="keys-title">
      <div className="section-head">
        <h2 id="keys-title">Keys</h2>
        <span className="muted">since the gateway began</span>
      </div>
      <div className="panel keys">
        <table>
          <thead>
            <tr>
              <th scope="col">key</th>
              <th scope="col">made</th>
              <th scope="col">under way</th>
              <th scope="col">429</th>
              <th scope="col">energy</th>
              <th scope="col">cost</th>
            </tr>
          </thead>
          <tbody>
            {usage.map((row) => (
              <tr key={row.key}>
                <th scope="row">{row.key}</th>
                <td>{row.pictures}</td>
                <td>{row.under_way}</td>
                <td>{row.refused}</td>
                <td>{joules(row.energy_j)}</td>
                <td>{dollars(row.cost_usd)}</td>
              </tr>
            ))}
          </tbody>
        </table>
        {usage.length === 0 && <p className="muted">nobody has asked yet</p>}
        {error.count > 0 && (
          <p className="muted">
            actual over predicted time of the last {count(error.count, "picture", "pictures")}: P50 {ratio(error.p50)}, P95 {ratio(error.p95)}
          </p>
        )}
      </div>
    </section>
  );
}

function ratio(value: number | null): string {
  return value === null ? "–" : `${value.toFixed(2)}×`;
}

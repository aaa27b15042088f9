import { joules, quality, seconds } from "../logic/format";
import { takeOffer } from "../logic/form";
import type { GatewayError } from "../live/api";
import type { Offer } from "../types";
import type { Ask } from "./useAsk";

/** A picture that was not made: the gateway's reason, and its best offer where it has one. */
export function Refused({ ask, error }: { ask: Ask; error: GatewayError }) {
  const { offer } = error;
  return (
    <div className="refused" role="alert">
      <h2>{titleOf(error)}</h2>
      <p>{error.message}</p>
      {error.retryAfter_s !== null && <p className="muted">Try again in {seconds(error.retryAfter_s)}.</p>}
      {offer && <OfferBox ask={ask} offer={offer} />}
    </div>
  );
}

export function OfferBox({ ask, offer }: { ask: Ask; offer: Offer }) {
  return (
    <div className="offer">
      <p>
        Best offer: <b>{offer.node}</b>, {offer.model}, {offer.steps === 1 ? "1 step" : `${offer.steps} steps`} in{" "}
        {seconds(offer.total_s)}, estimated quality {quality(offer.quality)}, {joules(offer.energy_j)} of the device.
      </p>
      <span className="row">
        <button type="button" onClick={() => ask.generate(takeOffer(ask.form, offer))}>
          Take the offer
        </button>
        {!ask.planning && (
          <button type="button" className="quiet" onClick={() => ask.plan()}>
            See every alternative
          </button>
        )}
      </span>
    </div>
  );
}

function titleOf(error: GatewayError): string {
  if (error.code === "cancelled") return "Cancelled";
  if (error.code === "infeasible") return "Not within these limits";
  if (error.status === 429) return "Too many pictures at once";
  if (error.status === 0) return "No answer";
  return "Not made";
}

/** Finding the one connection somebody means. */
import { Code, statusError } from "../../sdk/status.js";
import { type ConnectionView, shortId } from "./connections.js";

/**
 * @param wanted  an id of any hop or its beginning, or a client's name
 * @throws NOT_FOUND, or INVALID_ARGUMENT when it fits several
 */
export function findConnection(views: readonly ConnectionView[], wanted: string): ConnectionView {
  const exact = views.filter((view) => view.client === wanted || view.hops.some(({ id }) => id === wanted));
  const fitting =
    exact.length > 0
      ? exact
      : views.filter((view) => view.client.startsWith(`${wanted}-`) || view.hops.some(({ id }) => id.startsWith(wanted)));
  const [found] = fitting;
  if (found === undefined) {
    const known = views.map((view) => `${shortId(view.id)} (${view.client} → ${view.service})`).join(", ");
    throw statusError(Code.NOT_FOUND, `no connection "${wanted}"; there ${views.length === 0 ? "are none" : `are ${known}`}`);
  }
  if (fitting.length > 1) {
    const ids = fitting.map((view) => `${shortId(view.id)} (${view.client} → ${view.service})`).join(", ");
    throw statusError(Code.INVALID_ARGUMENT, `"${wanted}" fits ${fitting.length} connections: ${ids}; give one id`);
  }
  return found;
}

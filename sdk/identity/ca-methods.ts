/** What the authority and those who ask it must agree on. */
import { IssueRequest, IssueResponse } from "../gen/authority.js";
import type { Method } from "../transport/methods.js";

/** Path of the authority's own SPIFFE ID; it is given to nobody else. */
export const caPath = "/weft/ca";

export const issueMethod: Method<IssueRequest, IssueResponse> = {
  path: "/weft.Authority/Issue",
  responseStream: false,
  request: IssueRequest,
  response: IssueResponse,
};

/** An endpoint as a process of its own; its arguments: endpoint-options.ts. */
import { serve } from "../../sdk/endpoint/serve.js";
import { endpointOptions } from "./endpoint-options.js";

const endpoint = await serve(endpointOptions());
await endpoint.closed;

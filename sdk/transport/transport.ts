/** How a component reaches others and is reached: gRPC as a rule; the simulation has a network of its own. */
import { createDialer, type Dialer, type DialerOptions } from "./dial.js";
import { type Listener, type ListenOptions, listen } from "./listen.js";

export interface Transport {
  createDialer(options: DialerOptions): Dialer;
  listen(options: ListenOptions): Promise<Listener>;
}

export const grpcTransport: Transport = { createDialer, listen };

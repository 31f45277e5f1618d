/** Copies of a connection with a part of its context changed (pure); missing parts are made. */
import { Connection } from "../gen/connection.js";
import { ConnectionContext, DNSContext, IPContext } from "../gen/connectioncontext.js";

export function editIpContext(connection: Connection | undefined, edit: (context: IPContext) => IPContext): Connection {
  return editContext(connection, (context) => ({
    ...context,
    ip_context: edit(context.ip_context ?? IPContext.fromPartial({})),
  }));
}

export function editDnsContext(connection: Connection | undefined, edit: (context: DNSContext) => DNSContext): Connection {
  return editContext(connection, (context) => ({
    ...context,
    dns_context: edit(context.dns_context ?? DNSContext.fromPartial({})),
  }));
}

function editContext(connection: Connection | undefined, edit: (context: ConnectionContext) => ConnectionContext): Connection {
  const present = connection ?? Connection.fromPartial({});
  return { ...present, context: edit(present.context ?? ConnectionContext.fromPartial({})) };
}

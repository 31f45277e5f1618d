/** Whether the next hop is on this machine (pure): only then can it share interfaces and sockets with us. */
import { MechanismClass } from "../sdk/api.js";

/** LOCAL for a unix socket or a descriptor that came over one, REMOTE for everything else (rule of NSM's filtermechanisms). */
export function classOf(url: string): MechanismClass {
  return /^(unix|inode):/i.test(url) ? MechanismClass.LOCAL : MechanismClass.REMOTE;
}

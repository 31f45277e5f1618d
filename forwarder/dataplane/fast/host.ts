/** The one packet core of a data plane: opened when first needed, opened again when its keeper is lost. */
import type { Log } from "../../../sdk/telemetry/log.js";
import type { PacketCore } from "../../native/core.js";

export interface CoreHost {
  /** @throws FAILED_PRECONDITION it is not built or may not run here */
  get(): Promise<PacketCore>;
  /** Undefined: nobody has needed it yet. */
  current(): PacketCore | undefined;
  close(end: boolean): Promise<void>;
}

export function createCoreHost(options: {
  readonly openCore: () => Promise<PacketCore>;
  /** With one that is open already. */
  readonly underlay?: { readonly core?: PacketCore } | object | undefined;
  readonly log: Log;
  readonly changed: () => void;
  /** Everything is to be made again in the next one. */
  readonly lost: () => void;
}): CoreHost {
  let opening: Promise<PacketCore> | undefined;
  let core: PacketCore | undefined;
  let closed = false;
  const take = (opened: PacketCore): PacketCore => {
    const forget = opened.onChange(options.changed);
    opened.onLost(() => {
      forget();
      core = undefined;
      opening = undefined;
      if (closed) return;
      options.log.error("the keeper of the packet core is gone; starting another, and memif peers connect anew");
      options.lost();
    });
    core = opened;
    return opened;
  };
  const open = async (): Promise<PacketCore> => take(await options.openCore());
  const { underlay } = options;
  if (underlay !== undefined && "core" in underlay && underlay.core !== undefined) opening = Promise.resolve(take(underlay.core));
  return {
    current: () => core,
    get() {
      opening ??= open().catch((error: unknown) => {
        opening = undefined;
        throw error;
      });
      return opening;
    },
    async close(end) {
      closed = true;
      const opened = await opening?.catch(() => undefined);
      if (end) await opened?.end();
      else await opened?.close();
    },
  };
}

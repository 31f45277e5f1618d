/** The packet core as threads of this process: for tests, and where no other process may be started. A fault in it is ours. */
import { pollReadable } from "../../sdk/linux/libc.js";
import { systemError } from "../../sdk/linux/system-error.js";
import { readBoard } from "./board.js";
import type { PacketCore } from "./core.js";
import { type CoreLibrary, loadCoreLibrary } from "./ffi.js";
import { decodeEntries, encodeConnect, encodeDevice, encodePort, entryBytes } from "./wire.js";

/** WF_THREADS of weft_fast.h. */
const asThreads = 1;
const maxEntries = 6144;

/** @throws Error when the library is not built; SystemError when it cannot start */
export function openInProcessCore(library: CoreLibrary = loadCoreLibrary()): PacketCore {
  const { result, handle } = library.open(asThreads, null);
  const checked = (value: number): number => {
    if (value < 0) throw systemError(library.error(), -value);
    return value;
  };
  checked(result);
  const eventsFd = library.eventsFd(handle);
  const listeners = new Set<() => void>();
  let poll: { close(): void } | undefined;
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    poll?.close();
    closing ??= library.closeAsync(handle);
    return closing;
  };
  const features = library.features();
  return {
    addPort: async (port) => checked(library.addPort(handle, encodePort(port))),
    removePort: async (slot) => void checked(library.removePort(handle, slot)),
    setConnect: async (connect) => checked(library.setConnect(handle, encodeConnect(connect))),
    removeConnect: async (slot) => void checked(library.removeConnect(handle, slot)),
    addDevice: async (device) => checked(library.addDevice(handle, encodeDevice(device))),
    removeDevice: async (slot) => void checked(library.removeDevice(handle, slot)),
    async list() {
      const entries = Buffer.alloc(maxEntries * entryBytes);
      return decodeEntries(entries, checked(library.list(handle, entries, maxEntries)));
    },
    restartWorker: async () => void checked(library.restartWorker(handle)),
    board: readBoard(library.board(handle)),
    features: { sanitized: (features & 2) !== 0 },
    onChange(listener) {
      listeners.add(listener);
      poll ??= pollReadable(eventsFd, () => {
        library.clearEvents(handle);
        for (const each of [...listeners]) each();
      });
      return () => {
        listeners.delete(listener);
        if (listeners.size > 0) return;
        poll?.close();
        poll = undefined;
      };
    },
    onLost: () => () => {},
    close,
    end: close,
  };
}

/** The border to the packet core's library, and to mmap(2). The only file that binds them. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import koffi from "koffi";
import { systemError } from "../../sdk/linux/system-error.js";

export interface CoreLibrary {
  /** Opaque handle; result below 0 is -errno. */
  open(how: number, program: string | null): { readonly result: number; readonly handle: unknown };
  close(handle: unknown): void;
  /** On a thread of the pool: it joins threads. */
  closeAsync(handle: unknown): Promise<void>;
  addPort(handle: unknown, port: Buffer): number;
  removePort(handle: unknown, slot: number): number;
  setConnect(handle: unknown, connect: Buffer): number;
  removeConnect(handle: unknown, slot: number): number;
  addDevice(handle: unknown, device: Buffer): number;
  removeDevice(handle: unknown, slot: number): number;
  list(handle: unknown, entries: Buffer, room: number): number;
  restartWorker(handle: unknown): number;
  board(handle: unknown): ArrayBuffer;
  eventsFd(handle: unknown): number;
  /** Makes the descriptor of events unreadable until the next one. */
  clearEvents(handle: unknown): void;
  error(): string;
  features(): number;
}

/** Folder with the built core: `dist/native` of the package. */
export function nativeFolder(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, "package.json"))) return join(folder, "dist", "native");
  }
  return join("dist", "native");
}

let loaded: CoreLibrary | undefined;

/** @throws Error of the loader when the library is not built */
export function loadCoreLibrary(path = join(nativeFolder(), "libweft_fast.so")): CoreLibrary {
  loaded ??= bind(path);
  return loaded;
}

function bind(path: string): CoreLibrary {
  const library = koffi.load(path);
  const open = library.func("int wf_open(uint32_t how, const char *program, _Out_ void **out)");
  const close = library.func("void wf_close(void *w)");
  const addPort = library.func("int wf_port_add(void *w, const void *port)");
  const removePort = library.func("int wf_port_del(void *w, uint32_t slot)");
  const setConnect = library.func("int wf_connect_set(void *w, const void *connect)");
  const removeConnect = library.func("int wf_connect_del(void *w, uint32_t slot)");
  const addDevice = library.func("int wf_device_add(void *w, const void *device)");
  const removeDevice = library.func("int wf_device_del(void *w, uint32_t slot)");
  const list = library.func("int wf_list(void *w, _Out_ void *entries, uint32_t room)");
  const restartWorker = library.func("int wf_worker_restart(void *w)");
  const board = library.func("void *wf_board(void *w, void *size)");
  const eventsFd = library.func("int wf_events_fd(void *w)");
  const clearEvents = library.func("void wf_events_clear(void *w)");
  const error = library.func("const char *wf_error(void)");
  const features = library.func("uint32_t wf_features(void)");
  const abiOf = library.func("uint32_t wf_abi(void)");
  if (abiOf() !== 1) throw new Error(`${path} has another version; build it again with "npm run build:native"`);
  return {
    open(how, program) {
      const out: [unknown] = [null];
      const result: number = open(how, program, out);
      return { result, handle: out[0] };
    },
    close,
    closeAsync: (handle) =>
      new Promise((resolve, reject) => {
        close.async(handle, (failure: Error | null) => (failure ? reject(failure) : resolve()));
      }),
    addPort,
    removePort,
    setConnect,
    removeConnect,
    addDevice,
    removeDevice,
    list,
    restartWorker,
    board(handle) {
      const size = Buffer.alloc(8);
      const address: unknown = board(handle, size);
      return koffi.view(address, Number(size.readBigUInt64LE()));
    },
    eventsFd,
    clearEvents,
    error,
    features,
  };
}

const PROT_READ = 1;
const MAP_SHARED = 1;

/** Maps a file that another process writes, for reading. The result frees it; nobody may read it afterwards. */
export function mapShared(fd: number, bytes: number): { readonly memory: ArrayBuffer; unmap(): void } {
  const libc = koffi.load(null);
  const mmap = libc.func("void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)");
  const munmap = libc.func("int munmap(void *address, size_t length)");
  const address: unknown = mmap(null, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (koffi.address(address as never) === 0xffff_ffff_ffff_ffffn)
    throw systemError("map the board of the packet core", koffi.errno());
  return { memory: koffi.view(address, bytes), unmap: () => void munmap(address, bytes) };
}

// Loaded into a server by its bench (--import), with --expose-gc: SIGHUP collects all garbage.
process.on("SIGHUP", () => {
  globalThis.gc?.();
  globalThis.gc?.();
});

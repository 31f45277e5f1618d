/** The log level changed by signal, as upstream does: SIGUSR1 → trace, SIGUSR2 → back to the configured level. */
import type { Log } from "./log.js";

/** Starts listening for the signals; the result stops it. */
export function followLogSignals(log: Log): () => void {
  const configured = log.level;
  const louder = (): void => {
    log.level = "trace";
    log.info("log level is now trace (SIGUSR1)");
  };
  const back = (): void => {
    log.info(`log level is now ${configured} (SIGUSR2)`);
    log.level = configured;
  };
  process.on("SIGUSR1", louder);
  process.on("SIGUSR2", back);
  return () => {
    process.off("SIGUSR1", louder);
    process.off("SIGUSR2", back);
  };
}

/** What a command does: its result is the exit code. */
export type Action = (...args: never[]) => Promise<number>;

/** Makes of it what commander calls. */
export type Act = <A extends Action>(action: A) => (...args: Parameters<A>) => Promise<void>;

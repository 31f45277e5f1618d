/** Runs the actions of one id one after another. */
export function createTurns(): <T>(id: string, action: () => Promise<T>) => Promise<T> {
  const last = new Map<string, Promise<unknown>>();
  return (id, action) => {
    const turn = (last.get(id) ?? Promise.resolve()).then(action, action);
    last.set(id, turn);
    const leave = (): void => {
      if (last.get(id) === turn) last.delete(id);
    };
    turn.then(leave, leave);
    return turn;
  };
}

/** In the place of sdk/config/follow-file.ts: no file is ever there. The machine's files come at times of their own. */
export const maxFileBytes = 0;

export function followFile(
  _path: string,
  onContent: (text: string | undefined) => void,
): { readonly ready: Promise<void>; stop(): void } {
  return { ready: Promise.resolve().then(() => onContent(undefined)), stop() {} };
}

/**
 * One object for equal texts. Entries that come over the wire each bring their own copy of the same service names, urls
 * and label values; at 100,000 entries the copies would weigh more than the rest. Only what was seen lately is
 * remembered, so nothing is kept for ever.
 */
export function createInterner(capacity: number): (text: string) => string {
  let recent = new Map<string, string>();
  let older = new Map<string, string>();
  return (text) => {
    const known = recent.get(text);
    if (known !== undefined) return known;
    const kept = older.get(text) ?? text;
    if (recent.size >= capacity) [older, recent] = [recent, new Map()];
    recent.set(kept, kept);
    return kept;
  };
}

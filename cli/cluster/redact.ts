/** Takes out of a text what nobody but its owner may have (pure): keys, tokens, passwords. */
const rules: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----/g, "[private key removed]"],
  // JSON Web Tokens, and join tokens of the built-in authority
  [/\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+)+/g, "[token removed]"],
  [/\b(Bearer|Basic) +[A-Za-z0-9._~+/=-]{8,}/gi, "$1 [removed]"],
  [
    /((?:"?)[A-Za-z0-9_.-]*(?:password|passwd|secret|token|api[_-]?key|private[_-]?key)[A-Za-z0-9_.-]*"?\s*[:=]\s*)("[^"\n]*"|[^\s",}\n]+)/gi,
    "$1[removed]",
  ],
];

export function redact(text: string): string {
  return rules.reduce((left, [pattern, replacement]) => left.replace(pattern, replacement), text);
}

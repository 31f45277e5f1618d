/**
 * Templates in label selectors: `{{.key}}` and `{{index . "key"}}` name a label of the connection.
 *
 * NSM runs selector values through Go's text/template with the connection's labels as data. This is the part of it
 * that selectors use; a value with any other action is taken literally, as one that does not parse is there.
 */

/** What Go prints for `{{.key}}` when there is no such label. */
export const noValue = "<no value>";

const leftBlank = /[ \t\r\n]+$/;
const rightBlank = /^[ \t\r\n]+/;
// One action. Sticky, each part ends at a fixed character: no input makes it backtrack for long.
const action =
  /\{\{(-[ \t\r\n])?[ \t\r\n]*(?:\.([\p{L}_][\p{L}\p{Nd}_]*)|index[ \t\r\n]+\.[ \t\r\n]+(?:"((?:[^"\\\n]|\\.){0,1024})"|`([^`]{0,1024})`))[ \t\r\n]*?([ \t\r\n]-)?\}\}/uy;

/**
 * The value after its templates are replaced by labels; the value itself if it holds none that is understood.
 * @param labels  the connection's labels; keys may be anything
 */
export function renderTemplate(value: string, labels: Readonly<Record<string, string>>): string {
  let out = "";
  let at = 0;
  let trimNext = false;
  for (;;) {
    const open = value.indexOf("{{", at);
    const text = value.slice(at, open < 0 ? undefined : open);
    const kept = trimNext ? text.replace(rightBlank, "") : text;
    if (open < 0) return out + kept;
    action.lastIndex = open;
    const found = action.exec(value);
    if (found === null) return value;
    const [whole, trimLeft, field, quoted, raw, trimRight] = found;
    const key = field ?? raw ?? unquote(quoted ?? "");
    if (key === undefined) return value;
    out += trimLeft === undefined ? kept : kept.replace(leftBlank, "");
    const label = Object.hasOwn(labels, key) ? labels[key] : undefined;
    out += label ?? (field === undefined ? "" : noValue);
    at = open + whole.length;
    trimNext = trimRight !== undefined;
  }
}

/** The text of a double-quoted string; undefined for an escape that JSON does not share with Go. */
function unquote(inner: string): string | undefined {
  try {
    return JSON.parse(`"${inner}"`) as string;
  } catch {
    return undefined;
  }
}

/** weft completion: a script with which the shell completes commands, their options, and values that are known. */
import type { Command } from "commander";
import { Code, statusError } from "../../sdk/status.js";

/** One command as the shell needs it. */
interface Known {
  readonly name: string;
  readonly about: string;
  readonly options: readonly string[];
  /** Of the first argument. */
  readonly values: readonly string[];
}

/** @throws INVALID_ARGUMENT another shell */
export function completionScript(shell: string, program: Command): string {
  const known = program.commands.filter((command) => Reflect.get(command, "_hidden") !== true).map(knownOf);
  switch (shell) {
    case "bash":
      return bash(known);
    case "zsh":
      return `#compdef weft\nautoload -U +X bashcompinit && bashcompinit\n${bash(known)}`;
    case "fish":
      return fish(known);
    default:
      throw statusError(Code.INVALID_ARGUMENT, `there is no completion for "${shell}"; there is for bash, zsh and fish`);
  }
}

function knownOf(command: Command): Known {
  const [argument] = command.registeredArguments;
  // descriptions of closed sets are written "a | b | c", and may end with a remark
  const set = argument?.description.split(";")[0]?.split(",")[0]?.split(" | ") ?? [];
  return {
    name: command.name(),
    about: command.description(),
    options: command.options.flatMap(({ long }) => (long === undefined || long === null ? [] : [long])),
    values: argument?.argChoices ?? (set.length > 1 && set.every((word) => /^[\w-]+$/.test(word)) ? set : []),
  };
}

function bash(known: readonly Known[]): string {
  const cases = known.map(({ name, options, values }) => {
    const words = [...options, "--help"].join(" ");
    return `    ${name}) options="${words}"; values="${values.join(" ")}" ;;`;
  });
  return `_weft() {
  local word=\${COMP_WORDS[COMP_CWORD]} options="" values=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${known.map(({ name }) => name).join(" ")} --help --version" -- "$word"))
    return
  fi
  case \${COMP_WORDS[1]} in
${cases.join("\n")}
  esac
  [ "$COMP_CWORD" -eq 2 ] || values=""
  case $word in
    -*) COMPREPLY=($(compgen -W "$options" -- "$word")) ;;
    *) COMPREPLY=($(compgen -W "$values" -- "$word")) ;;
  esac
}
complete -o default -F _weft weft
`;
}

function fish(known: readonly Known[]): string {
  const quote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = known.flatMap(({ name, about, options, values }) => [
    `complete -c weft -n __fish_use_subcommand -f -a ${name} -d ${quote(about)}`,
    ...options.map((option) => `complete -c weft -n '__fish_seen_subcommand_from ${name}' -l ${option.slice(2)}`),
    ...(values.length === 0
      ? []
      : [`complete -c weft -n '__fish_seen_subcommand_from ${name}' -f -a ${quote(values.join(" "))}`]),
  ]);
  return `${lines.join("\n")}\n`;
}

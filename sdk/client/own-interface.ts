/**
 * What the kernel tells of a connection's own interface, at once and without a packet of ours: that it has lost its link, and, when
 * asked, that packets come in through it. Nothing filters that, and it costs one question to the kernel for each look.
 */
import { type OwnLinkWatch, watchOwnLink } from "../linux/netlink/own-links.js";

export interface OwnInterface {
  /** Looks at the interface of this name from now on; undefined: at none. */
  watch(name: string | undefined): void;
  /** Whether it carries packets; undefined: there is none that could be looked at. */
  lives(): boolean | undefined;
  /** Looks from now on whether packets come in, until told not to. */
  listen(wanted: boolean): void;
  close(): void;
}

export interface OwnInterfaceOptions {
  /** Namespace of the interface; undefined = that of this process. */
  readonly netnsUrl: string | undefined;
  /** It has stopped to carry packets. */
  readonly onLoss: () => void;
  /** More packets have come in than at the last look. */
  readonly onPassing: () => void;
}

/** Between two looks at the counter. */
const lookMs = 250;

export function createOwnInterface({ netnsUrl, onLoss, onPassing }: OwnInterfaceOptions): OwnInterface {
  let link: OwnLinkWatch | undefined;
  let timer: NodeJS.Timeout | undefined;
  let before: bigint | undefined;

  function look(): void {
    const now = link?.received();
    const more = now !== undefined && before !== undefined && now > before;
    before = now;
    if (more) onPassing();
  }

  function listen(wanted: boolean): void {
    if (wanted === (timer !== undefined)) return;
    clearInterval(timer);
    timer = undefined;
    if (!wanted || link === undefined) return;
    before = link.received();
    timer = setInterval(look, lookMs);
  }

  return {
    watch(name) {
      link?.close();
      link = name === undefined ? undefined : watchOwnLink(netnsUrl, name, onLoss);
      before = undefined;
    },
    lives: () => link?.lives(),
    listen,
    close() {
      listen(false);
      link?.close();
      link = undefined;
    },
  };
}

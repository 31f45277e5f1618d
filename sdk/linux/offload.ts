/** Offloads of a network interface: ethtool(8)'s ioctl. */
import koffi from "koffi";
import { AF_INET, closeDescriptor, openSocket, SOCK_DGRAM } from "./libc.js";
import { systemError } from "./system-error.js";

koffi.struct("ethtool_value", { command: "uint32_t", data: "uint32_t" });
koffi.struct("ifreq_ethtool", { name: koffi.array("char", 16), value: "ethtool_value *", rest: koffi.array("uint8_t", 16) });
const ioctl = koffi.load(null).func("int ioctl(int fd, unsigned long request, ifreq_ethtool *request_data)");

const SIOCETHTOOL = 0x8946;
/** Also ends TCP segmentation offload, which needs checksums. */
const ETHTOOL_STXCSUM = 0x17;

/** Like `ethtool -K NAME tx off`, in the calling thread's namespace. An interface without such an offload is fine. */
export function switchOffChecksumOffload(interfaceName: string): void {
  const fd = openSocket(AF_INET, SOCK_DGRAM, 0, "socket for ethtool");
  try {
    const request = { name: interfaceName, value: { command: ETHTOOL_STXCSUM, data: 0 }, rest: new Array(16).fill(0) };
    if (ioctl(fd, SIOCETHTOOL, request) === 0) return;
    const number = koffi.errno();
    if (number !== koffi.os.errno["EOPNOTSUPP"]) throw systemError(`switch off checksum offload of ${interfaceName}`, number);
  } finally {
    closeDescriptor(fd);
  }
}

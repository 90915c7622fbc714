package gateway

import (
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// narrow takes one unit from the window that a segment of the stack's announces.
//
// Windows are announced in units, rounded down. The stack accepts what it announced
// last, although it announced more before: what is left of a full window when that is
// less than a unit. It refuses a guest's segment in that rest and, because all come
// after it, all acknowledgements from then on. Then a side that reads only after it has
// sent waits for ever. A guest that is told of a unit less never gets so far.
func narrow(pkt *stack.PacketBuffer) {
	if pkt.TransportProtocolNumber != header.TCPProtocolNumber {
		return
	}
	h := header.TCP(pkt.TransportHeader().Slice())
	if len(h) < header.TCPMinimumSize || h.Flags().Contains(header.TCPFlagSyn) || h.WindowSize() == 0 { // that of SYN is in bytes
		return
	}
	was := h.WindowSize()
	h.SetWindowSize(was - 1)
	sum := checksum.Combine(checksum.Combine(^h.Checksum(), ^was), was-1) // RFC 1624
	h.SetChecksum(^sum)
}
